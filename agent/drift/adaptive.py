"""Page-Hinkley and ADWIN from river, one on each descriptor: for comparison, not for use.

Lives here: `Adaptive`. Comes in: records. Goes out: alarms of the same form as the others'.
Must never know: a false-alarm budget; each of the 19 detectors counts its own chances, and nobody adds them up.

Page (1954), "Continuous inspection schemes"; Bifet and Gavalda (2007), "Learning from time-changing data with
adaptive windowing". Page-Hinkley's settings are made for numbers of spread 1: descriptors are divided by the
reference's standard deviation. river is an extra: `pip install 'trimtab[river]'`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from agent.drift.baselines import NAMED, plain_alarm
from agent.drift.descriptors import NAMES, Descriptors, parted
from agent.types import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.drift.records import Record
    from agent.types import Alarm

DEFAULTS = {"page-hinkley": 50.0, "adwin": 0.002}
"""river's own: the sum that Page-Hinkley must pass, and ADWIN's delta (its chance of a false alarm at one look)."""
_LEAST_SPREAD = 1e-9
_SHOWN = 5


class Adaptive:
    """One river detector a descriptor, warmed up on the reference; any that fires is an alarm, and starts afresh."""

    def __init__(self, name: str, setting: float, descriptors: Descriptors, reference: Sequence[Record]) -> None:
        """`reference`: the part that did not give the vocabulary. Prefer `fit`."""
        make = _river(name, setting)
        self._name, self._setting, self._descriptors = name, setting, descriptors
        rows = np.array([descriptors.row(record) for record in reference])
        self._middle, self._spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), _LEAST_SPREAD)
        self._detectors = [make() for _ in NAMES]
        self._latest: list[str] = []
        self.rows = 0
        self.fired: list[tuple[str, float]] = []
        """Descriptors that drifted at the last record, with its value in standard deviations."""
        for row in (rows - self._middle) / self._spread:
            for detector, value in zip(self._detectors, row.tolist(), strict=True):
                detector.update(value)

    @classmethod
    def fit(cls, name: str, reference: Sequence[Record], setting: float | None = None) -> Self:
        """`setting`: the threshold of page-hinkley or the delta of adwin; river's own by default."""
        counted, compared = parted(reference)
        return cls(name, DEFAULTS[name] if setting is None else setting, Descriptors(counted), compared)

    def update(self, record: Record) -> Alarm | None:
        """Feed every detector; an alarm if any says drift."""
        values = (self._descriptors.row(record) - self._middle) / self._spread
        self.rows += 1
        self._latest = [*self._latest[1 - _SHOWN :], record.id]
        self.fired = []
        for name, detector, value in zip(NAMES, self._detectors, values.tolist(), strict=True):
            detector.update(value)
            if detector.drift_detected:
                self.fired.append((name, value))
        if not self.fired:
            return None
        fired = sorted(self.fired, key=lambda one: -abs(one[1]))
        return plain_alarm(
            row=self.rows - 1,
            onset_row=self.rows - 1,
            at=record.at,
            onset_at=record.at,
            evidence=abs(fired[0][1]),
            threshold=self._setting,
            features=tuple((name, abs(value), value) for name, value in fired[:NAMED]),
            examples=tuple(self._latest),
            reason=f"{self._name} says that {fired[0][0]} drifts; it does not say since when",
        )


def _river(name: str, setting: float) -> Callable[[], Any]:
    try:
        drift: Any = importlib.import_module("river.drift")
    except ModuleNotFoundError as error:
        raise InvalidInput(f"--detector {name} needs river: pip install 'trimtab[river]'") from error
    if name == "page-hinkley":
        return lambda: drift.PageHinkley(threshold=setting)
    return lambda: drift.ADWIN(delta=setting)
