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
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LEVELS = 512
_HALF = LEVELS // 2 - 1
_FINE = 3.0
_FAR = 50.0
LEAST_SPREAD = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Location and spread (s,) per score; levels are fine near the middle, wide far out (inverse hyperbolic sine)."""

    middle: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def over(cls, scores: NDArray[np.float64]) -> Self:
        """A grid that suits scores like these, shape (n, s); they must not come from ranked records."""
        return cls(scores.mean(axis=0), np.maximum(scores.std(axis=0), LEAST_SPREAD))

    def levels(self, scores: NDArray[np.float64]) -> NDArray[np.intp]:
        """Levels in [0, 511] of one record's scores (s,): a rule that never changes."""
        z = np.arcsinh(_FINE * (scores - self.middle) / self.spread) / np.arcsinh(_FINE * _FAR)
        levels: NDArray[np.intp] = np.rint(_HALF * (1 + np.clip(z, -1, 1))).astype(np.intp)
        return levels


class Pool:
    """`at_least` (s, 513): how many ranked records stood at this level or above; `rows`: how many records in all."""

    def __init__(self, scores: int) -> None:
        self.at_least = np.zeros((scores, LEVELS + 1), np.int32)
        self.rows = 0
        self._score = np.arange(scores)
        self._level = np.arange(LEVELS + 1)

    def add(self, levels: NDArray[np.intp]) -> None:
        """Take one record in."""
        self.at_least += self._level <= levels[:, None]
        self.rows += 1

    def p_values(self, levels: NDArray[np.intp], ties: NDArray[np.float64]) -> NDArray[np.float64]:
        """P-values (s,) in (0, 1) of one record not yet taken in; small means higher than most. `ties` uniform (s,)."""
        greater = self.at_least[self._score, levels + 1]
        equal = self.at_least[self._score, levels] - greater
        p: NDArray[np.float64] = (greater + ties * (equal + 1)) / (self.rows + 1)
        return np.clip(p, 1e-12, 1 - 1e-12)
