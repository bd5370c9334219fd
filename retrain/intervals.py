"""Intervals for shares and for differences of paired shares (pure).

In: counts. Out: (low, high). Must never know: what is compared or what follows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

Interval = tuple[float, float]

_HALVINGS = 60


def z_of(alpha: float) -> float:
    """The standard normal deviate that is passed with probability `alpha` on one side."""
    return NormalDist().inv_cdf(1.0 - alpha)


def paired_difference(wins: int, losses: int, n: int, z: float) -> Interval:
    """Score interval of a difference of paired shares (Tango 1998, Statistics in Medicine 17:891).

    Of `n` pairs the first was right alone in `wins`, the second alone in `losses`. The interval holds with few
    pairs and with no discordant ones, where a bootstrap or Wald interval collapses to a point. Values in [-1, 1].
    """
    if n == 0:
        return -1.0, 1.0
    return _cross(wins, losses, n, z), _cross(wins, losses, n, -z)


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
