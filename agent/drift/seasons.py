"""Hours of the day that are ranked apart.

Lives here: `Seasons`. Comes in: when reference records were, and their normal scores. Goes out: a season per record.
Must never know: what the scores mean.

Night traffic ranked among all traffic alarms every night. Where the reference spans at least two days and its scores
depend on the hour, a record is ranked only among records of the same part of the day. Within a season nothing changes:
ranks of exchangeable records are uniform and independent, season by season (Mondrian conformal prediction, Vovk et al.
2005, ch. 4). Hours are UTC; a season holds about as much of the reference as any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from agent.drift.records import UNKNOWN_TIME

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

_MOST = 6
_ROWS_EACH = 60
"""Calibration records that a season needs at least."""
_DAYS = 2
_SHUFFLES = 40


@dataclass(frozen=True, slots=True)
class Seasons:
    """`ends`: hours of the day at which seasons but the last end, ascending; none: there is one season."""

    ends: tuple[float, ...] = ()

    def __len__(self) -> int:
        """How many there are."""
        return len(self.ends) + 1

    def of(self, at: datetime) -> int:
        """The season of a time."""
        return sum(_hour(at) >= end for end in self.ends)

    @classmethod
    def found(cls, at: Sequence[datetime], z: NDArray[np.float64], ranked: int, random: np.random.Generator) -> Self:
        """Seasons of a reference with `ranked` calibration records, or one if the hour tells nothing."""
        n = min(_MOST, ranked // _ROWS_EACH)
        if n < 2 or UNKNOWN_TIME in at or (max(at) - min(at)).total_seconds() < _DAYS * 86_400:
            return cls()
        hours = np.array([_hour(t) for t in at])
        ends = np.unique(np.quantile(hours, np.arange(1, n) / n))
        self = cls(tuple(ends.tolist()))
        season = np.searchsorted(ends, hours, side="right")
        days = np.array([t.toordinal() for t in at])
        x = np.where(np.isnan(z), 0.0, z)
        x = x - x.mean(axis=0)

        def same(season: NDArray[np.intp]) -> float:
            """Do the seasons of even days look like those of odd days? Summed products of their means."""
            total = 0.0
            for s in range(len(self)):
                even, odd = (season == s) & (days % 2 == 0), (season == s) & (days % 2 == 1)
                if even.any() and odd.any():
                    total += float(x[even].mean(axis=0) @ x[odd].mean(axis=0))
            return total

        chance = []
        for _ in range(_SHUFFLES):  # each day's clock is turned by another amount: dependence within days stays
            turn = random.integers(0, len(self), size=int(days.max() - days.min()) + 1)[days - days.min()]
            chance.append(same((season + turn) % len(self)))
        rare = 0.05 if days.max() - days.min() > _DAYS else 1.2 / len(self)  # of two days only turns can be told apart
        return self if np.mean(np.array(chance) >= same(season)) < rare else cls()


def _hour(at: datetime) -> float:
    return at.hour + at.minute / 60 + at.second / 3600
