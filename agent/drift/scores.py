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
from agent.drift.texts import SURFACE, Text, take_apart_many

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.drift.conformal import Grid
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

COMPOSED = ("prompt.novelty", "answer.novelty", "words.novelty", "words.excess", "answer.cut")
RANKED: tuple[str, ...] = (*NAMES, *COMPOSED)
"""All that is ranked: `NAMES` and what is composed of them, to see what shows a little everywhere. Three means of
novelty; new words beyond the usual share, in a unit in which long and short texts spread alike; short and unclosed."""
_USUAL = dict(
    zip(
        SURFACE,
        ((5.0, 1.0), (3.0, 1.0), (5.0, 1.0), (0.05, 0.05), (0.03, 0.05), (0.01, 0.02), (0.05, 0.05), (0.5, 0.5),
         (0.9, 0.1), (0.7, 0.2), (0.05, 0.1), (0.4, 0.2), (0.5, 0.5), (0.5, 0.5), (0.5, 0.5)),
        strict=True,
    )
)  # fmt: skip
BY_ITSELF: dict[str, tuple[float, float]] = {
    **{f"{side}.{name}": about for side in _SIDES for name, about in _USUAL.items()},
    "relation.shared_characters": (0.3, 0.2),
    "relation.length_ratio": (0.0, 1.0),
    "answer.cut": (0.0, 1.0),
    "latency.total": (0.0, 1.0),
    "latency.first_token": (-1.5, 1.0),
}
"""Scores that need no table, hence no split: all of the reference may be ranked in them. About where they lie and how
far they spread in any traffic: constants, so that not even their levels know the reference."""
_OUT_OF = tuple(
    [i for i, name in enumerate(NAMES) if name.startswith(sides) and what in name]
    for sides, what in (("prompt.unseen", ""), ("answer.unseen", ""), (("prompt.", "answer."), "unseen"))
)
_UNSEEN = [NAMES.index(f"{side}.unseen_words") for side in _SIDES]
_WORDS = [NAMES.index(f"{side}.words") for side in _SIDES]
_CUT = [NAMES.index(name) for name in ("answer.length", "answer.closed", "relation.length_ratio")]
_CUT_MIDDLE, _CUT_SPREAD = np.array([BY_ITSELF[NAMES[i]] for i in _CUT]).T
_FAR = 5.0
_BINS = 16_384


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
        return np.asarray(self.score_many([record], [(prompt, answer)])[0])

    def score_many(self, records: Sequence[Record], pairs: Sequence[tuple[Text, Text]]) -> NDArray[np.float64]:
        """Scores (n, len(NAMES)) of some records and their texts: of each what `score` says, to the last digit."""
        out = np.empty((len(records), len(NAMES)))
        units = [{name: Units.of([getattr(pair[i], name) for pair in pairs]) for name in _UNITS} for i in (0, 1)]
        column = 0
        for i, side in enumerate(_SIDES):
            out[:, column : column + len(SURFACE)] = [pair[i].surface for pair in pairs]
            column += len(SURFACE)
            for name in _UNITS:
                its = units[i][name]
                out[:, column : column + 2] = self.tables[f"{side}.{name}"].novelty(its.values, its.text, its.sizes)
                column += 2
        prompt, answer = units
        out[:, column] = self._shared_words(prompt["words"], answer["words"])
        out[:, column + 1] = _shared(prompt["triples"], answer["triples"])
        out[:, column + 2] = out[:, NAMES.index("answer.length")] - out[:, 0]
        out[:, column + 3] = [_log_seconds(record.latency_s) for record in records]
        out[:, column + 4] = [_log_seconds(record.ttft_s) for record in records]
        out[:, column + 5] = [self._rarity(record.template) for record in records]
        return out

    def _rarity(self, template: str | None) -> float:
        """Surprise at this template, in nats."""
        if template is None:
            return math.nan
        total = sum(self.templates.values()) + ADDED * (len(self.templates) + 1)
        return math.log(total / (self.templates.get(template, 0) + ADDED))

    def _shared_words(self, prompt: Units, answer: Units) -> NDArray[np.float64]:
        """Share of each answer's words, weighted by how rare they are, that stand in its prompt too."""
        weight = np.maximum(math.log(self.texts + 1.0) - self.spread.log_counts(answer.values), 0.0)
        return _shared(prompt, answer, weight)


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Hashes of n texts behind each other: `values`, `text` which one each belongs to, `sizes` (n,)."""

    values: Hashes
    text: NDArray[np.intp]
    sizes: NDArray[np.intp]

    @classmethod
    def of(cls, texts: Sequence[Hashes]) -> Self:
        """These texts' hashes."""
        sizes = np.array([text.size for text in texts])
        return cls(np.concatenate(texts), np.repeat(np.arange(sizes.size), sizes), sizes)


def composed(scores: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Scores (n, len(NAMES)) and, behind them, the composed ones: (n, len(RANKED)). `grid` holds the usual spreads."""
    far = (scores - grid.middle[: len(NAMES)]) / grid.spread[: len(NAMES)]
    far = np.clip(far, -_FAR, _FAR)
    novelty = [far[:, columns].mean(axis=1) for columns in _OUT_OF]
    return np.column_stack([scores, *novelty, _excess(scores, grid), _cut(scores)])


def _excess(scores: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Unseen words (n,) beyond the usual share of each side, over the root of all words.

    A share spreads the more the shorter the text: the highest shares are those of short texts, whatever they are about.
    """
    words = np.expm1(scores[:, _WORDS])
    more = (words * (scores[:, _UNSEEN] - grid.middle[_UNSEEN])).sum(axis=1)
    return np.asarray(more / np.sqrt(words.sum(axis=1) + 1))


def _cut(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """How short (n,) answers are, by themselves and for their prompts, and how unclosed: by constants, as its parts."""
    far = (scores[:, _CUT] - _CUT_MIDDLE) / _CUT_SPREAD
    return np.asarray(-np.clip(far, -_FAR, _FAR).mean(axis=1))


def pair_of(record: Record) -> tuple[Text, Text]:
    """Prompt and answer of a record, taken apart."""
    return pairs_of([record])[0]


def pairs_of(records: Sequence[Record]) -> list[tuple[Text, Text]]:
    """Prompt and answer of each record, taken apart."""
    texts = take_apart_many([text for record in records for text in (record.prompt, record.answer)])
    return list(zip(texts[0::2], texts[1::2], strict=True))


def _log_seconds(seconds: float | None) -> float:
    """Logarithm of a duration; nan for none, and for what is no duration."""
    if seconds is None or not 0 <= seconds < math.inf:
        return math.nan
    return math.log(seconds + 1e-3)


def _shared(prompt: Units, answer: Units, weight: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """Share (n,) of each answer's units that stand in its prompt, up to a collision in 16,384 bins; 0 for no units."""
    n = answer.sizes.size
    there = np.zeros(n * _BINS, np.bool_)
    there[prompt.text * _BINS + prompt.values % _BINS] = True
    both = there[answer.text * _BINS + answer.values % _BINS]
    if weight is None:
        return np.asarray(np.bincount(answer.text, weights=both, minlength=n) / np.maximum(answer.sizes, 1))
    whole = np.bincount(answer.text, weights=weight, minlength=n)
    part = np.bincount(answer.text, weights=weight * both, minlength=n)
    return np.asarray(part / np.where(whole > 0, whole, 1.0))
