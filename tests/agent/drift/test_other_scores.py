"""Latency and templates: further scores, named for what they are, silent where nobody knows them; and bad input."""

from __future__ import annotations

import dataclasses
import random
from datetime import timedelta

import pytest

from agent.drift.detector import Detector
from agent.drift.fitting import rows_needed
from agent.drift.records import Record
from agent.types import Alarm, InvalidInput
from tests.agent.drift.streams import START, stream


def _timed(seed: int, rows: int, *, slow_from: int | None = None) -> list[Record]:
    r = random.Random(seed)
    out = []
    for i, record in enumerate(stream(seed, rows)):
        latency_s = r.lognormvariate(0, 0.4) * (2.5 if slow_from is not None and i >= slow_from else 1)
        out.append(dataclasses.replace(record, latency_s=latency_s, ttft_s=latency_s / 4, template="t1"))
    return out


def _first(reference: list[Record], live: list[Record]) -> Alarm | None:
    detector = Detector.fit(reference, alias="home", version="v", budget_rows=20_000)
    return next((alarm for record in live if (alarm := detector.update(record))), None)


def test_slower_answers_are_called_latency() -> None:
    """Same texts, slower: the alarm says latency, and that retraining would not help."""
    alarm = _first(_timed(1, 400), _timed(2, 400, slow_from=200))
    assert alarm is not None
    assert 200 <= alarm.row < 300
    assert alarm.kind == "latency"
    assert "take longer" in alarm.reason
    assert "retraining would not help" in alarm.reason


def test_another_template_is_called_a_template() -> None:
    """Same texts by another template: the alarm says so, and to fix or take it back."""
    live = [dataclasses.replace(r, template="t2" if i >= 150 else "t1") for i, r in enumerate(_timed(2, 300))]
    alarm = _first(_timed(1, 400), live)
    assert alarm is not None
    assert 150 <= alarm.row < 250
    assert alarm.kind == "template"
    assert "fix the prompt template" in alarm.reason


def test_what_nobody_knows_is_no_evidence() -> None:
    """Latencies that stop coming, or begin to, or are nonsense, raise no alarm."""
    bare, known = stream(2, 300), _timed(2, 300)
    assert _first(_timed(1, 400), bare) is None
    assert _first(stream(1, 400), known) is None
    odd = [dataclasses.replace(r, latency_s=[float("inf"), float("nan"), -1.0][i % 3]) for i, r in enumerate(bare)]
    assert _first(_timed(1, 400), odd) is None


def test_a_reference_too_small_for_the_budget_names_the_rows() -> None:
    """A larger budget needs a larger reference, and the refusal says how large."""
    assert rows_needed(100) == 50
    assert rows_needed(10**9) > rows_needed(50_000)
    with pytest.raises(InvalidInput, match=f"at least {rows_needed(10**12)}"):
        Detector.fit(stream(0, 60), alias="home", version="v", budget_rows=10**12)


def test_clocks_that_run_backwards_and_repeated_ids_change_nothing() -> None:
    """Times in any order and ids that come again are no evidence: the same rows, the same evidence."""
    live = stream(3, 200)
    odd = [dataclasses.replace(r, id="same", at=START - timedelta(seconds=i)) for i, r in enumerate(live)]
    one, other = (Detector.fit(stream(0, 200), alias="home", version="v", budget_rows=50_000) for _ in range(2))
    assert [one.update(r) for r in live] == [other.update(r) for r in odd] == [None] * 200
    assert one.evidence == other.evidence


def test_texts_that_never_vary_raise_no_alarm() -> None:
    """When every record is the same, or empty, every rank is chance."""
    for text in ("on", ""):
        same = [Record(id=str(i), prompt=text, answer=text) for i in range(500)]
        assert _first(same[:100], same[100:]) is None
