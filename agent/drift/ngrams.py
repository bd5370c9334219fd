"""Counts of words, word pairs and character triples, and how new a text is against them.

Lives here: `Table`, counts of 32-bit hashes. Comes in: arrays of hashes of texts.
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


_MOST_SLOTS_LOG2, _LEAST_SLOTS_LOG2 = 18, 10
_MOST_COUNT = 65_535
_LOGS = np.log(np.arange(_MOST_COUNT + 1) + ADDED)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """`keys` (n,) sorted distinct hashes; `counts` (n,) how often each was seen.

    A look-up reads one of at least 8 n slots (at most 2**18) by the hash's upper bits: no search. Two hashes that share
    a slot share their counts; that is one more fixed rule, the same for all that is ever ranked.
    """

    keys: Hashes
    counts: NDArray[np.uint32]
    slots: NDArray[np.uint16] = field(init=False, repr=False)
    shift: np.uint32 = field(init=False, repr=False)
    log_total: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Fill the slots once."""
        wanted = max(8 * self.keys.size, 1).bit_length()
        log2 = min(max(wanted, _LEAST_SLOTS_LOG2), _MOST_SLOTS_LOG2)
        object.__setattr__(self, "shift", np.uint32(32 - log2))
        slots = np.bincount(self._slot(self.keys), weights=self.counts, minlength=1 << log2)
        object.__setattr__(self, "slots", np.minimum(slots, _MOST_COUNT).astype(np.uint16))
        total = float(self.counts.sum()) + ADDED * (self.keys.size + 1)
        object.__setattr__(self, "log_total", math.log(total))

    @classmethod
    def build(cls, texts: Sequence[Hashes]) -> Self:
        """Count the units of all texts."""
        units = np.concatenate(texts) if texts else np.zeros(0, np.uint32)
        keys, counts = np.unique(units, return_counts=True)
        return cls(keys, counts.astype(np.uint32))

    def _slot(self, units: Hashes) -> NDArray[np.intp]:
        return (units * _MIX >> self.shift).astype(np.intp)

    def log_counts(self, units: Hashes) -> NDArray[np.float64]:
        """log(count + `ADDED`) of each unit; shape of `units`."""
        logs: NDArray[np.float64] = _LOGS[self.slots[self._slot(units)]]
        return logs

    def novelty(self, units: Hashes, text: NDArray[np.intp], sizes: NDArray[np.intp]) -> NDArray[np.float64]:
        """Share of unseen units in [0, 1] and mean surprise in nats (n, 2) of n texts; 0 for one without units.

        `units` of all texts, `text` which of them each belongs to, `sizes` (n,) how many each has.
        """
        counts, n = self.slots[self._slot(units)], sizes.size
        some = np.maximum(sizes, 1)
        out = np.empty((n, 2))
        out[:, 0] = np.bincount(text, weights=counts == 0, minlength=n) / some
        out[:, 1] = self.log_total - np.bincount(text, weights=_LOGS[counts], minlength=n) / some
        out[sizes == 0] = 0.0
        return out


_MIX = np.uint32(0x9E3779B1)
