"""Exact and near duplicates, within a set and across the split.

In: rows. Out: the rows that stay and pairs (dropped, the one it repeats).
Must never know: where rows come from or how they were split.

Two rows are near duplicates when they have the same system message and the *same answer*, and their character
3-grams a Jaccard similarity of at least 0.8: "turn on the kitchen light" and "turn on the kitchen lights". The
same shape of text with another answer ("timer for 5 minutes", "timer for 10 minutes") is a contrast that teaches,
and stays. Candidates come from MinHash LSH (Broder 1997; `datasketch`), and every candidate is checked by the
exact similarity, so nothing is dropped by a hash's accident; a pair just above the threshold may be missed.
Texts shorter than 12 characters have too few shingles to be near anything: they are compared exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

from retrain.curate.rows import Row

THRESHOLD = 0.8
SHINGLE = 3
SHORT = 12
PERMUTATIONS = 128
CANDIDATE_THRESHOLD = 0.7
"""LSH is asked a little below the threshold, so that fewer true pairs slip through its bands."""


def shingles(text: str) -> frozenset[str]:
    """The character 3-grams of a text, its ends marked; the text itself when it is short."""
    if len(text) < SHORT:
        return frozenset({text})
    padded = f" {text} "
    return frozenset(padded[i : i + SHINGLE] for i in range(len(padded) - SHINGLE + 1))


def similarity(one: frozenset[str], other: frozenset[str]) -> float:
    """Jaccard similarity in [0, 1]."""
    return len(one & other) / len(one | other)


class Index:
    """Rows that stand; asks whether another row repeats one of them. One LSH for each system message and answer."""

    def __init__(self) -> None:
        self._near: dict[tuple[str, str], tuple[Any, list[tuple[Row, frozenset[str]]]]] = {}
        self._exact: dict[tuple[str, str, str], Row] = {}

    def twin(self, row: Row) -> Row | None:
        """A row that stands and that this one repeats, or None. Rows without an answer are compared exactly."""
        exact = self._exact.get((*row.key, row.answer))
        if exact is not None or not row.answer or len(row.text) < SHORT:
            return exact
        found = self._near.get((row.frame, row.answer))
        if found is None:
            return None
        lsh, rows = found
        mine = shingles(row.text)
        for number in sorted(lsh.query(_minhash(row.text))):
            other, theirs = rows[int(number)]
            if similarity(mine, theirs) >= THRESHOLD:
                return other
        return None

    def add(self, row: Row) -> None:
        """Let a row stand."""
        self._exact.setdefault((*row.key, row.answer), row)
        if not row.answer or len(row.text) < SHORT:
            return
        key = row.frame, row.answer
        if key not in self._near:
            self._near[key] = _lsh(), []
        lsh, rows = self._near[key]
        lsh.insert(len(rows), _minhash(row.text))
        rows.append((row, shingles(row.text)))


def index(rows: Sequence[Row]) -> Index:
    """An index in which these rows stand."""
    made = Index()
    for row in rows:
        made.add(row)
    return made


def within(rows: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, Row]]]:
    """(kept, [(dropped, its twin)]) of one set; the first of a kind stays, so put the most trusted first."""
    stand = Index()
    kept: list[Row] = []
    dropped: list[tuple[Row, Row]] = []
    for row in rows:
        twin = stand.twin(row)
        if twin is None:
            stand.add(row)
            kept.append(row)
        else:
            dropped.append((row, twin))
    return kept, dropped


def across(rows: Sequence[Row], holdout: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, Row]]]:
    """(kept, [(dropped, its twin)]): training rows that repeat no examined one.

    The examination keeps its rows, so that it stays what traffic is; training gives way.
    """
    stand = index(holdout)
    kept: list[Row] = []
    dropped: list[tuple[Row, Row]] = []
    for row in rows:
        twin = stand.twin(row)
        if twin is None:
            kept.append(row)
        else:
            dropped.append((row, twin))
    return kept, dropped


@lru_cache(20_000)
def _minhash(text: str) -> Any:
    from datasketch import LeanMinHash, MinHash

    sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update_batch([gram.encode() for gram in sorted(shingles(text))])
    return LeanMinHash(sketch)


def _lsh() -> Any:
    from datasketch import MinHashLSH

    return MinHashLSH(num_perm=PERMUTATIONS, params=_bands())


@cache
def _bands() -> tuple[int, int]:
    """(bands, rows a band) that datasketch finds best for the candidates' threshold; finding them takes a while."""
    from datasketch import MinHashLSH

    found = MinHashLSH(threshold=CANDIDATE_THRESHOLD, num_perm=PERMUTATIONS)
    return found.b, found.r
