"""Online conformal p-values in constant memory.

Lives here: `Grid` (a score becomes one of 512 levels by a fixed rule) and `Pool` (how many ranked records stood at each
level). Comes in: scores. Goes out: one p-value per score.
Must never know: what the scores mean, or when a change is suspected.

Each record is ranked among the calibration records *and all earlier live records*, ties broken at random:
p = (#greater + U (#equal + 1)) / (m + 1). If the records are exchangeable these p-values are independent and uniform,
whatever the score and however small the reference (Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World,
2005, ch. 8). Because levels are a fixed rule, counting them is enough: nothing is ever forgotten or sampled, and the
p-values stay exact for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 512
_HALF = LEVELS // 2 - 1
_FINE = 3.0
_FAR = 50.0
LEAST_SPREAD = 0.02
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Location and spread (s,) per score; levels are fine near the middle, wide far out (inverse hyperbolic sine)."""

    middle: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def over(cls, scores: NDArray[np.float64]) -> Self:
        """A grid that suits scores like these, shape (n, s); they must not come from ranked records."""
        middle, spread = moments(scores)
        return cls(middle, spread)

    def levels(self, scores: NDArray[np.float64]) -> NDArray[np.intp]:
        """Levels in [0, 511] of scores (s,) or (n, s), -1 where there is none: a rule that never changes."""
        z = np.arcsinh(_FINE * (scores - self.middle) / self.spread) / np.arcsinh(_FINE * _FAR)
        absent = np.isnan(z)
        levels: NDArray[np.intp] = np.rint(_HALF * (1 + np.clip(np.where(absent, 0, z), -1, 1))).astype(np.intp)
        levels[absent] = -1
        return levels


def far_of(levels: NDArray[np.intp]) -> NDArray[np.float64]:
    """How many spreads from the middle each level stands: what `Grid.levels` takes for it, but for the rounding."""
    far: NDArray[np.float64] = np.sinh((levels / _HALF - 1) * np.arcsinh(_FINE * _FAR)) / _FINE
    return far


def moments(scores: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and spread (s,) of scores (n, s), nan where a record has none; (0, 1) where no record has any."""
    there = ~np.isnan(scores)
    n = np.maximum(there.sum(axis=0), 1)
    middle = np.where(there, scores, 0.0).sum(axis=0) / n
    square = np.square(np.where(there, scores - middle, 0.0)).sum(axis=0) / n
    spread = np.where(there.any(axis=0), np.maximum(np.sqrt(square), LEAST_SPREAD), 1.0)
    return middle, spread


def normal_scores(levels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Standard normal scores of ranks (n, s) among themselves, ties in the middle; nan where the level is -1."""
    out = np.full(levels.shape, np.nan)
    for s in range(levels.shape[1]):
        column = levels[:, s]
        there = column >= 0
        _, place, counts = np.unique(column[there], return_inverse=True, return_counts=True)
        ends = np.cumsum(counts)
        middle = (ends - counts / 2) / max(int(there.sum()), 1)
        out[there, s] = np.array([_NORMAL.inv_cdf(float(m)) for m in middle])[place] if counts.size else 0.0
    return out


class Pool:
    """How many ranked records stood at each level, `counts` (s, 512).

    A record that has no such score (level -1) is not counted and gets no p-value (nan).
    """

    def __init__(self, scores: int) -> None:
        self.counts = np.zeros((scores, LEVELS), np.int32)
        self._first = np.arange(scores) * LEVELS

    def add(self, levels: NDArray[np.intp]) -> None:
        """Take some records (n, s) in."""
        there = levels >= 0
        places = (levels + self._first)[there]
        self.counts += np.bincount(places, minlength=self.counts.size).astype(np.int32).reshape(self.counts.shape)

    def rank(self, levels: NDArray[np.intp], ties: NDArray[np.float64]) -> NDArray[np.float64]:
        """P-values (n, s) in (0, 1) of some records in turn, small where a score is higher than most; takes them in.

        Each is ranked among all taken in before it, those that stand before it here included. `ties` uniform (n, s).
        While all that came stand at one level there is nothing to bet on but dice: nan.
        """
        upto = np.cumsum(self.counts, axis=1, dtype=np.int32)
        places = np.maximum(levels, 0) + self._first
        known, equal = upto[:, -1], self.counts.ravel()[places]
        greater = known - upto.ravel()[places]
        if len(levels) > 1:
            short = levels.astype(np.int16)
            earlier = np.tri(len(levels), k=-1, dtype=bool)[:, :, None]
            greater = greater + ((short[None] > short[:, None]) & earlier).sum(axis=1)
            equal = equal + ((short[None] == short[:, None]) & earlier).sum(axis=1)
        there = levels >= 0
        before = known + np.cumsum(there, axis=0) - there
        p = (greater + ties * (equal + 1)) / (before + 1)
        self.add(levels)
        return np.where(there & (equal < before), np.clip(p, 1e-12, 1 - 1e-12), np.nan)

    def standing(self, levels: NDArray[np.intp]) -> NDArray[np.float64]:
        """How far the middle of some records (n, s) stands from that of all, in standard errors (s,), by ranks."""
        upto, n = np.cumsum(self.counts, axis=1), np.maximum((levels >= 0).sum(axis=0), 1)
        places = np.maximum(levels, 0) + self._first
        middle = (upto.ravel()[places] - self.counts.ravel()[places] / 2) / np.maximum(upto[:, -1], 1)
        share = self.counts / np.maximum(upto[:, -1:], 1)
        spread = np.sqrt(np.maximum((1 - np.power(share, 3).sum(axis=1)) / 12, 1e-9))  # of mid-ranks with ties
        far = np.where(levels >= 0, middle - 0.5, 0.0).sum(axis=0) / n
        return np.asarray(far / spread * np.sqrt(n))

    def levels(self) -> NDArray[np.int32]:
        """How many stood at each level (s, 512): all there is to keep."""
        return self.counts

    @classmethod
    def of(cls, counts: NDArray[np.int32]) -> Self:
        """The pool whose `levels` these are."""
        self = cls(len(counts))
        self.counts[:] = counts
        return self
