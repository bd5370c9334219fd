"""Bursts and conversations as single observations.

Lives here: `Units`. Comes in: the levels of each record's fixed scores, and whose record it is. Goes out: evidence.
Must never know: what the scores mean.

A unit is what one user (or conversation) sends in a row: it ends after `MOST` records, or when nothing more has come
for `GAP` rows. Its value in a score is the mean of its records, weighted by a fixed rule of their number; it is ranked
among the units of the calibration half and all earlier live ones. Units of exchangeable people are exchangeable however
alike the records within one are, so the ranks are uniform and a unit stakes all that an independent record would, once.
One who comes back stakes 1 / (1 + how many of its units are remembered). A Shiryaev-Roberts sum that begins one sum a
row, not one a unit, grows like the rows if nothing changed; so it may be averaged with the one over records.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from agent.drift.bets import Evidence
from agent.drift.conformal import LEVELS, Grid, Pool
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


class _Open:
    """A unit that may still grow: `sums` and `counts` (s,) of its records' levels."""

    __slots__ = ("counts", "first", "last", "rows", "sums")

    def __init__(self, row: int, scores: int) -> None:
        self.first = self.last = row
        self.rows = 0
        self.sums, self.counts = np.zeros(scores), np.zeros(scores)

    def value(self) -> Numbers:
        """Weighted mean (s,), nan where no record had the score."""
        n = self.counts
        return np.where(n > 0, self.sums / np.sqrt(np.maximum(n, 1) * (1 + (np.maximum(n, 1) - 1) * _ALIKE)), np.nan)


class Units:
    """Build from the calibration half, feed with `add`. `bets` is None where units tell nothing more than records."""

    def __init__(self, scores: int, *, playing: bool) -> None:
        self.pool, self.open = Pool(scores), OrderedDict[str, _Open]()
        self.known: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.playing = playing
        self._grid = Grid(np.zeros(scores), np.full(scores, _SPREAD))
        self.restart()

    def restart(self) -> None:
        """Forget all bets, not the ranks."""
        self.bets = Evidence(shares(RANKED), UPWARD[:-1])

    @classmethod
    def build(cls, levels: Levels, rows: Sequence[int], keys: Sequence[str | None]) -> Self:
        """From levels (n, s), places in the reference, and keys of the calibration records in order."""
        self, size = cls(levels.shape[1], playing=False), 0
        values: list[Numbers] = []
        for level, row, key in zip(levels, rows, keys, strict=True):
            if key is not None:
                for _, unit in self._grown(level, row, key):
                    values.append(unit.value())
                    size += unit.rows
        self.playing = len(values) >= _AT_LEAST and size >= _LEAST_SIZE * len(values)
        self.open.clear()
        if self.playing:
            self.pool.add(self._grid.levels(np.array(values)))
        return self

    def add(self, levels: Levels, row: int, key: str | None, at_s: float, ties: Numbers, *, quiet: bool) -> None:
        """One live record; units that end with it are ranked and, unless all is `quiet`, settle their bets."""
        if not self.playing or key is None:
            return
        for name, unit in self._grown(levels, row, key):
            ranked = self._grid.levels(unit.value())[None]
            p = self.pool.rank(ranked, ties[None])[0]
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
        there = levels >= 0
        unit.sums += np.where(there, levels - _MIDDLE, 0) / _MIDDLE
        unit.counts += there
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
            "pool": self.pool.levels(),
            "open": np.array([[u.first, u.last, u.rows] for u in units], np.int64).reshape(-1, 3),
            "sums": np.array([[u.sums, u.counts] for u in units]).reshape(len(units), 2, -1),
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
        self.pool = Pool.of(arrays["pool"])
        for name, (first, last, rows), (sums, counts) in zip(
            opened, arrays["open"].tolist(), arrays["sums"], strict=True
        ):
            unit = self.open[name] = _Open(first, scores)
            unit.last, unit.rows, unit.sums, unit.counts = last, rows, sums.copy(), counts.copy()
        for name, (row, many) in zip(known, arrays["known"].tolist(), strict=True):
            self.known[name] = int(row), many
        for name in ("m", "c", "since", "since_s"):
            setattr(self.bets, name, arrays[name])
        return self
