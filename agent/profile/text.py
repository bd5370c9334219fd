"""Counting letters and words quickly (pure).

Lives here: `measure`, one pass of C-speed counts over a text.
Comes in: any text, lone surrogates too. Goes out: `Shape`, plain numbers.
Must never know: prompts, answers, exchanges.

Lengths are exact; shares and words come from the first 20,000 characters and compression from the first
16 KiB, so that a megabyte costs little more than a page.
"""

from __future__ import annotations

import zlib
from collections import Counter
from typing import NamedTuple

SHARE_CHARS = 20_000
_COMPRESS_BYTES = 16 * 1024
_MIN_COMPRESS_BYTES = 16
_UPPER = range(0x41, 0x5B)
_LETTERS = (*_UPPER, *range(0x61, 0x7B))
_DIGITS = range(0x30, 0x3A)
_ASCII = bytes(range(128))
_CLASSES = bytes(
    b"U"[0] if n in _UPPER else b"l"[0] if n in _LETTERS else b"d"[0] if n in _DIGITS else 0 for n in range(256)
)


class Shape(NamedTuple):
    """Counts of one text; shares in [0, 1] of its characters, 0 for the empty text."""

    part: str
    """The measured part."""
    chars: int
    words: tuple[str, ...]
    """Words of the measured part, lower case, as split by white space."""
    n_words: int
    distinct_words: frozenset[str]
    upper_share: float
    digit_share: float
    non_letter_share: float
    non_ascii_share: float
    compression_ratio: float
    """Compressed size over size: near 0 for repetition, around 0.6 for prose, above 1 for a few characters."""
    folded: bytes
    """The measured part in lower case, UTF-8 (lone surrogates passed)."""

    @property
    def type_token_ratio(self) -> float:
        """Distinct words over words; 1 for the empty text."""
        return len(self.distinct_words) / len(self.words) if self.words else 1.0


def measure(text: str) -> Shape:
    """The counts of a text."""
    part = text[:SHARE_CHARS]
    chars = len(part)
    raw = part.encode("utf-8", "surrogatepass")
    upper, digits, letters, non_ascii = _classes(part, raw)
    lower = part.lower()
    words = tuple(lower.split())
    per_char = 1.0 / chars if chars else 0.0
    return Shape(
        part,
        len(text),
        words,
        len(words) if len(text) == chars else len(text.split()),
        frozenset(words),
        upper * per_char,
        digits * per_char,
        (chars - letters) * per_char,
        non_ascii * per_char,
        _compression(raw),
        lower.encode("utf-8", "surrogatepass"),
    )


def repeated_4gram_share(words: tuple[str, ...]) -> float:
    """Share of the runs of four words that stood there before: 0 for prose, near 1 for a loop. 0 below four words."""
    runs = len(words) - 3
    if runs < 1:
        return 0.0
    return 1.0 - len(set(zip(words, words[1:], words[2:], words[3:], strict=False))) / runs


def _classes(text: str, raw: bytes) -> tuple[int, int, int, int]:
    """How many capitals, digits, letters, characters beyond ASCII."""
    classes = raw.translate(_CLASSES)  # bytes beyond ASCII fall into no class
    upper, digits = classes.count(b"U"), classes.count(b"d")
    letters = upper + classes.count(b"l")
    if len(raw) == len(text):
        return upper, digits, letters, 0
    found = raw.translate(None, _ASCII).decode("utf-8", "surrogatepass")
    for letter, times in Counter(found).items():
        upper += times * letter.isupper()
        digits += times * letter.isdecimal()
        letters += times * letter.isalpha()
    return upper, digits, letters, len(found)


def _compression(raw: bytes) -> float:
    raw = raw[:_COMPRESS_BYTES]
    if len(raw) < _MIN_COMPRESS_BYTES:
        return 1.0
    return len(zlib.compress(raw, 1)) / len(raw)
