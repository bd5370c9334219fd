"""Bursts and conversations as single observations.

Lives here: `Units`. Comes in: the levels of each record's fixed scores, and whose record it is. Goes out: evidence.
Must never know: what the scores mean.

A unit is what one user (or conversation) sends in a row: it ends after `MOST` records, or when nothing more has come
for `GAP` rows. In each score it has four values, fixed functions of its records and their number: the weighted mean
(people who came with something new), the highest and the lowest record (what strikes one record in ten makes the
extremes of most conversations strange), and how far the highest stands from the mean. They are ranked among those of
the calibration units and all earlier live ones. Units of exchangeable people are exchangeable however alike the records
within one are, so the ranks are uniform and a unit stakes all that an independent record would, once. One who comes
back stakes 1 / (1 + how many of its units are remembered). A Shiryaev-Roberts sum that begins one sum a row, not one a
unit, grows like the rows if nothing changed; so it may be averaged with the one over records.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from agent.drift.bets import Evidence
from agent.drift.conformal import LEVELS, Grid, Pool, far_of
from agent.drift.core import UPWARD, shares
from agent.drift.dependence import FORGET_ROWS, KEPT
from agent.drift.scores import RANKED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    Levels = NDArray[np.intp]
    Numbers = NDArray[np.float64]

MOST = 16
"""Records after which a unit is judged, though it may go on (as another one)."""
GAP = 8
SHARE = 0.5
"""How much of the average the units are."""
_AT_LEAST, _LEAST_SIZE = 20, 2.0
"""Calibration units, and records a unit on average, below which units tell nothing that records do not."""
_ALIKE = 0.1
"""Correlation within a unit by which long units are weighted against short ones: a fixed rule, it need not be right."""
_SPREAD = 0.3
_MIDDLE = LEVELS // 2 - 1
_TURN = (math.sqrt(5) - 1) / 2
"""Units that end at one row break their ties apart."""
_FAR = far_of(np.arange(LEVELS))
_WEIGHTS = np.array([0.25, 0.3, 0.15, 0.3])
"""How much of the units' average each value is: mean, highest, lowest (which bets on being low), apart."""
_LARGEST = np.array([0.0, *(NormalDist().inv_cdf(0.5 ** (1 / n)) for n in range(1, MOST + 1))])
"""Median of the largest of n standard normal numbers."""


@lru_cache(maxsize=64)
def rows_for_a_tenth(size: float, budget_rows: int, within_rows: int) -> int:
    """Reference rows from which one unit in ten, altered as a whole, can be proved within so many live rows.

    All altered units on top of all others is the most there is to see. Among n live and m calibration units that
    happens by chance with probability C(n, k) / C(n + m, k), which must lie below one in `budget_rows`. Half of the
    reference is calibration; a unit holds `size` rows.
    """
    n = within_rows / size
    k = n / 10

    def chance(m: float) -> float:
        return math.lgamma(n + 1) - math.lgamma(n - k + 1) - math.lgamma(n + m + 1) + math.lgamma(n + m - k + 1)

    m = 1
    while chance(m) > -math.log(budget_rows):
        m += 1
    return math.ceil(2 * m * size)


def _evidence() -> Evidence:
    """Nothing bet yet, on all values of all scores; what only bets on being high has no say in the lowest."""
    each, only = shares(RANKED), UPWARD[:-1]
    low = np.where(only, 0.0, each)
    weights = np.concatenate([each, each, low / low.sum(), each]) * np.repeat(_WEIGHTS, each.size)
    ones, none = np.ones(each.size, bool), np.zeros(each.size, bool)
    return Evidence(weights, np.concatenate([only, ones, none, ones]), np.concatenate([none, none, ones, none]))


class _Open:
    """A unit that may still grow: `so_far` (5, s) sum of levels, count, and sum, highest and lowest of deviations."""

    __slots__ = ("first", "last", "rows", "so_far")

    def __init__(self, row: int, scores: int) -> None:
        self.first = self.last = row
        self.rows = 0
        self.so_far = np.zeros((5, scores))
        self.so_far[3], self.so_far[4] = -np.inf, np.inf

    def take(self, levels: Levels) -> None:
        """One more record's levels (s,)."""
        there, far = levels >= 0, _FAR[levels]
        level, count, total, high, low = self.so_far
        level += np.where(there, levels - _MIDDLE, 0)
        count += there
        total += np.where(there, far, 0.0)
        np.maximum(high, far, out=high, where=there)
        np.minimum(low, far, out=low, where=there)

    def values(self) -> Numbers:
        """All values (4 s,), those of `_WEIGHTS` in turn; nan where no record had the score."""
        level, count, total, high, low = self.so_far
        n = np.maximum(count, 1)
        largest = _LARGEST[n.astype(np.intp)]
        mean = level / (_MIDDLE * _SPREAD) / np.sqrt(n * (1 + (n - 1) * _ALIKE))
        every = np.stack([mean, high - largest / 2, low + largest / 2, high - total / n - largest])
        return np.where(count > 0, every, np.nan).ravel()


class Units:
    """Build from the calibration half, feed with `add`. `bets` is None where units tell nothing more than records."""

    def __init__(self, scores: int, *, playing: bool) -> None:
        self.pool, self.open = Pool(_WEIGHTS.size * scores), OrderedDict[str, _Open]()
        self.known: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.playing, self.size = playing, 1.0
        self._grid = Grid(np.zeros(_WEIGHTS.size * scores), np.ones(_WEIGHTS.size * scores))
        self.restart()

    def restart(self) -> None:
        """Forget all bets, not the ranks."""
        self.bets = _evidence()

    @property
    def by_score(self) -> Numbers:
        """The average over the values of each score (s,)."""
        return np.asarray(_WEIGHTS @ self.bets.by_score.reshape(_WEIGHTS.size, -1))

    @classmethod
    def build(cls, levels: Levels, keys: Sequence[str | None]) -> Self:
        """From levels (n, s), -1 for what may not be ranked, and keys of the reference in its order."""
        self, size, whole = cls(levels.shape[1], playing=False), 0, 0
        values: list[Numbers] = []
        for row, (level, key) in enumerate(zip(levels, keys, strict=True)):
            if key is not None:
                for _, unit in self._grown(level, row, key):
                    values.append(unit.values())
                    size += unit.rows
                    whole += int(unit.so_far[1][-1]) == unit.rows  # the last score needs the tables
        self.playing = whole >= _AT_LEAST and size >= _LEAST_SIZE * len(values)
        self.open.clear()
        self.size = size / max(len(values), 1)
        if self.playing:
            self.pool.add(self._grid.levels(np.array(values)))
        return self

    def add(self, levels: Levels, row: int, key: str | None, at_s: float, ties: Numbers, *, quiet: bool) -> None:
        """One live record; units that end with it are ranked and, unless all is `quiet`, settle their bets."""
        if not self.playing or key is None:
            return
        for n, (name, unit) in enumerate(self._grown(levels, row, key)):
            ranked = self._grid.levels(unit.values())[None]
            p = self.pool.rank(ranked, np.tile((ties + n * _TURN) % 1, _WEIGHTS.size)[None])[0]
            when, many = self.known.pop(name, (row, 0.0))
            many *= math.exp((when - row) / FORGET_ROWS)
            self.known[name] = row, many + 1
            while len(self.known) > KEPT:
                self.known.popitem(last=False)
            if not quiet:
                stakes = np.full(p.size, 1 / (1 + many))
                self.bets.update(p, unit.first, at_s, stakes, began=float(unit.rows))

    def _grown(self, levels: Levels, row: int, key: str) -> Iterator[tuple[str, _Open]]:
        """Take a record into its unit; the units that are then complete."""
        while self.open and (name := next(iter(self.open))) and self.open[name].last < row - GAP:
            yield name, self.open.pop(name)
        unit = self.open.pop(key, None) or _Open(row, levels.size)
        unit.last, unit.rows = row, unit.rows + 1
        unit.take(levels)
        if unit.rows == MOST:
            yield key, unit
        else:
            self.open[key] = unit

    def arrays(self) -> dict[str, Any]:
        """Everything but the names, as plain arrays."""
        if not self.playing:
            return {"playing": np.array(False)}
        units, bets = list(self.open.values()), self.bets
        return {
            "playing": np.array(True),
            "size": np.array(self.size),
            "pool": self.pool.levels().astype(np.min_scalar_type(int(self.pool.levels().max()))),
            "open": np.array([[u.first, u.last, u.rows] for u in units], np.int64).reshape(-1, 3),
            "so_far": np.array([u.so_far for u in units]).reshape(len(units), 5, -1),
            "known": np.array(list(self.known.values()), np.float64).reshape(-1, 2),
            "m": bets.m,
            "c": bets.c,
            "since": bets.since,
            "since_s": bets.since_s,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], scores: int, opened: Sequence[str], known: Sequence[str]) -> Self:
        """The one whose `arrays` and names these are."""
        self = cls(scores, playing=bool(arrays["playing"]))
        if not self.playing:
            return self
        self.size, self.pool = float(arrays["size"]), Pool.of(arrays["pool"])
        for name, (first, last, rows), so_far in zip(opened, arrays["open"].tolist(), arrays["so_far"], strict=True):
            unit = self.open[name] = _Open(first, scores)
            unit.last, unit.rows, unit.so_far = last, rows, so_far.copy()
        for name, (row, many) in zip(known, arrays["known"].tolist(), strict=True):
            self.known[name] = int(row), many
        for name in ("m", "c", "since", "since_s"):
            setattr(self.bets, name, arrays[name])
        return self
