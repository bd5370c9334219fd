"""The numbers that drift tools for text watch out of the box: 19 a record.

Lives here: `Descriptors`. Comes in: reference records once, then one record at a time. Goes out: a row of numbers.
Must never know: which detector reads them, and the sequential detector's own scores.

Lengths, shares of kinds of characters, sentences, refusals, and the share of words outside a vocabulary (Evidently's
OOV and LangKit's lexical numbers are of this kind; their vocabulary is English, here it is the reference's own).
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from agent.drift.records import LONGEST_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.drift.records import Record

_WORD = re.compile(r"\w+")
_MARKS = re.compile(r"[^\w\s]")
_DIGIT = re.compile(r"\d")
_UPPER = re.compile(r"[A-Z]")
_BEYOND = re.compile(r"[^\x00-\x7f]")
_END = re.compile(r"[.!?\n]+")
_REFUSAL = re.compile(r"\b(?:sorry|cannot|can't|unable|as an ai)\b", re.IGNORECASE)
_SIDE = ("characters", "words", "word_length", "sentences", "upper", "digits", "punctuation", "non_ascii", "new_words")
NAMES = (*(f"prompt.{n}" for n in _SIDE), *(f"answer.{n}" for n in _SIDE), "answer.refusal")
"""Column names; the side stands before the dot."""


class Descriptors:
    """`row(record)` gives `NAMES` as numbers; build from the part of the reference that will not be compared."""

    def __init__(self, counted: Sequence[Record]) -> None:
        self._known = (
            frozenset(word for r in counted for word in _words(r.prompt)),
            frozenset(word for r in counted for word in _words(r.answer)),
        )

    def row(self, record: Record) -> NDArray[np.float64]:
        """(19,) float: lengths as logarithms, shares in [0, 1]. Only the first 8,000 characters count."""
        answer = record.answer[:LONGEST_CHARACTERS]
        refusal = float(bool(_REFUSAL.search(answer[:400])))
        prompt = record.prompt[:LONGEST_CHARACTERS]
        return np.array([*_side(prompt, self._known[0]), *_side(answer, self._known[1]), refusal])


def _words(text: str) -> list[str]:
    return _WORD.findall(text[:LONGEST_CHARACTERS].lower())


def _side(text: str, known: frozenset[str]) -> tuple[float, ...]:
    words, n = _words(text), max(len(text), 1)
    return (
        math.log1p(len(text)),
        math.log1p(len(words)),
        sum(map(len, words)) / max(len(words), 1),
        math.log1p(len(_END.findall(text))),
        len(_UPPER.findall(text)) / n,
        len(_DIGIT.findall(text)) / n,
        len(_MARKS.findall(text)) / n,
        len(_BEYOND.findall(text)) / n,
        sum(word not in known for word in words) / max(len(words), 1),
    )


def parted(reference: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """Every other run of ten rows: one part gives the vocabulary, the other is compared with."""
    counted = [record for i, record in enumerate(reference) if i // 10 % 2 == 0]
    return counted, [record for i, record in enumerate(reference) if i // 10 % 2]
