"""The promise, end to end: quiet streams stay quiet, changed ones are found."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest

from agent.drift.detector import Detector
from agent.drift.records import Record
from tests.agent.drift.streams import stream

Change = Callable[[random.Random, Record], Record]


def test_null_streams_keep_the_promise() -> None:
    """Twelve streams without change under a budget of 2,000 rows: no more alarms than promised, but for chance."""
    alarms = rows = 0
    for seed in range(12):
        records = stream(1_000 + seed, 120 + 400)
        detector = Detector.fit(records[:120], alias="home", version="v", budget_rows=2_000, seed=seed)
        alarms += sum(detector.update(record) is not None for record in records[120:])
        rows += 400
    promised = rows / 2_000
    assert alarms <= promised + 2 * promised**0.5


def _truncated(_: random.Random, record: Record) -> Record:
    return dataclasses.replace(record, answer=record.answer[:6])


def _refusing(_: random.Random, record: Record) -> Record:
    return dataclasses.replace(record, answer="I am sorry, but I cannot help with that.")


def _swapped(r: random.Random, record: Record) -> Record:
    return dataclasses.replace(record, answer=stream(r.randrange(10_000), 1)[0].answer)


def _shouting(_: random.Random, record: Record) -> Record:
    return dataclasses.replace(record, prompt=record.prompt.upper())


@pytest.mark.parametrize(
    ("change", "share", "kind"),
    [
        (None, 0.5, "input"),
        (None, 0.1, "input"),
        (_shouting, 0.3, "input"),
        (_truncated, 0.3, "output"),
        (_refusing, 0.3, "output"),
        (_swapped, 0.5, "relation"),
    ],
)
def test_changes_are_found_and_named(
    change: Callable[[random.Random, Record], Record] | None, share: float, kind: str
) -> None:
    """Each kind of change is found within 300 records, never before it, and named for what moved."""
    detector = Detector.fit(stream(7, 600), alias="home", version="v", budget_rows=50_000)
    alarm = next(
        a for record in stream(8, 500, change_at=200, share=share, change=change) if (a := detector.update(record))
    )
    assert 200 <= alarm.row < 500
    assert alarm.kind == kind
