"""Run the live detector over a log: the same code path, record by record, without looking ahead.

Lives here: `Plan`, `Replay`. Comes in: files of logged exchanges. Goes out: a document per alarm, then a summary.
Must never know: the terminal; whoever calls decides where documents go.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol

from agent.drift.baselines import Threshold
from agent.drift.detector import RECENT, Detector
from agent.drift.lines import read
from agent.drift.records import UNKNOWN_TIME
from agent.drift.split import MIN_REFERENCE_ROWS
from agent.types import Alarm, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.drift.records import Record

DETECTORS = ("sequential", "ks", "psi")
WINDOW_ROWS = 100
_EXAMPLE_CHARACTERS = 200
_FALSE_ALARMS = {"ks": 2, "psi": 163}


class _Watcher(Protocol):
    def update(self, record: Record) -> Alarm | None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to replay. Without `reference` the first `reference_rows` records of `files` are it; windows are of 100."""

    files: Sequence[Path]
    reference: Path | None = None
    reference_rows: int = 1_000
    budget_windows: int = 500
    detector: str = "sequential"
    seed: int = 0

    @property
    def warning(self) -> str | None:
        """What a person must know before believing this detector's alarms."""
        if self.detector == "sequential":
            return None
        return (
            f"{self.detector} is a plain threshold per window of {WINDOW_ROWS}: it promises nothing about false alarms"
            f" (on 200 quiet windows of real text it raised {_FALSE_ALARMS[self.detector]}, sequential none);"
            " compare with --detector sequential"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a replay came to; `cpu_s` counts this process only, reading included."""

    reference_rows: int
    rows: int
    alarms: int
    cpu_s: float

    @property
    def cpu_s_per_1000_rows(self) -> float:
        """CPU seconds per 1,000 live records."""
        return 1_000 * self.cpu_s / max(self.rows, 1)


class Replay:
    """Iterate to get one document per alarm, as it fires; `summary` afterwards. Raises InvalidInput."""

    def __init__(self, plan: Plan) -> None:
        if plan.detector not in DETECTORS:
            raise InvalidInput(f"unknown detector {plan.detector!r}: choose one of {', '.join(DETECTORS)}")
        if plan.budget_windows < 1:
            raise InvalidInput("the budget must be 1 window or more: how many windows may pass per false alarm?")
        self._plan = plan
        self.summary = Summary(reference_rows=0, rows=0, alarms=0, cpu_s=0.0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read, fit, feed."""
        live = read(self._plan.files)
        reference, live = self._reference(live)
        watcher = self._watcher(reference)
        began_s, rows, alarms = time.process_time(), 0, 0
        texts: OrderedDict[str, Record] = OrderedDict()
        for record in live:
            texts[record.id] = record
            if len(texts) > RECENT:
                texts.popitem(last=False)
            alarm = watcher.update(record)
            rows += 1
            alarms += alarm is not None
            spent_s = time.process_time() - began_s
            self.summary = Summary(reference_rows=len(reference), rows=rows, alarms=alarms, cpu_s=spent_s)
            if alarm:
                yield document_of(alarm, texts)
        if not rows and self._plan.reference is not None:
            raise InvalidInput(f"{self._plan.files[0]} holds no exchanges: nothing to replay")

    def _reference(self, live: Iterator[Record]) -> tuple[list[Record], Iterator[Record]]:
        """The reference, and what is left to replay."""
        if self._plan.reference is not None:
            return list(read([self._plan.reference])), live
        wanted = self._plan.reference_rows
        if wanted < MIN_REFERENCE_ROWS:
            raise InvalidInput(
                f"a reference of {wanted} rows is too small: give --reference-rows {MIN_REFERENCE_ROWS} or more"
            )
        rows = list(islice(live, wanted + 1))
        if len(rows) <= wanted:
            raise InvalidInput(
                f"the log holds {len(rows)} exchanges, and the first {wanted} are to be the reference: give more than"
                f" {wanted}, a smaller --reference-rows (at least {MIN_REFERENCE_ROWS}), or a --reference file"
            )
        return rows[:wanted], chain(rows[wanted:], live)

    def _watcher(self, reference: list[Record]) -> _Watcher:
        plan = self._plan
        if plan.detector != "sequential":
            return Threshold.fit(plan.detector, reference, seed=plan.seed)
        budget_rows = plan.budget_windows * WINDOW_ROWS
        return Detector.fit(reference, alias="backtest", version="reference", budget_rows=budget_rows, seed=plan.seed)


def document_of(alarm: Alarm, texts: OrderedDict[str, Record]) -> dict[str, Any]:
    """The JSON of one alarm. Rows count live records, 0-based; `onset_at` is null where the log has no times."""

    def when(at: datetime) -> str | None:
        return None if at == UNKNOWN_TIME else at.isoformat()

    examples = [texts[name] for name in alarm.examples if name in texts]
    return {
        "alarm_at": alarm.row,
        "kind": alarm.kind,
        "feature": alarm.features[0][0],
        "evidence": round(alarm.evidence, 3),
        "threshold": round(alarm.threshold, 3),
        "time": when(alarm.at),
        "onset_row": alarm.onset_row,
        "onset_at": when(alarm.onset_at),
        "reason": alarm.reason,
        "features": [
            {"feature": name, "log10_evidence": round(evidence, 3), "shift_sd": round(shift, 3)}
            for name, evidence, shift in alarm.features
        ],
        "examples": [
            {
                "id": record.id,
                "prompt": record.prompt[:_EXAMPLE_CHARACTERS],
                "response": record.answer[:_EXAMPLE_CHARACTERS],
            }
            for record in examples
        ],
    }
