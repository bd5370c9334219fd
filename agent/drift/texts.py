"""One text taken apart: its words, word pairs and character triples as hashes, and its surface in numbers.

Lives here: `take_apart`. Comes in: a string, anything at all. Goes out: a `Text`.
Must never know: the reference; a text is taken apart the same way whoever wrote it and whenever.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from agent.drift.records import LONGEST_CHARACTERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.drift.ngrams import Hashes

SURFACE = (
    "length",
    "words",
    "word_length",
    "upper",
    "digits",
    "non_ascii",
    "punctuation",
    "newlines",
    "distinct_words",
    "compression",
    "repeats",
    "common_words",
    "refusal",
    "closed",
    "question",
)
"""Names of the surface numbers, in the order of `Text.surface`."""

_WORD = re.compile(r"\w+(?:['’]\w+)?")
_REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|cannot|can['’]t|unable|as an ai|not able to|won['’]t|decline|against my|inappropriate)\b"
)
_COMMON = frozenset(
    re.findall(
        r"\w+",
        "a about after all also an and any are as at be because been but by can could did do does for from had has have"
        " he her him his how i if in into is it its just like me more my no not of on one or our out she so some than"
        " that the their them then there they this to up us was we were what when which who will with would you your",
    )
)
_UPPER, _DIGIT, _PUNCTUATION, _NEWLINE, _NON_ASCII = 1, 2, 3, 4, 5
_REPEAT_WORDS = 4
_CLOSERS = (".", "!", "?", '"', ")", "]", "}", "`", "。", "…")


def _classes() -> NDArray[np.uint8]:
    table = np.zeros(129, np.uint8)
    table[[ord(c) for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"]] = _UPPER
    table[[ord(c) for c in "0123456789"]] = _DIGIT
    table[[ord(c) for c in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"]] = _PUNCTUATION
    table[ord("\n")] = _NEWLINE
    table[128] = _NON_ASCII
    return table


_CLASS = _classes()


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """Hashes of words (n,), of word pairs (n-1,) and of lower-case character triples, and `surface` (15,)."""

    words: Hashes
    pairs: Hashes
    triples: Hashes
    surface: tuple[float, ...]


@lru_cache(maxsize=20_000)
def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def take_apart(text: str) -> Text:
    """Split one text. Only its first `LONGEST_CHARACTERS` are looked at."""
    text = text[:LONGEST_CHARACTERS]
    lower = text.lower()
    found = _WORD.findall(lower)
    words = np.fromiter(map(_hash, found), np.uint32, len(found))
    codes = np.frombuffer(lower.encode("utf-32-le", "surrogatepass"), np.uint32)
    return Text(
        words=words,
        pairs=_chain(words, 2),
        triples=_chain(codes, 3),
        surface=_surface(text, lower, found, words),
    )


def _chain(units: Hashes, length: int) -> Hashes:
    """Hash of every run of `length` neighbours: a polynomial modulo 2**32."""
    n = units.size - length + 1
    if n <= 0:
        return np.zeros(0, np.uint32)
    out = units[:n].copy()
    for shift in range(1, length):
        out *= np.uint32(0x9E3779B1)
        out ^= out >> np.uint32(15)
        out += units[shift : shift + n]
    return out


def _surface(text: str, lower: str, found: list[str], words: Hashes) -> tuple[float, ...]:
    raw = text.encode("utf-8", "surrogatepass")
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    kinds = np.bincount(_CLASS[np.minimum(codes, 128)], minlength=6)
    n_characters, n_words = max(len(text), 1), max(len(found), 1)
    runs = _chain(words, _REPEAT_WORDS)
    return (
        float(np.log1p(len(text))),
        float(np.log1p(len(found))),
        sum(map(len, found)) / n_words,
        kinds[_UPPER] / n_characters,
        kinds[_DIGIT] / n_characters,
        kinds[_NON_ASCII] / n_characters,
        kinds[_PUNCTUATION] / n_characters,
        float(np.log1p(kinds[_NEWLINE])),
        len(set(found)) / n_words,
        len(zlib.compress(raw, 1)) / (len(raw) + 8),
        1 - len(set(runs.tolist())) / runs.size if runs.size else 0.0,
        sum(map(_COMMON.__contains__, found)) / n_words,
        float(_REFUSAL.search(lower) is not None),
        float(text.rstrip().endswith(_CLOSERS)),
        float("?" in text or "？" in text),
    )
