"""Intervals for shares and for differences of paired shares, levels for many claims, and how many pairs more (pure).

In: counts. Out: (low, high), levels, numbers of pairs. Must never know: what is compared or what follows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from statistics import NormalDist, fmean, stdev

Interval = tuple[float, float]

_HALVINGS = 60
_NORMAL = NormalDist()
MOST_PAIRS = 1_000_000
"""More pairs than this are as good as none: nobody can bring them."""


def z_of(alpha: float) -> float:
    """The standard normal deviate that is passed with probability `alpha` on one side."""
    return _NORMAL.inv_cdf(1.0 - alpha)


def paired_difference(wins: int, losses: int, n: int, z: float) -> Interval:
    """Score interval of a difference of paired shares (Tango 1998, Statistics in Medicine 17:891).

    Of `n` pairs the first was right alone in `wins`, the second alone in `losses`. The interval holds with few
    pairs and with no discordant ones, where a bootstrap or Wald interval collapses to a point. At a difference of 0
    it is McNemar's test. Values in [-1, 1].
    """
    if n == 0:
        return -1.0, 1.0
    return _cross(wins, losses, n, z), _cross(wins, losses, n, -z)


def below(bound: float, wins: int, losses: int, n: int) -> float:
    """p-value of "the true difference is `bound` or more", by the same score test; 1 when nothing was seen."""
    if n == 0:
        return 1.0
    return _NORMAL.cdf(min(40.0, max(-40.0, _statistic(min(1.0, max(-1.0, bound)), wins, losses, n))))


def wilson(successes: int, n: int, z: float) -> Interval:
    """Score interval of a share (Wilson 1927). Values in [0, 1]."""
    if n == 0:
        return 0.0, 1.0
    share, more = successes / n, z * z / n
    middle = (share + more / 2) / (1 + more)
    half = z * math.sqrt(share * (1 - share) / n + more / (4 * n)) / (1 + more)
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return low, high


def mean(values: Sequence[float], z: float) -> Interval:
    """Normal interval of a mean; without end when there are fewer than two values."""
    if len(values) < 2:
        return -math.inf, math.inf
    half = z * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def holm(p_values: Mapping[str, float], alpha: float) -> dict[str, float]:
    """The level at which each hypothesis is tested, so that any false rejection at all has chance `alpha` at most.

    Holm 1979, Scandinavian Journal of Statistics 6:65, for any dependence: the smallest p-value is held against
    alpha/m, the next against alpha/(m-1) as long as all before were rejected; from the first that is not, the level
    stays. A hypothesis is rejected when its p-value is at most its level.
    """
    levels: dict[str, float] = {}
    left, stopped = len(p_values), False
    for name, p in sorted(p_values.items(), key=lambda item: item[1]):
        levels[name] = alpha / left
        stopped = stopped or p > levels[name]
        left -= not stopped
    return levels


def more_pairs(
    wins: int, losses: int, n: int, *, margin: float, truth: float, alpha: float, power: float = 0.9
) -> int | None:
    """Pairs to add until "the difference is above `margin`" is shown with probability `power`; None: hopeless.

    Conditional on what was seen: the pairs at hand stay, those to come have the true difference `truth` and the
    share of discordant pairs seen so far (with a pseudo-count, so that none seen is not none at all). Normal
    approximation, one-sided level `alpha`.
    """
    z, z_power = z_of(alpha), z_of(1 - power)
    discordant = (wins + losses + 1) / (n + 2)
    spread = max(discordant - truth * truth, 1e-4)

    def shown(more: int) -> bool:
        total = n + more
        bad_luck = wins - losses + more * truth - z_power * math.sqrt(more * spread)
        return bad_luck >= total * margin + z * math.sqrt(total * spread)

    most = 1
    while not shown(most):
        most *= 2
        if most > MOST_PAIRS:
            return None
    least = most // 2
    while most - least > 1:
        middle = (least + most) // 2
        least, most = (least, middle) if shown(middle) else (middle, most)
    return most


def _statistic(delta: float, wins: int, losses: int, n: int) -> float:
    """Standardised distance of the observed difference from `delta`; falls as `delta` rises."""
    a = 2 * n
    b = -wins - losses + (2 * n - wins + losses) * delta
    c = -losses * delta * (1 - delta)
    only_second = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
    variance = n * (2 * only_second + delta * (1 - delta))
    distance = wins - losses - n * delta
    if variance <= 0:
        return 0.0 if distance == 0 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


@lru_cache(maxsize=100_000)
def _cross(wins: int, losses: int, n: int, z: float) -> float:
    """Where the statistic passes `z`, by halving."""
    low, high = -1.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _statistic(middle, wins, losses, n) > z:
            low = middle
        else:
            high = middle
    return (low + high) / 2
