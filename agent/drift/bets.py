"""Bets against the p-values being uniform, and their Shiryaev-Roberts sums.

Lives here: `stakes` (what each bet pays at p) and `Evidence` (the sums, and since when each has been winning).
Comes in: p-values. Goes out: evidence. Must never know: which score a p-value belongs to.

Every bet pays 1 on average if p is uniform. M <- (M + 1) * bet sums the evidence over all possible change points, and
M_t - t is a martingale: stopping when the average over bets and scores passes N takes N records on average or more, if
nothing changed (Shin, Ramdas and Rinaldo, E-detectors, 2023; Volkhonskiy et al., Inductive conformal martingales for
change-point detection, 2017). An average needs no correction for the number of scores, nor for their dependence.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHIFTS = np.array([-0.8, -0.4, -0.15, 0.15, 0.4, 0.8])
"""Gaussian shifts of the normal score of p, in standard deviations."""
TAILS = np.array([[0.004, 0.02], [0.004, 0.12], [0.02, 0.06], [0.02, 0.2], [0.08, 0.13], [0.08, 0.35], [0.3, 0.25]])
"""(q, e): stake e on p falling within q of an end: little for a change of few records, much for one of many."""
BETS = SHIFTS.size + 2 * len(TAILS)

_LEADING, _NEAR = 9, 1e4

_GRID = np.linspace(0, 1, 8193)
_CELLS = _GRID.size - 1


def _table() -> NDArray[np.float64]:
    """Pay of every bet in each of 8,192 equal cells of p: its exact mean there, so it pays exactly 1 on average."""
    normal = NormalDist()
    z = np.array([-np.inf, *(normal.inv_cdf(float(p)) for p in _GRID[1:-1]), np.inf])
    below = np.vectorize(normal.cdf)
    rows = [np.diff(below(z - shift)) * _CELLS for shift in SHIFTS]
    for q, e in TAILS:
        inside = np.clip((q - _GRID[:-1]) * _CELLS, 0, 1)
        pay = 1 - e + (e / q) * inside
        rows += [pay, pay[::-1]]
    return np.ascontiguousarray(np.array(rows).T)


_PAYS = _table()
_LOG_PAYS = np.log(_PAYS)
UP = np.array([*(SHIFTS < 0), *(True, False) * len(TAILS)])
"""Which bets win when p is small: when the score is high. (b,)"""
GROUPS = 4
"""Shifts upwards, shifts downwards, tails upwards, tails downwards."""
GROUP = (~UP).astype(np.intp) + 2 * (np.arange(BETS) >= SHIFTS.size)
"""Which group a bet belongs to. (b,)"""


def _log_typical() -> NDArray[np.float64]:
    """Log pay of each group, (cells, 4): of its widest shift, which wins most; of its tails on average."""
    shifts = [_PAYS[:, np.argmin(SHIFTS)], _PAYS[:, np.argmax(SHIFTS)]]
    tails = [_PAYS[:, group == GROUP].mean(axis=1) for group in (2, 3)]
    return np.asarray(np.log(np.stack([*shifts, *tails], axis=1)))


_LOG_TYPICAL = _log_typical()


class Evidence:
    """Shiryaev-Roberts sums `m` (s, b), CUSUM `c` of the log pays, and the row and time where each CUSUM last began.

    `shares` (s,) is how much each score weighs in the average; `upward` names scores that only bet on being high,
    `downward` those that only bet on being low.
    """

    def __init__(
        self, shares: NDArray[np.float64], upward: NDArray[np.bool_], downward: NDArray[np.bool_] | None = None
    ) -> None:
        playing = np.ones((shares.size, BETS), bool)
        playing[upward] = UP
        if downward is not None:
            playing[downward] = ~UP
        self.shares, self._playing = shares, playing
        self._counts = playing.sum(axis=1)
        self._weights = (playing * (shares / self._counts)[:, None]).ravel()
        self.m = np.zeros((shares.size, BETS))
        self.c = np.zeros((shares.size, BETS))
        self.since = np.zeros((shares.size, BETS), np.int64)
        self.since_s = np.full((shares.size, BETS), np.nan)

    def update(
        self,
        p: NDArray[np.float64],
        row: int,
        at_s: float,
        stakes: NDArray[np.float64] | None = None,
        open_: NDArray[np.bool_] | None = None,
        began: float | None = None,
    ) -> NDArray[np.float64]:
        """Settle all bets on one record's p-values (s,), nan where it has none; returns gains (s, 4) by `GROUP`.

        `at_s` is unix seconds, nan where unknown. A bet staked w in [0, 1] pays pay**w, and begins w new sums: what is
        not staked does not count as a record seen; or it begins `began` new sums, where that is given.
        `open_` (s, 4) says in which groups a score may bet.
        """
        absent = np.isnan(p)
        cell = np.minimum((np.where(absent, 0.5, p) * _CELLS).astype(np.intp), _CELLS - 1)
        stake = np.where(absent, 0.0, 1.0 if stakes is None else stakes)
        staked = stake[:, None] * self._playing
        if open_ is not None:
            staked *= open_.astype(np.float64).take(GROUP, axis=1)
        logs = _LOG_PAYS.take(cell, axis=0)
        logs *= staked
        fresh = (self.c <= 0) & (staked > 0)
        np.copyto(self.since, row, where=fresh)
        np.copyto(self.since_s, at_s, where=fresh)
        np.copyto(self.c, 0.0, where=fresh)
        self.c += logs
        if began is None:
            self.m += staked
        else:
            self.m += began * (staked > 0)
        self.m *= np.exp(logs, out=logs)
        gains: NDArray[np.float64] = stake[:, None] * _LOG_TYPICAL.take(cell, axis=0)
        return gains if open_ is None else np.where(open_, gains, 0.0)

    @property
    def total(self) -> float:
        """The average over all scores and bets, by their shares: the detector's statistic."""
        return float(self.m.ravel() @ self._weights)

    @property
    def by_score(self) -> NDArray[np.float64]:
        """The average over the bets of each score (s,)."""
        return np.asarray((self.m * self._playing).sum(axis=1) / self._counts)

    def onset(self) -> tuple[int, float]:
        """Row and time (unix seconds) where the strongest bets began to win: the median of the leading ones."""
        m, since = (self.m * (self.shares / self._counts)[:, None]).ravel(), self.since.ravel()
        leading = np.argsort(m)[::-1][:_LEADING]
        leading = leading[m[leading] >= m[leading[0]] / _NEAR]
        middle = leading[np.argsort(since[leading], kind="stable")[len(leading) // 2]]
        return int(since[middle]), float(self.since_s.ravel()[middle])
