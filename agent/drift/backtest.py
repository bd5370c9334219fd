"""Run the live detector over a log: the same code path, record by record, without looking ahead.

Lives here: `Plan`, `Replay`, `Summary`. Comes in: files of logged exchanges. Goes out: a document per alarm, then a
summary. Must never know: the terminal; whoever calls decides where documents go.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from agent.drift.baselines import COST, WINDOW_ROWS, fit_plain, warning_of
from agent.drift.detector import Detector
from agent.drift.lines import Reader
from agent.drift.records import UNKNOWN_TIME
from agent.drift.split import MIN_REFERENCE_ROWS
from agent.types import Alarm, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from agent.drift.baselines import Plain
    from agent.drift.records import Record

SEQUENTIAL = "sequential"
DETECTORS = (SEQUENTIAL, *COST)
REFERENCE_ROWS = 1_000
EXAMPLE_CHARACTERS = 200
_RECENT = 200
_FEWER = 0.2
"""What is new among the live exchanges must be fewer than this share of what was new among those of the reference to be
told: short commands repeat each other, whole logs do not."""
_AT_ONCE = 32
"""Records that are read before they are judged: fewer cost more each, and the alarms are the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What to replay. Without `reference` the first `reference_rows` records of `files` are it.

    `budget_rows`: with no change, at most one false alarm in so many exchanges, on average; windows are of 100.
    """

    files: Sequence[Path]
    reference: Path | None = None
    reference_rows: int = REFERENCE_ROWS
    budget_rows: int = 500 * WINDOW_ROWS
    detector: str = SEQUENTIAL
    seed: int = 0

    @property
    def warning(self) -> str | None:
        """What a person must know before believing this detector's alarms."""
        return None if self.detector == SEQUENTIAL else warning_of(self.detector)


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a replay came to; `cpu_s` counts this process only, reading and learning included."""

    detector: str
    budget_rows: int | None
    reference_rows: int
    rows: int
    bad_lines: int
    failed_requests: int
    alarms: int
    cpu_s: float

    @property
    def cpu_s_per_1000_rows(self) -> float:
        """CPU seconds per 1,000 exchanges, those of the reference among them."""
        return 1_000 * self.cpu_s / max(self.rows + self.reference_rows, 1)

    @property
    def false_alarms_allowed(self) -> float | None:
        """How many false alarms the budget allows in so many rows, on average; None where nothing is promised."""
        return None if self.budget_rows is None else self.rows / self.budget_rows


class Replay:
    """Iterate to get one document per alarm, as it fires; `summary` and `notes` afterwards. Raises InvalidInput."""

    def __init__(self, plan: Plan) -> None:
        if plan.detector not in DETECTORS:
            raise InvalidInput(f"unknown detector {plan.detector!r}: choose one of {', '.join(DETECTORS)}")
        if plan.budget_rows < WINDOW_ROWS:
            msg = "the budget must be 1 window of 100 exchanges or more: how many may pass per false alarm?"
            raise InvalidInput(msg)
        self._plan = plan
        self._live = Reader(plan.files)
        self._reference: Reader | None = Reader([plan.reference]) if plan.reference is not None else None
        self._reference_rows = self._rows = self._alarms = self._repeated = 0
        self._fresh = 1.0
        self._heard_by: Plain | None = None
        self._began_s = time.process_time()

    @property
    def notes(self) -> list[str]:
        """What was odd about the lines and what the reference cannot do, a sentence each."""
        out = [note for reader in self._readers for note in reader.notes]
        if self._rows - self._repeated < _FEWER * self._fresh * self._rows:
            out.append(f"{self._repeated} of {self._rows} exchanges repeat prompt and answer of the reference: if they"
                       " are the same ones, give a reference that is no part of the log")  # fmt: skip
        return [*out, *(self._heard_by.notes if isinstance(self._heard_by, Detector) else [])]

    @property
    def _readers(self) -> list[Reader]:
        return [self._live] if self._reference is None else [self._reference, self._live]

    @property
    def summary(self) -> Summary:
        """So far."""
        plan = self._plan
        return Summary(
            detector=plan.detector,
            budget_rows=plan.budget_rows if plan.detector == SEQUENTIAL else None,
            reference_rows=self._reference_rows,
            rows=self._rows,
            bad_lines=sum(reader.bad for reader in self._readers),
            failed_requests=sum(reader.failed for reader in self._readers),
            alarms=self._alarms,
            cpu_s=time.process_time() - self._began_s,
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Read, fit, feed. Memory does not grow with the live part."""
        self._began_s = time.process_time()
        reference, live = self._parted()
        self._reference_rows = len(reference)
        known = {hash((record.prompt, record.answer)) for record in reference}
        self._fresh = len(known) / len(reference)
        watcher = self._heard_by = self._watcher(reference)
        del reference
        texts: OrderedDict[str, tuple[str, str]] = OrderedDict()
        while some := list(islice(live, _AT_ONCE)):
            alarms = watcher.update_many(some) if isinstance(watcher, Detector) else map(watcher.update, some)
            for record, alarm in zip(some, alarms, strict=True):
                texts[record.id] = record.prompt[:EXAMPLE_CHARACTERS], record.answer[:EXAMPLE_CHARACTERS]
                if len(texts) > _RECENT:
                    texts.popitem(last=False)
                self._rows += 1
                self._repeated += hash((record.prompt, record.answer)) in known
                if alarm:
                    self._alarms += 1
                    yield document_of(alarm, texts)
        if not self._rows and self._reference is not None:
            raise InvalidInput(f"{self._plan.files[0]} holds no exchanges: nothing to replay")

    def _parted(self) -> tuple[list[Record], Iterator[Record]]:
        """The reference, and what is left to replay."""
        live = iter(self._live)
        if self._reference is not None:
            reference = list(self._reference)
            if not reference:
                raise InvalidInput(f"{self._plan.reference} holds no exchanges: give what normal traffic looks like")
            return reference, live
        wanted = self._plan.reference_rows
        if wanted < MIN_REFERENCE_ROWS:
            msg = f"a reference of {wanted} rows is too small: give --reference-rows {MIN_REFERENCE_ROWS} or more"
            raise InvalidInput(msg)
        rows = list(islice(live, wanted + 1))
        if not rows:
            raise InvalidInput(f"{self._plan.files[0]} holds no exchanges: nothing to replay")
        if len(rows) <= wanted:
            raise InvalidInput(
                f"the log holds {len(rows)} exchanges, and the first {wanted} are to be the reference: give more than"
                f" {wanted}, a smaller --reference-rows (at least {MIN_REFERENCE_ROWS}), or a --reference file"
            )
        return rows[:wanted], chain(rows[wanted:], live)

    def _watcher(self, reference: list[Record]) -> Plain:
        plan = self._plan
        if plan.detector != SEQUENTIAL:
            return fit_plain(plan.detector, reference)
        return Detector.fit(
            reference, alias="backtest", version="reference", budget_rows=plan.budget_rows, seed=plan.seed
        )


def document_of(alarm: Alarm, texts: OrderedDict[str, tuple[str, str]]) -> dict[str, Any]:
    """The JSON of one alarm: `alarm_at` and `onset_at` are 0-based rows of the live part.

    `time` and `onset_time` are null where the log has no times.
    """

    def when(at: datetime) -> str | None:
        return None if at == UNKNOWN_TIME else at.isoformat()

    return {
        "alarm_at": alarm.row,
        "kind": alarm.kind,
        "feature": alarm.features[0][0],
        "evidence": round(alarm.evidence, 3),
        "threshold": round(alarm.threshold, 3),
        "time": when(alarm.at),
        "onset_at": alarm.onset_row,
        "onset_time": when(alarm.onset_at),
        "reason": alarm.reason,
        "features": [
            {"feature": name, "evidence": round(evidence, 3), "shift_sd": round(shift, 3)}
            for name, evidence, shift in alarm.features
        ],
        "examples": [
            {"id": name, "prompt": texts[name][0], "response": texts[name][1]}
            for name in alarm.examples
            if name in texts
        ],
    }
