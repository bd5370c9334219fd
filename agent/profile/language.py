"""Which language a text is in, by its small words, its letters and its script (pure).

Lives here: `language`. Comes in: a text and its words, lower case. Goes out: an ISO 639-1 code, or `unknown`.
Must never know: prompts, answers, what the language ought to be.

Every language's commonest small words (`words.py`) vote, a word of one language alone six times as loud as one that
many share; letters that only some languages use vote too. Too few votes, or no clear winner, is `unknown`: so are
code, names, numbers and most commands of two or three words. Scripts used by one language need no words. One dictionary
look-up a word, all votes added at once as fields of one integer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import repeat

from agent.profile.words import LETTERS, SCRIPTS, WORDS

UNKNOWN = "unknown"
_CODES = tuple(WORDS)
_FIELD_BITS = 16
_MOST_WORDS = 400
_CHARS = 200
_LOUD = 6
_LEAST_VOTES = 9
_CLEAR = 4
_CLEAR_SHARE = 0.08
_SHARED = {"cyrillic", "arabic", "devanagari"}
_KANA = 0.1


def _weights(tables: Mapping[str, Sequence[str]], loud: int) -> dict[str, int]:
    """Votes of a word (or letter) as one integer: language n has the n-th field of 16 bits."""
    users: dict[str, list[int]] = {}
    for code, words in tables.items():
        for word in dict.fromkeys(words):
            users.setdefault(word, []).append(_CODES.index(code))
    return {
        word: sum(max(1, loud // len(codes)) << _FIELD_BITS * code for code in codes) for word, codes in users.items()
    }


_WORD_VOTES = _weights({code: words.split() for code, words in WORDS.items()}, _LOUD)
_LETTER_VOTES = _weights({code: tuple(letters) for code, letters in LETTERS.items()}, _LOUD)
_BLOCKS = {
    block: script for script, (low, high) in SCRIPTS.items() for block in range(low >> 4, (high >> 4) + 1)
}  # script by block of 16 code points


def language(text: str, words: Sequence[str]) -> str:
    """The code of the language, or `unknown`. `words` are the text's, lower case, split by white space."""
    votes = sum(map(_WORD_VOTES.get, words[:_MOST_WORDS], repeat(0)))
    if not text.isascii():
        head = text[:_CHARS]
        script = _script(head)
        if script is not None and script not in _SHARED:
            return script
        votes += sum(map(_LETTER_VOTES.get, set(head.lower()), repeat(0)))
    return _winner(votes)


def _script(head: str) -> str | None:
    """The script of most letters, when it is not Latin. Japanese mixes kana into Han."""
    found: dict[str, int] = {}
    letters = 0
    for char, times in Counter(head).items():
        if char.isalpha():
            letters += times
            script = _BLOCKS.get(ord(char) >> 4)
            if script is not None:
                found[script] = found.get(script, 0) + times
    if not found:
        return None
    if found.get("ja", 0) > _KANA * letters:
        return "ja"
    most = max(found, key=found.__getitem__)
    return most if 2 * found[most] > letters else None


def _winner(votes: int) -> str:
    fields = memoryview(votes.to_bytes(2 * len(_CODES), "little")).cast("H")
    best = max(fields)
    if best < _LEAST_VOTES:
        return UNKNOWN
    first = fields.tolist().index(best)
    others = max((count for n, count in enumerate(fields) if n != first), default=0)
    return _CODES[first] if best - others >= _CLEAR + _CLEAR_SHARE * best else UNKNOWN
