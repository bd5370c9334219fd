"""Counts of words, word pairs and character triples, and how new a text is against them.

Lives here: `Table`, a sorted array of 32-bit hashes with counts. Comes in: arrays of hashes of one text.
Goes out: the share of units that the table has never seen, and their mean surprise.
Must never know: which texts the hashes came from; a table keeps no text, so it can be saved anywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Hashes = NDArray[np.uint32]

ADDED = 0.5
"""Count that every unit has for free, seen or not, so that a new unit is surprising but not infinitely so."""
LOG_UNSEEN = math.log(ADDED)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`keys` (n,) sorted distinct hashes; `counts` (n,) how often each was seen."""

    keys: Hashes
    counts: NDArray[np.uint32]
    logs: NDArray[np.float64] = field(init=False, repr=False)
    log_total: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Take the logarithms once."""
        object.__setattr__(self, "logs", np.log(self.counts + ADDED))
        total = float(self.counts.sum()) + ADDED * (self.keys.size + 1)
        object.__setattr__(self, "log_total", math.log(total))

    @classmethod
    def build(cls, texts: Sequence[Hashes]) -> Self:
        """Count the units of all texts."""
        units = np.concatenate(texts) if texts else np.zeros(0, np.uint32)
        keys, counts = np.unique(units, return_counts=True)
        return cls(keys, counts.astype(np.uint32))

    def log_counts(self, units: Hashes) -> NDArray[np.float64]:
        """log(count + `ADDED`) of each unit; shape of `units`."""
        if not self.keys.size:
            return np.full(units.shape, LOG_UNSEEN)
        place = self.keys.searchsorted(units)
        seen = self.keys.take(place, mode="clip") == units
        return np.where(seen, self.logs.take(place, mode="clip"), LOG_UNSEEN)

    def novelty(self, units: Hashes) -> tuple[float, float]:
        """Share of unseen units in [0, 1] and mean surprise in nats; (0, 0) for a text without units."""
        if not units.size:
            return 0.0, 0.0
        logs = self.log_counts(np.sort(units))  # sorted look-ups stay in the cache
        return np.count_nonzero(logs == LOG_UNSEEN) / units.size, self.log_total - float(
            np.add.reduce(logs)
        ) / units.size
