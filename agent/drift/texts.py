"""One text taken apart: its words, word pairs and character triples as hashes, and its surface in numbers.

Lives here: `take_apart`, and `take_apart_many` for some at once. Comes in: strings, anything at all.
Goes out: `Text`s.
Must never know: the reference; a text is taken apart the same way whoever wrote it and whenever.
"""

from __future__ import annotations

import itertools
import re
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from agent.drift.records import LONGEST_CHARACTERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.drift.ngrams import Hashes

    Places = NDArray[np.int64]

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
_MAY_REFUSE = frozenset(
    re.findall(
        r"\S+",
        "sorry apologise apologize cannot can't can’t unable as not won't won’t decline against inappropriate",
    )
)
"""A text without any of these words refuses nothing, and is not searched."""
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
    return take_apart_many([text])[0]


def take_apart_many(texts: Sequence[str]) -> list[Text]:
    """Split some texts at once, each exactly as if it were alone: few large array operations cost less than many."""
    texts = [text[:LONGEST_CHARACTERS] for text in texts]
    lower = [text.lower() for text in texts]
    found = [_WORD.findall(text) for text in lower]
    sizes = np.array([len(words) for words in found])
    hashes = np.fromiter(map(_hash, itertools.chain.from_iterable(found)), np.uint32, int(sizes.sum()))
    codes = np.frombuffer("".join(lower).encode("utf-32-le", "surrogatepass"), np.uint32)
    ends = np.cumsum(sizes)
    words = _cut(hashes, ends, sizes, 1)
    triples = _cut(_chain(codes, 3), np.cumsum([len(text) for text in lower]), [len(text) for text in lower], 3)
    pairs = _cut(_chain(hashes, 2), ends, sizes, 2)
    runs = _cut(_chain(hashes, _REPEAT_WORDS), ends, sizes, _REPEAT_WORDS)
    surface = _surface(texts, lower, found, runs)
    return [
        Text(words=w, pairs=p, triples=t, surface=tuple(s))
        for w, p, t, s in zip(words, pairs, triples, surface.tolist(), strict=True)
    ]


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


def _cut(chained: Hashes, ends: Sequence[int] | Places, sizes: Sequence[int] | Places, length: int) -> list[Hashes]:
    """The runs that lie within one text each, text by text."""
    return [
        chained[end - size : max(end - length + 1, end - size)]
        for end, size in zip(np.asarray(ends).tolist(), np.asarray(sizes).tolist(), strict=True)
    ]


def _surface(
    texts: Sequence[str], lower: Sequence[str], found: Sequence[Sequence[str]], runs: Sequence[Hashes]
) -> NDArray[np.float64]:
    """The surface numbers (n, 15)."""
    n, sizes = len(texts), np.array([len(text) for text in texts])
    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
    place = np.repeat(np.arange(n) * 6, sizes) + _CLASS[np.minimum(codes, 128)]
    kinds = np.bincount(place, minlength=6 * n).reshape(n, 6)
    characters, words = np.maximum(sizes, 1), np.maximum([len(words) for words in found], 1)
    out = np.empty((n, len(SURFACE)))
    out[:, 0] = np.log1p(sizes)
    out[:, 1] = np.log1p([len(words) for words in found])
    out[:, 2] = [sum(map(len, words)) for words in found] / words
    for column, kind in ((3, _UPPER), (4, _DIGIT), (5, _NON_ASCII), (6, _PUNCTUATION)):
        out[:, column] = kinds[:, kind] / characters
    out[:, 7] = np.log1p(kinds[:, _NEWLINE])
    distinct = [set(words) for words in found]
    out[:, 8] = [len(words) for words in distinct] / words
    out[:, 9] = [_compressed(text) for text in texts]
    out[:, 10] = [1 - len(set(run.tolist())) / run.size if run.size else 0.0 for run in runs]
    out[:, 11] = [sum(map(_COMMON.__contains__, words)) for words in found] / words
    out[:, 12] = [
        not _MAY_REFUSE.isdisjoint(words) and _REFUSAL.search(text) is not None
        for words, text in zip(distinct, lower, strict=True)
    ]
    out[:, 13] = [text.rstrip().endswith(_CLOSERS) for text in texts]
    out[:, 14] = ["?" in text or "？" in text for text in texts]
    return out


def _compressed(text: str) -> float:
    raw = text.encode("utf-8", "surrogatepass")
    return len(zlib.compress(raw, 1)) / (len(raw) + 8)
