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
    """Rows that stand; asks whether another row repeats one of them."""

    def __init__(self) -> None:
        from datasketch import MinHashLSH

        self._lsh: Any = MinHashLSH(threshold=CANDIDATE_THRESHOLD, num_perm=PERMUTATIONS)
        self._rows: list[tuple[Row, frozenset[str]]] = []
        self._exact: dict[tuple[str, str, str], Row] = {}

    def twin(self, row: Row) -> Row | None:
        """A row that stands and that this one repeats, or None."""
        exact = self._exact.get((*row.key, row.answer))
        if exact is not None or len(row.text) < SHORT:
            return exact
        mine = shingles(row.text)
        for number in sorted(self._lsh.query(_minhash(mine))):
            other, theirs = self._rows[int(number)]
            same = other.answer == row.answer and other.frame == row.frame
            if same and similarity(mine, theirs) >= THRESHOLD:
                return other
        return None

    def add(self, row: Row) -> None:
        """Let a row stand."""
        self._exact.setdefault((*row.key, row.answer), row)
        if len(row.text) < SHORT:
            return
        mine = shingles(row.text)
        self._lsh.insert(len(self._rows), _minhash(mine))
        self._rows.append((row, mine))


def within(rows: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, Row]]]:
    """(kept, [(dropped, its twin)]) of one set; the first of a kind stays, so put the most trusted first."""
    index = Index()
    kept: list[Row] = []
    dropped: list[tuple[Row, Row]] = []
    for row in rows:
        twin = index.twin(row)
        if twin is None:
            index.add(row)
            kept.append(row)
        else:
            dropped.append((row, twin))
    return kept, dropped


def across(rows: Sequence[Row], holdout: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, Row]]]:
    """(kept, [(dropped, its twin)]): training rows that repeat no examined one.

    The examination keeps its rows, so that it stays what traffic is; training gives way.
    """
    index = Index()
    for row in holdout:
        index.add(row)
    kept: list[Row] = []
    dropped: list[tuple[Row, Row]] = []
    for row in rows:
        twin = index.twin(row)
        if twin is None:
            kept.append(row)
        else:
            dropped.append((row, twin))
    return kept, dropped


def _minhash(grams: frozenset[str]) -> object:
    from datasketch import MinHash

    sketch = MinHash(num_perm=PERMUTATIONS, seed=1)
    sketch.update_batch([gram.encode() for gram in sorted(grams)])
    return sketch
