"""Counting letters and words quickly (pure).

Lives here: `measure`, one pass of C-speed counts over a text.
Comes in: any text, lone surrogates too. Goes out: `Shape`, plain numbers.
Must never know: prompts, answers, exchanges.

Lengths are exact; shares come from the first 20,000 characters and compression from the first 16 KiB, so that a
megabyte costs little more than a page.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass

SHARE_CHARS = 20_000
_COMPRESS_BYTES = 16 * 1024
_MIN_COMPRESS_BYTES = 16
_UPPER = bytes(range(0x41, 0x5B))
_LETTERS = _UPPER + bytes(range(0x61, 0x7B))
_DIGITS = bytes(range(0x30, 0x3A))


@dataclass(frozen=True, slots=True)
class Shape:
    """Counts of one text; shares in [0, 1] of its characters, 0 for the empty text."""

    chars: int
    words: tuple[str, ...]
    """Words of the measured part, lower case, as split by white space."""
    n_words: int
    upper_share: float
    digit_share: float
    non_letter_share: float
    non_ascii_share: float
    compression_ratio: float
    """Compressed size over size: near 0 for repetition, around 0.6 for prose, above 1 for a few characters."""

    @property
    def type_token_ratio(self) -> float:
        """Distinct words over words; 1 for the empty text."""
        return len(set(self.words)) / len(self.words) if self.words else 1.0


def measure(text: str) -> Shape:
    """The counts of a text."""
    part = text[:SHARE_CHARS]
    chars = len(part)
    upper, digits, letters, non_ascii = _classes(part)
    words = tuple(part.lower().split())
    per_char = 1.0 / chars if chars else 0.0
    return Shape(
        chars=len(text),
        words=words,
        n_words=len(words) if len(text) == chars else len(text.split()),
        upper_share=upper * per_char,
        digit_share=digits * per_char,
        non_letter_share=(chars - letters) * per_char,
        non_ascii_share=non_ascii * per_char,
        compression_ratio=_compression(part),
    )


def _classes(text: str) -> tuple[int, int, int, int]:
    """How many capitals, digits, letters, characters beyond ASCII."""
    ascii_part = text.encode("ascii", "ignore")
    n = len(ascii_part)
    upper = n - len(ascii_part.translate(None, _UPPER))
    digits = n - len(ascii_part.translate(None, _DIGITS))
    letters = n - len(ascii_part.translate(None, _LETTERS))
    if n == len(text):
        return upper, digits, letters, 0
    for letter, times in Counter(text).items():
        if letter > "\x7f":
            upper += times * letter.isupper()
            digits += times * letter.isdecimal()
            letters += times * letter.isalpha()
    return upper, digits, letters, len(text) - n


def _compression(text: str) -> float:
    raw = text.encode("utf-8", "surrogatepass")[:_COMPRESS_BYTES]
    if len(raw) < _MIN_COMPRESS_BYTES:
        return 1.0
    return len(zlib.compress(raw, 1)) / len(raw)
