"""Text as the rules read it (pure).

Lives here: `folded`: one spelling for letters, spaces, dashes and signs that look alike or cannot be seen.
Comes in: text. Goes out: the same text in plain signs; most texts come out as they are.
Must never know: rules, placeholders.

Unicode, "Normalization Forms" (UAX 15), form C, for letters with accents; full-width forms (U+FF01 to U+FF5E) are ASCII
moved up. Line breaks stay, since a number does not go on after one.
"""

from __future__ import annotations

import re
from unicodedata import normalize

_SPACES = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_DASHES = "\u2010-\u2015\u2043\u2212\u2e3a\u2e3b\ufe58\ufe63"
_UNSEEN = "\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f\ufeff"
_COMBINING = "\u0300-\u034e\u0350-\u036f"
_FULL_WIDTH = range(0xFF01, 0xFF5F)
_ASCII_FROM = 0x21


def _all(spans: str) -> list[str]:
    """The characters of a class as regular expressions write it."""
    return re.findall(f"[{spans}]", "".join(map(chr, range(0x80, 0x10000))))


_PLAIN = {
    **dict.fromkeys(_all(_SPACES), " "),
    **dict.fromkeys(_all(_DASHES), "-"),
    **dict.fromkeys(_all(_UNSEEN), ""),
    **{chr(code): chr(_ASCII_FROM + n) for n, code in enumerate(_FULL_WIDTH)},
    **dict(zip("\ufe6b\ufe52\u2024\ufe55\ufe62\ufe59\ufe5a", "@..:+()", strict=True)),
}
_ODD = re.compile(f"[{_COMBINING}{''.join(map(re.escape, _PLAIN))}]")


def folded(text: str) -> str:
    """The text in plain signs."""
    if text.isascii() or not _ODD.search(text):
        return text
    return normalize("NFC", _ODD.sub(_plain, text))


def _plain(sign: re.Match[str]) -> str:
    return _PLAIN.get(sign.group(), sign.group())
