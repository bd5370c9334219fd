"""Are records that follow each other more alike in their words than in any other order?

Lives here: `alike`, the test, and `Course`, the words of what came, for a test when an alarm is near.
Comes in: places of words, record by record. Goes out: yes or no. Must never know: users, scores, bets.

People who use a service side by side, each for a while, leave a thread of words through hundreds of records: too thin
for sums over blocks of one score, and still what one half of them teaches would be tested on the other. So the texts
are compared themselves: each record is a vector of its rarer words, weighted by their rarity (tf-idf), and the products
of all pairs that are at most some 25 to 200 records apart are added up, by blocks. The same sums over shuffled records
say what chance gives; shuffled within parts (hours of the day, what came before and after a change), so that these
explain what they can.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from agent.drift.state import joined, parted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Words = NDArray[np.uint16]

SPANS = (25, 50, 100, 200)
"""How far apart two records may be, in records; a span is tried where three of it fit."""
SURELY, LEAST, LESS = 3.0, 2.25, 0.5
"""Standard deviations from chance that are asked of enough rows and of few, and how much less before an alarm."""
FEW_ROWS, ENOUGH_ROWS = 300, 1_000
"""So few rows show a thread barely, so many surely: what is asked of them grows between (README says at what price)."""
MOST_ROWS = 1_500
"""The first so many are looked at: enough for any thread that matters, and time stays bounded."""
_PLACES, _BLOCK, _SHUFFLES, _COMMON = 2_048, 12, 40, 0.2
_ABOUT = 20
"""How far from its estimate a change may lie, in records: those between are a part of their own."""
_LIVE_ROWS, _REFERENCE_ROWS, _WORDS, _CHANGES = 1_000, 400, 48, 16


def alike(words: Sequence[Words], part: NDArray[np.intp], random: np.random.Generator, less: float = 0.0) -> bool:
    """Whether neighbours are alike beyond what their `part` (n,) explains and beyond chance.

    `less` standard deviations are asked than of a reference, though never less than of a short one.
    """
    words, part = words[:MOST_ROWS], part[:MOST_ROWS]
    surely = max(np.interp(len(words), (FEW_ROWS, ENOUGH_ROWS), (LEAST, SURELY)) - less, LEAST)
    spans = [span for span in SPANS if 3 * span <= len(words)]
    if not spans:
        return False
    record, place, value = _vectors(words)
    blocks = np.arange(len(words) // _BLOCK + 1)
    apart = np.abs(np.subtract.outer(blocks, blocks)) * _BLOCK
    alone = [np.flatnonzero(part == one) for one in np.unique(part)]

    def near(position: NDArray[np.intp]) -> NDArray[np.float64]:
        """The sum of products of all pairs in blocks at most so far apart, for each span."""
        row = position[record] // _BLOCK
        x = np.bincount(row * _PLACES + place, value, blocks.size * _PLACES).reshape(-1, _PLACES)
        products = x @ x.T
        return np.array([products[apart <= span].sum() for span in spans])

    chance = []
    for _ in range(_SHUFFLES):
        position = np.arange(len(words))
        for mine in alone:
            position[mine] = random.permutation(mine)
        chance.append(near(position))
    spread = np.maximum(np.std(chance, axis=0), 1e-9)
    return bool(((near(np.arange(len(words))) - np.mean(chance, axis=0)) / spread).max() > surely)


def _vectors(words: Sequence[Words]) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Record, place and value of all that is not 0 in the records' vectors (n, 2048), each of length 1.

    Words share a place by chance, as hashes do.
    """
    word, record = np.concatenate(words).astype(np.intp), np.repeat(np.arange(len(words)), [w.size for w in words])
    found = np.bincount(word, minlength=1)
    weight = np.where((found > 1) & (found <= _COMMON * len(words)), np.log(len(words) / np.maximum(found, 1)), 0.0)
    value = weight[word]
    length = np.sqrt(np.bincount(record, np.square(value), len(words)))
    return record, word % _PLACES, value / np.where(length > 0, length, 1.0)[record]


class Course:
    """The words of the reference's last records and of the live ones since, in their order, and where changes were."""

    def __init__(self, reference: Sequence[Words]) -> None:
        self.reference = [words[:_WORDS] for words in reference[-_REFERENCE_ROWS:]]
        self.live: deque[Words] = deque(maxlen=_LIVE_ROWS)
        self.changes: deque[int] = deque(maxlen=_CHANGES)

    def add(self, words: Words) -> None:
        """One live record."""
        self.live.append(words[:_WORDS])

    def alike(self, rows: int, onset_row: int, random: np.random.Generator) -> bool:
        """Whether neighbours were alike, apart from a change at `onset_row` and earlier ones; `rows` have come."""
        row = np.append(np.full(len(self.reference), -1), np.arange(rows - len(self.live), rows))
        about = [at + near for at in (*self.changes, onset_row) for near in (-_ABOUT, _ABOUT)]
        part = np.searchsorted(np.array([0, *sorted(max(at, 0) for at in about)]), row, side="right")
        return alike([*self.reference, *self.live], part, random, LESS)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything, as plain arrays."""
        out: dict[str, NDArray[Any]] = {"changes": np.array(self.changes, np.int64)}
        for name, some in (("reference", self.reference), ("live", list(self.live))):
            out[f"{name}_words"], out[f"{name}_sizes"] = joined(some)
        return out

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The one whose `arrays` these are."""
        course = cls(parted(arrays["reference_words"], arrays["reference_sizes"]))
        course.live.extend(parted(arrays["live_words"], arrays["live_sizes"]))
        course.changes.extend(arrays["changes"].tolist())
        return course
