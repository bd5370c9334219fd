"""About forty-five numbers for one record: surface, novelty and relation, prompt and answer apart.

Lives here: `Scorer`, fixed once it is built. Comes in: a record. Goes out: one number per name in `NAMES`.
Must never know: whether a record is reference or live. A scorer is built from records that are never ranked, and
treats every ranked record alike: on that symmetry the detector's whole promise rests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from agent.drift.ngrams import Table
from agent.drift.texts import SURFACE, Text, take_apart

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.drift.ngrams import Hashes
    from agent.drift.records import Record

_UNITS = ("words", "pairs", "triples")
_SIDES = ("prompt", "answer")
_NOVELTY = tuple(f"{what}_{unit}" for unit in _UNITS for what in ("unseen", "surprise"))
_RELATION = ("shared_words", "shared_characters", "length_ratio")
NAMES: tuple[str, ...] = (
    *(f"{side}.{name}" for side in _SIDES for name in (*SURFACE, *_NOVELTY)),
    *(f"relation.{name}" for name in _RELATION),
)
"""Names of the scores, `side.what`, in the order of `Scorer.score`."""

_BINS = np.uint32(16_384)


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """N-gram tables by `side.unit`, and in how many texts each word stood (`spread`, of `texts` texts)."""

    tables: Mapping[str, Table]
    spread: Table
    texts: int

    @classmethod
    def build(cls, records: Sequence[Record]) -> Self:
        """Count the n-grams of some records. None of these records may ever be ranked against others."""
        return cls.build_from([pair_of(record) for record in records])

    @classmethod
    def build_from(cls, pairs: Sequence[tuple[Text, Text]]) -> Self:
        """The same from texts already taken apart, (prompt, answer) each."""
        tables = {
            f"{side}.{unit}": Table.build([getattr(pair[i], unit) for pair in pairs])
            for i, side in enumerate(_SIDES)
            for unit in _UNITS
        }
        spread = Table.build([np.unique(text.words) for pair in pairs for text in pair])
        return cls(tables, spread, 2 * len(pairs))

    def score(self, record: Record) -> NDArray[np.float64]:
        """All scores of one record, shape (len(NAMES),), finite."""
        return self.score_pair(*pair_of(record))

    def score_pair(self, prompt: Text, answer: Text) -> NDArray[np.float64]:
        """The same of texts already taken apart."""
        out: list[float] = []
        for side, text in zip(_SIDES, (prompt, answer), strict=True):
            out.extend(text.surface)
            for unit in _UNITS:
                out.extend(self.tables[f"{side}.{unit}"].novelty(getattr(text, unit)))
        out += [
            self._shared_words(prompt.words, answer.words),
            _shared_characters(prompt.triples, answer.triples),
            answer.surface[0] - prompt.surface[0],
        ]
        return np.array(out)

    def _shared_words(self, prompt: Hashes, answer: Hashes) -> float:
        """Share of the answer's words, weighted by how rare they are, that stand in the prompt too."""
        if not answer.size:
            return 0.0
        weight = math.log(self.texts + 1.0) - self.spread.log_counts(answer)
        return float(weight @ _standing_in(answer, prompt)) / float(np.add.reduce(weight))


def pair_of(record: Record) -> tuple[Text, Text]:
    """Prompt and answer of a record, taken apart."""
    return take_apart(record.prompt), take_apart(record.answer)


def _shared_characters(prompt: Hashes, answer: Hashes) -> float:
    """Share of the answer's character triples that stand in the prompt too."""
    return np.count_nonzero(_standing_in(answer, prompt)) / answer.size if answer.size else 0.0


def _standing_in(units: Hashes, other: Hashes) -> NDArray[np.bool_]:
    """Which units are among the other ones, up to a collision in 16,384 bins."""
    there = np.zeros(_BINS, np.bool_)
    there[other % _BINS] = True
    both: NDArray[np.bool_] = there[units % _BINS]
    return both
