"""Forty-eight numbers for one record: surface, novelty, relation, latency, template; prompt and answer apart.

Lives here: `Scorer`, fixed once it is built. Comes in: a record. Goes out: one number per name in `NAMES`.
Must never know: whether a record is reference or live. A scorer is built from records that are never ranked, and
treats every ranked record alike: on that symmetry the detector's whole promise rests.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from agent.drift.ngrams import ADDED, Table
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
    "latency.total",
    "latency.first_token",
    "template.rarity",
)
"""Names of the scores, `side.what`, in the order of `Scorer.score`. The last three are nan where nobody knows them."""

_BINS = np.uint32(16_384)


@dataclass(frozen=True, slots=True, eq=False)
class Scorer:
    """N-gram tables by `side.unit`, in how many of `texts` texts each word stood (`spread`), counts of templates."""

    tables: Mapping[str, Table]
    spread: Table
    texts: int
    templates: Mapping[str, int]

    @classmethod
    def build(cls, records: Sequence[Record], pairs: Sequence[tuple[Text, Text]]) -> Self:
        """Count the n-grams of some records and their `pairs`. None of them may ever be ranked against others."""
        tables = {
            f"{side}.{unit}": Table.build([getattr(pair[i], unit) for pair in pairs])
            for i, side in enumerate(_SIDES)
            for unit in _UNITS
        }
        spread = Table.build([np.unique(text.words) for pair in pairs for text in pair])
        templates = Counter(record.template for record in records if record.template is not None)
        return cls(tables, spread, 2 * len(pairs), templates)

    def score(self, record: Record, prompt: Text, answer: Text) -> NDArray[np.float64]:
        """All scores of one record and its texts, shape (len(NAMES),), never infinite."""
        out: list[float] = []
        for side, text in zip(_SIDES, (prompt, answer), strict=True):
            out.extend(text.surface)
            for unit in _UNITS:
                out.extend(self.tables[f"{side}.{unit}"].novelty(getattr(text, unit)))
        out += [
            self._shared_words(prompt.words, answer.words),
            _shared_characters(prompt.triples, answer.triples),
            answer.surface[0] - prompt.surface[0],
            _log_seconds(record.latency_s),
            _log_seconds(record.ttft_s),
            self._rarity(record.template),
        ]
        return np.array(out)

    def _rarity(self, template: str | None) -> float:
        """Surprise at this template, in nats."""
        if template is None:
            return math.nan
        total = sum(self.templates.values()) + ADDED * (len(self.templates) + 1)
        return math.log(total / (self.templates.get(template, 0) + ADDED))

    def _shared_words(self, prompt: Hashes, answer: Hashes) -> float:
        """Share of the answer's words, weighted by how rare they are, that stand in the prompt too."""
        if not answer.size:
            return 0.0
        weight = math.log(self.texts + 1.0) - self.spread.log_counts(answer)
        return float(weight @ _standing_in(answer, prompt)) / float(np.add.reduce(weight))


def pair_of(record: Record) -> tuple[Text, Text]:
    """Prompt and answer of a record, taken apart."""
    return take_apart(record.prompt), take_apart(record.answer)


def _log_seconds(seconds: float | None) -> float:
    """Logarithm of a duration; nan for none, and for what is no duration."""
    if seconds is None or not 0 <= seconds < math.inf:
        return math.nan
    return math.log(seconds + 1e-3)


def _shared_characters(prompt: Hashes, answer: Hashes) -> float:
    """Share of the answer's character triples that stand in the prompt too."""
    return np.count_nonzero(_standing_in(answer, prompt)) / answer.size if answer.size else 0.0


def _standing_in(units: Hashes, other: Hashes) -> NDArray[np.bool_]:
    """Which units are among the other ones, up to a collision in 16,384 bins."""
    there = np.zeros(_BINS, np.bool_)
    there[other % _BINS] = True
    both: NDArray[np.bool_] = there[units % _BINS]
    return both
