"""Percentiles of two ways that took turns, and how sure their difference is. Pure.

In: samples per round, plain and with. Out: the difference of percentiles with a bootstrap interval.
Must never know: what the samples are. Rounds are drawn anew, not samples: within a round they hang together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float64]
DRAWS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """What one way adds to the other at a percentile, in the unit of the samples; `low` and `high` bound 95 %."""

    plain: float
    added: float
    low: float
    high: float


def added(plain: Sequence[Samples], taken: Sequence[Samples], percentile: float, seed: int = 0) -> Added:
    """Difference of a percentile over all rounds; percentile bootstrap over pairs of rounds (Efron 1979)."""

    def difference(rounds: Sequence[int]) -> tuple[float, float]:
        one, other = (np.concatenate([way[i] for i in rounds]) for way in (plain, taken))
        without = float(np.percentile(one, percentile))
        return without, float(np.percentile(other, percentile)) - without

    random, n = np.random.default_rng(seed), len(plain)
    drawn = [difference(list(random.integers(0, n, n)))[1] for _ in range(DRAWS)]
    without, more = difference(range(n))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Added(plain=without, added=more, low=float(low), high=float(high))
