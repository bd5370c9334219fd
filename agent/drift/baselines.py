"""Plain detectors, set as most monitoring sets them: for comparison, not for use.

Lives here: `fit_plain`, the warning each one deserves, and thresholds on windows (`ks`, `psi`).
Comes in: records. Goes out: alarms of the same form as the sequential detector's. Must never know: how often it is
asked. There is no promise here: every look is a new chance of a false alarm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np

from agent.drift.descriptors import NAMES, Descriptors, parted
from agent.types import Alarm, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from agent.drift.records import Record

    Distance = Callable[[NDArray[np.float64], NDArray[np.float64]], float]

WINDOW_ROWS = 100
LEAST_REFERENCE_ROWS = 50
PSI_TOO_FAR = 0.2
KS_LEVEL = 0.05
NAMED = 5
COST = {
    "ks": "KS p < 0.05 (Bonferroni over features) on windows of 100",
    "psi": "PSI > 0.2 on windows of 100",
    "page-hinkley": "river's Page-Hinkley with its own settings on every feature",
    "adwin": "river's ADWIN with its own settings on every feature",
}
"""The plain detectors, and what each does."""
FALSE_ALARMS_PER_WINDOW = {
    "ks": (0.014, 0.84),
    "psi": (0.48, 0.98),
    "page-hinkley": (0.88, 4.2),
    "adwin": (0.032, 1.7),
}
"""Measured without any change, over 2,000 windows of independent records and 500 of users' bursts: see README."""


class Plain(Protocol):
    """What the sequential detector and the plain ones have in common."""

    def update(self, record: Record) -> Alarm | None:
        """Look at one more live record."""
        ...


def warning_of(name: str) -> str:
    """One sentence: what a person must know before believing this detector's alarms."""
    alone, in_bursts = FALSE_ALARMS_PER_WINDOW[name]
    return (
        f"{name} ({COST[name]}) promises nothing about false alarms: where nothing changed it raised {alone:.3g} a"
        f" window of 100, and {in_bursts:.3g} where users come in bursts; a budget of 500 allows 0.002; compare with"
        " --detector sequential"
    )


def fit_plain(name: str, reference: Sequence[Record]) -> Plain:
    """The plain detector of that name. Raises InvalidInput for a small reference, or where river is missing."""
    if len(reference) < LEAST_REFERENCE_ROWS:
        msg = f"the reference holds {len(reference)} exchanges: give {LEAST_REFERENCE_ROWS} or more"
        raise InvalidInput(msg)
    if name in ("ks", "psi"):
        return Threshold.fit(name, reference)
    from agent.drift.adaptive import Adaptive

    return Adaptive.fit(name, reference)


def ks(reference: NDArray[np.float64], window: NDArray[np.float64]) -> float:
    """Kolmogorov-Smirnov: the largest gap between two empirical distributions, in [0, 1]; both sorted."""
    everything = np.concatenate([reference, window])
    below = [np.searchsorted(sample, everything, side="right") / sample.size for sample in (reference, window)]
    return float(np.abs(below[0] - below[1]).max())


def psi(reference: NDArray[np.float64], window: NDArray[np.float64], bins: int = 10) -> float:
    """Population stability index over the reference's deciles, each share at least 0.0001."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, s, side="left"), minlength=edges.size + 1) / s.size, 1e-4)
        for s in (reference, window)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def ks_limit(reference_rows: int, level: float, window_rows: int = WINDOW_ROWS) -> float:
    """Asymptotic two-sample bound at this level for one feature (Smirnov 1948)."""
    effective = reference_rows * window_rows / (reference_rows + window_rows)
    return math.sqrt(-math.log(level / 2) / 2 / effective)


class Threshold:
    """Compare each window of (usually 100) records with the reference, descriptor by descriptor."""

    def __init__(
        self, name: str, descriptors: Descriptors, reference: Sequence[Record], window_rows: int = WINDOW_ROWS
    ) -> None:
        """`reference`: the part that did not give the vocabulary. Prefer `fit`."""
        self._name, self._descriptors, self._window_rows = name, descriptors, window_rows
        self._reference = np.sort(np.array([descriptors.row(record) for record in reference]), axis=0)
        self._distance: Distance = ks if name == "ks" else psi
        level = KS_LEVEL / len(NAMES)
        self.limit = ks_limit(len(reference), level, window_rows) if name == "ks" else PSI_TOO_FAR
        self._window: list[tuple[str, datetime, NDArray[np.float64]]] = []
        self.rows = 0
        self.far: list[float] | None = None
        """Distances of the window that ended with the last record, one a descriptor; None inside a window."""

    @classmethod
    def fit(cls, name: str, reference: Sequence[Record], *, window_rows: int = WINDOW_ROWS) -> Self:
        """A threshold on `ks` or `psi`."""
        counted, compared = parted(reference)
        return cls(name, Descriptors(counted), compared, window_rows)

    def update(self, record: Record) -> Alarm | None:
        """Collect; at the end of a window, an alarm if any descriptor is too far."""
        self._window.append((record.id, record.at, self._descriptors.row(record)))
        self.rows += 1
        self.far = None
        if len(self._window) < self._window_rows:
            return None
        window, self._window = self._window, []
        rows = np.sort(np.array([row for _, _, row in window]), axis=0)
        self.far = far = [self._distance(self._reference[:, i], rows[:, i]) for i in range(len(NAMES))]
        order = np.argsort(far)[::-1][:NAMED]
        if far[order[0]] <= self.limit:
            return None
        worst = NAMES[order[0]]
        return plain_alarm(
            row=self.rows - 1,
            onset_row=self.rows - len(window),
            at=window[-1][1],
            onset_at=window[0][1],
            evidence=far[order[0]],
            threshold=self.limit,
            features=tuple((NAMES[i], far[i], 0.0) for i in order),
            examples=tuple(name for name, _, _ in window[:NAMED]),
            reason=f"{self._name} of {worst} over the last {len(window)} exchanges is {far[order[0]]:.2f},"
            f" above {self.limit:.2f}",
        )


def plain_alarm(
    *,
    row: int,
    onset_row: int,
    at: datetime,
    onset_at: datetime,
    evidence: float,
    threshold: float,
    features: tuple[tuple[str, float, float], ...],
    examples: tuple[str, ...],
    reason: str,
) -> Alarm:
    """An alarm of a plain detector; `evidence` and `threshold` are in its own measure, not logarithms."""
    return Alarm(
        alias="",
        version="",
        row=row,
        onset_row=onset_row,
        at=at,
        onset_at=onset_at,
        kind="input" if features[0][0].startswith("prompt") else "output",
        evidence=evidence,
        threshold=threshold,
        features=features,
        examples=examples,
        reason=reason,
    )
