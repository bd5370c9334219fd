"""Two plain thresholds on windows, as most monitoring tools set them: for comparison, not for use.

Lives here: `Threshold` and the distances `ks` and `psi` of two samples. Comes in: the same records and the same scores
as the real detector's. Goes out: alarms of the same form. Must never know: how often it is asked.
There is no promise here: every window is a new chance of a false alarm.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Self

import numpy as np

from agent.drift.detector import Detector
from agent.types import Alarm

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from agent.drift.records import Record

    Distance = Callable[[NDArray[np.float64], NDArray[np.float64]], float]

WINDOW_ROWS = 100
_PSI_TOO_FAR = 0.2
_KS_LEVEL = 0.05


def ks(reference: NDArray[np.float64], window: NDArray[np.float64]) -> float:
    """Kolmogorov-Smirnov: the largest gap between two empirical distributions, in [0, 1]."""
    everything = np.sort(np.concatenate([reference, window]))
    below = [np.searchsorted(np.sort(sample), everything, side="right") / sample.size for sample in (reference, window)]
    return float(np.abs(below[0] - below[1]).max())


def psi(reference: NDArray[np.float64], window: NDArray[np.float64], bins: int = 10) -> float:
    """Population stability index over the reference's deciles, each share at least 0.0001."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    shares = [
        np.maximum(np.bincount(np.searchsorted(edges, s, side="left"), minlength=edges.size + 1) / s.size, 1e-4)
        for s in (reference, window)
    ]
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def _ks_threshold(reference_rows: int, features: int) -> float:
    """Asymptotic two-sample bound at level 0.05, Bonferroni over the features, not over the looks."""
    effective = reference_rows * WINDOW_ROWS / (reference_rows + WINDOW_ROWS)
    return math.sqrt(-math.log(_KS_LEVEL / features / 2) / 2 / effective)


class Threshold:
    """Compare each window of 100 records with the calibration half of the reference, score by score."""

    def __init__(self, name: str, detector: Detector, reference: Sequence[Record], names: Sequence[str]) -> None:
        self._name, self._scorer, self._names = name, detector.scorer, names
        self._alias, self._version = detector.alias, detector.version
        self._reference = np.array([self._scorer.score(record) for record in reference])
        self._distance: Distance = ks if name == "ks" else psi
        self.limit = _ks_threshold(len(reference), len(names)) if name == "ks" else _PSI_TOO_FAR
        self._window: list[tuple[str, datetime, NDArray[np.float64]]] = []
        self.rows = 0

    @classmethod
    def fit(cls, name: str, reference: Sequence[Record], *, seed: int) -> Self:
        """A threshold detector over the same scores, split as the real one's are."""
        from agent.drift.scores import NAMES
        from agent.drift.split import halves, thinned

        detector = Detector.fit(reference, alias="", version="", budget_rows=1, seed=seed)
        _, ranked = halves(thinned(reference), np.random.default_rng([seed, 0]))
        return cls(name, detector, ranked, NAMES)

    def update(self, record: Record) -> Alarm | None:
        """Collect; at the end of a window, an alarm if any feature is too far."""
        self._window.append((record.id, record.at, self._scorer.score(record)))
        self.rows += 1
        if len(self._window) < WINDOW_ROWS:
            return None
        window, self._window = self._window, []
        scores = np.array([scores for _, _, scores in window])
        far = [self._distance(self._reference[:, i], scores[:, i]) for i in range(len(self._names))]
        order = np.argsort(far)[::-1][:5]
        if far[order[0]] <= self.limit:
            return None
        first, last = window[0][1], window[-1][1]
        worst = self._names[order[0]]
        return Alarm(
            alias=self._alias,
            version=self._version,
            row=self.rows - 1,
            onset_row=self.rows - WINDOW_ROWS,
            at=last,
            onset_at=first,
            kind={"prompt": "input", "answer": "output"}.get(worst.partition(".")[0], "relation"),
            evidence=far[order[0]],
            threshold=self.limit,
            features=tuple((self._names[i], far[i], 0.0) for i in order),
            examples=tuple(name for name, _, _ in window[:5]),
            reason=f"{self._name} of {worst} over the last {WINDOW_ROWS} exchanges is {far[order[0]]:.2f},"
            f" above {self.limit:.2f}",
        )
