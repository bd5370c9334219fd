"""A score that is learned while one watches: words that live traffic uses more, or less, than the reference did.

Lives here: `Learner`, two folds that never test what they have learned from. Comes in: the words of a record.
Goes out: a p-value (small: the record looks like what is new), and how typical each is of what came or went.
Must never know: the other scores.

A change of topic that moves no single number moves many words a little. Each live record belongs to one of two folds,
by user or conversation where these are known, else by runs of neighbours. Fold A scores its records by words learned
from the counted half of the reference against the records of fold B, and ranks them among its own calibration records
and its own earlier live records, which taught it nothing. Given all that fold B ever sees, the records of fold A are
ranked by functions fixed before they came, so their p-values are uniform and independent if nothing changed, whatever
was learned (the argument for one fixed score goes through when the score depends on the step: Vovk, Gammerman and
Shafer 2005, ch. 8; learning the next bet from the past is Podkopaev and Ramdas, arXiv 2305.00143). A burst of one user
teaches only the fold that user is not judged by.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from agent.drift.state import joined, parted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from agent.drift.texts import Text

    Words = NDArray[np.uint16]

_PRIME = np.uint32(8_191)
SIZE = 2 * 8_192
"""Hashed words: even places for prompts, odd ones for answers."""
MOST_WORDS = 96
POOL_ROWS = 500
MEMORY_ROWS = 150.0
"""Records after which a word's count in the live window has faded to 1/e; a fold learns from every other record."""
REFRESH_ROWS = 10
_SURE = 1.5
"""Standard errors that a word's share must have moved before it says anything."""
_LEAST_LIVE, _LEAST_POOL = 15.0, 20


def words_of(prompt: Text, answer: Text) -> Words:
    """Places of the distinct words of a record, at most `MOST_WORDS`, the same ones for the same text."""
    return words_of_many([(prompt, answer)])[0]


def words_of_many(pairs: Sequence[tuple[Text, Text]]) -> list[Words]:
    """`words_of` each record."""
    both = [text.words for pair in pairs for text in pair]
    sizes = np.array([words.size for words in both])
    side = np.repeat(np.arange(sizes.size), sizes)
    places = np.concatenate(both) % _PRIME * 2 + (side & 1)
    whole = np.sort((side >> 1) * SIZE + places)
    whole = whole[np.diff(whole, prepend=-1) > 0]
    ends = np.searchsorted(whole, np.arange(1, len(pairs) + 1) * SIZE).tolist()
    short = (whole % SIZE).astype(np.uint16)
    return [_few(short[begin:end]) for begin, end in zip([0, *ends], ends, strict=False)]


def _few(places: Words) -> Words:
    if places.size <= MOST_WORDS:
        return places
    mixed = (places.astype(np.uint32) * np.uint32(40_503)) & np.uint32(0xFFFF)
    return np.sort(places[np.argsort(mixed, kind="stable")[:MOST_WORDS]])


@dataclass(slots=True, eq=False)
class _Fold:
    """`live` (SIZE,) fading counts of the other fold's records; the pool: words, seasons and reference ids."""

    pool: list[Words]
    season: list[int]
    ids: list[str]
    live: NDArray[np.float32] = field(default_factory=lambda: np.zeros(SIZE, np.float32))
    rows: float = 0.0
    joined: int = 0
    learned: int = 0
    weights: NDArray[np.float32] | None = None
    scores: NDArray[np.float32] | None = None
    usual: float = 0.0
    spread: float = 1.0

    def teach(self, words: Words) -> None:
        self.live *= np.float32(1 - 1 / MEMORY_ROWS)
        self.live[words] += 1
        self.rows = self.rows * (1 - 1 / MEMORY_ROWS) + 1
        self.learned += 1
        if self.learned % REFRESH_ROWS == 0:
            self.weights = None


class Learner:
    """Feed with `p_value`, then `learn`, for each live record in turn."""

    def __init__(self, counted: NDArray[np.uint16], texts: int, folds: Sequence[_Fold]) -> None:
        """`counted` (SIZE,): in how many of `texts` counted records each word stood."""
        self.counted, self.texts, self.folds = counted, texts, list(folds)

    @classmethod
    def build(cls, counted: Sequence[Words], pool: Sequence[tuple[Words, int, str, int]]) -> Self:
        """From the counted records' words, and words, season, id and fold (0 or 1) of each calibration record."""
        counts = np.bincount(np.concatenate(counted), minlength=SIZE).astype(np.uint16)
        folds = []
        for i in (0, 1):
            mine = [row for row in pool if row[3] == i]
            step = max(1.0, len(mine) / POOL_ROWS)
            mine = [mine[int(k * step)] for k in range(int(len(mine) / step))]
            folds.append(_Fold([row[0] for row in mine], [row[1] for row in mine], [row[2] for row in mine]))
            folds[-1].joined = len(mine)
        return cls(counts, len(counted), folds)

    def p_value(self, words: Words, season: int, fold: int, tie: float) -> tuple[float, float]:
        """P-value (nan: nothing learned yet) and score in standard deviations of the pool."""
        mine = self.folds[fold]
        if mine.rows < _LEAST_LIVE or len(mine.pool) < _LEAST_POOL:
            return float("nan"), 0.0
        weights, scores = self._current(mine)
        peers = scores[np.array(mine.season) == season] if season >= 0 else scores
        if peers.size < _LEAST_POOL:
            return float("nan"), 0.0
        score = _score(weights, words)
        greater, equal = np.count_nonzero(peers > score), np.count_nonzero(peers == score)
        p = (greater + tie * (equal + 1)) / (peers.size + 1)
        return min(max(float(p), 1e-12), 1 - 1e-12), (score - mine.usual) / mine.spread

    def learn(self, words: Words, season: int, fold: int, dice: float) -> None:
        """The record joins its own fold's pool (a random sample once that is full) and teaches the other fold."""
        mine = self.folds[fold]
        mine.joined += 1
        place = len(mine.pool)
        if place >= POOL_ROWS:
            place = int(dice * mine.joined)
        if place < POOL_ROWS:
            row, score = (words, season, ""), None
            if mine.scores is not None and mine.weights is not None:
                score = np.float32(_score(mine.weights, words))
            if place == len(mine.pool):
                mine.pool.append(row[0])
                mine.season.append(row[1])
                mine.ids.append(row[2])
                if score is not None and mine.scores is not None:
                    mine.scores = np.append(mine.scores, score)
            else:
                mine.pool[place], mine.season[place], mine.ids[place] = row
                if score is not None and mine.scores is not None:
                    mine.scores[place] = score
        self.folds[1 - fold].teach(words)

    def _current(self, fold: _Fold) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weights of words (SIZE,) and scores of the pool (n,); learned anew when they are out of date."""
        if fold.weights is None or fold.scores is None:
            fold.weights, fold.scores = self._learned(fold)
            fold.usual, fold.spread = float(fold.scores.mean()), max(float(fold.scores.std()), 1e-3)
        return fold.weights, fold.scores

    def _learned(self, fold: _Fold) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        here, there = np.float32(fold.rows), np.float32(self.texts)
        both = (self.counted + fold.live + 1) / (there + here + 2)
        z = (fold.live / here - self.counted / there) / np.sqrt(both * (1 / here + 1 / there))
        weights: NDArray[np.float32] = (np.sign(z) * np.maximum(np.abs(z) - _SURE, 0)).astype(np.float32)
        sizes = np.array([words.size for words in fold.pool])
        ends = np.cumsum(sizes)
        sums = np.concatenate([[0.0], np.cumsum(weights[np.concatenate(fold.pool)], dtype=np.float64)])
        total = sums[ends] - sums[ends - sizes]
        return weights, np.round(total / np.sqrt(np.maximum(sizes, 1)), 4).astype(np.float32)

    def vanished(self, n: int) -> tuple[str, ...]:
        """Ids of the reference records that look least like what comes now."""
        found: list[tuple[float, str]] = []
        for fold in self.folds:
            if fold.rows >= _LEAST_LIVE and fold.pool:
                _, scores = self._learned(fold)
                found += [(float(s), name) for s, name in zip(scores, fold.ids, strict=True) if name]
        return tuple(name for score, name in sorted(found)[:n] if score < 0)

    def prompt_share(self) -> float:
        """How much of what was learned lies in prompts, in [0, 1]."""
        prompt = answer = 1e-9
        for fold in self.folds:
            if fold.rows >= _LEAST_LIVE and fold.pool:
                weights, _ = self._learned(fold)
                prompt += float(np.square(weights[0::2]).sum())
                answer += float(np.square(weights[1::2]).sum())
        return prompt / (prompt + answer)

    def arrays(self) -> dict[str, Any]:
        """Everything as plain arrays; ids are told apart by line ends."""
        out: dict[str, Any] = {"counted": self.counted, "texts": np.array(self.texts)}
        for i, fold in enumerate(self.folds):
            fresh = fold.weights is not None and fold.scores is not None
            words, sizes = joined(fold.pool)
            out |= {
                f"{i}.words": words,
                f"{i}.sizes": sizes,
                f"{i}.season": np.array(fold.season, np.int8),
                f"{i}.live": fold.live,
                f"{i}.weights": fold.weights if fresh else np.zeros(0, np.float32),
                f"{i}.scores": fold.scores if fresh else np.zeros(0, np.float32),
                f"{i}.counts": np.array([fold.rows, fold.joined, fold.learned, fold.usual, fold.spread]),
            }
        return out

    @property
    def ids(self) -> list[list[str]]:
        """Reference ids by fold; empty for live records."""
        return [fold.ids for fold in self.folds]

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any], ids: Sequence[Sequence[str]]) -> Self:
        """The learner whose `arrays` and `ids` these are."""
        folds = []
        for i in (0, 1):
            pool = parted(arrays[f"{i}.words"], arrays[f"{i}.sizes"])
            fold = _Fold(pool, arrays[f"{i}.season"].tolist(), list(ids[i]), arrays[f"{i}.live"])
            fold.rows, joined, learned, fold.usual, fold.spread = arrays[f"{i}.counts"].tolist()
            fold.joined, fold.learned = int(joined), int(learned)
            if arrays[f"{i}.weights"].size:
                fold.weights, fold.scores = arrays[f"{i}.weights"], arrays[f"{i}.scores"]
            folds.append(fold)
        return cls(arrays["counted"], int(arrays["texts"]), folds)


def fold_of(key: str | int, seed: int) -> int:
    """Which fold a user, a conversation or a run of neighbours belongs to: for ever the same."""
    return zlib.crc32(f"{seed}/{key}".encode("utf-8", "surrogatepass")) >> 7 & 1


def _score(weights: NDArray[np.float32], words: Words) -> float:
    if not words.size:
        return 0.0
    total: float = float(weights[words].sum(dtype=np.float64))
    return float(np.float32(round(total / float(words.size) ** 0.5, 4)))
