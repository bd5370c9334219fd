"""Names of people from the owner's list (pure, apart from `read_names`).

Lives here: `Names`, a dictionary that is looked up word by word.
Comes in: names, one or several words each. Goes out: text with [NAME] in their place.
Must never know: exchanges, the other rules.

A name written in small letters in the list is found in any case; one with capitals as it is written, or in capitals
throughout, so that `Mark` leaves the word `mark` alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from agent.intake.fold import folded
from agent.types import InvalidInput

MAX_NAMES = 200_000
_WORD = re.compile(r"[^\W\d_]+")
_MAX_GAP = 3


class Forms:
    """Names as tuples of words, found by what they begin with; many that begin alike cost no more than one."""

    def __init__(self) -> None:
        self.first: dict[str, tuple[int, ...]] = {}
        """How many words the names have that begin with this one, the most first."""
        self._known: set[tuple[str, ...]] = set()

    def keep(self, words: tuple[str, ...]) -> None:
        """Add a name."""
        self._known.add(words)
        lengths = self.first.get(words[0], ())
        if len(words) not in lengths:
            self.first[words[0]] = tuple(sorted((*lengths, len(words)), reverse=True))

    def length(self, words: list[str], at: int) -> int:
        """Words of the longest name that begins here, 0 when none does."""
        for n in self.first.get(words[at], ()) if at < len(words) else ():
            if tuple(words[at : at + n]) in self._known:
                return n
        return 0


class Names:
    """A dictionary of names; an empty one masks nothing."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._exact = Forms()
        self._folded = Forms()
        for name in map(folded, names):
            words = tuple(_WORD.findall(name))
            if not words:
                continue
            if name == name.lower():
                self._folded.keep(tuple(word.casefold() for word in words))
            else:
                self._exact.keep(words)
                self._exact.keep(tuple(word.upper() for word in words))

    def __bool__(self) -> bool:
        return bool(self._exact.first or self._folded.first)

    def mask(self, text: str) -> str:
        """The text with every name replaced; of two that begin alike the longer wins."""
        words = _WORD.findall(text)
        folded = [word.casefold() for word in words] if self._folded.first else []
        if self._exact.first.keys().isdisjoint(words) and self._folded.first.keys().isdisjoint(folded):
            return text
        places = [match.span() for match in _WORD.finditer(text)]
        parts, done, at = [], 0, 0
        while at < len(words):
            n = max(self._exact.length(words, at), self._folded.length(folded, at))
            if n and all(places[i + 1][0] - places[i][1] <= _MAX_GAP for i in range(at, at + n - 1)):
                parts += [text[done : places[at][0]], "[NAME]"]
                done = places[at + n - 1][1]
                at += n
            else:
                at += 1
        return "".join(parts) + text[done:] if done else text


def read_names(path: Path) -> list[str]:
    """Names of a text file, one a line; empty lines and lines with # are passed over.

    Raises InvalidInput in one sentence when it cannot be read or is too long.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"capture.names {path} cannot be read ({why}): give a text file, one name a line") from error
    names = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if len(names) > MAX_NAMES:
        raise InvalidInput(f"capture.names {path} has {len(names)} names: give at most {MAX_NAMES}")
    return names
