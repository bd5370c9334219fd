"""Keys, tokens and passwords (pure).

Lives here: forms that issuers give their keys, and values that a word such as `password` announces.
Comes in: text. Goes out: the same text with [SECRET] in their place.
Must never know: exchanges, settings, the other rules.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Container, Iterator

from agent.intake.signs import Rule

_B64 = r"[A-Za-z0-9_\-]"
_PEM = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----"
    r"(?s:.*?)(?:-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)"
)
_TOKEN = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    + "|".join(
        (
            rf"sk-{_B64}{{16,}}+",
            r"[srp]k_(?:live|test)_[A-Za-z0-9]{10,}+",
            r"A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Za-z0-9])",
            r"gh[pousr]_[A-Za-z0-9]{20,}+",
            r"github_pat_[A-Za-z0-9_]{20,}+",
            rf"glpat-{_B64}{{16,}}+",
            r"hf_[A-Za-z0-9]{20,}+",
            r"npm_[A-Za-z0-9]{30,}+",
            rf"pypi-{_B64}{{30,}}+",
            r"do[opr]_v1_[a-f0-9]{32,}+",
            r"shp(?:at|ca|pa|ss)_[a-fA-F0-9]{30,}+",
            r"x(?:ox[abeoprs]|app)-[A-Za-z0-9\-]{10,}+",
            rf"AIza{_B64}{{30,}}+",
            rf"ya29\.{_B64}{{20,}}+",
            rf"SG\.{_B64}{{16,}}+\.{_B64}{{16,}}+",
            rf"\d{{8,10}}:AA{_B64}{{30,}}+",
            rf"eyJ{_B64}{{6,}}+\.{_B64}{{6,}}+(?:\.{_B64}*+)?",
        )
    )
    + ")"
)
_SLACK_HOOK = re.compile(r"(hooks\.slack\.com/services/)[A-Za-z0-9/]{20,}+")
_URL_PASSWORD = re.compile(r"://[^\s/@:]{0,256}:[^\s/@]{1,256}@")
_BEARER = re.compile(r"(?i)\b(bearer|basic)( +)(?=[^\s\d]{0,512}\d)[A-Za-z0-9._~+/=\-]{16,}+")

_MIN_TOKEN_CHARS = 16
_WORDS = ("pass", "secret", "token", "key", "pwd", "credential")
_KEYS = ("api", "secret", "access", "auth", "private", "encryption", "account", "master")
"""What makes a key one that must not be seen."""
_QUOTE = r"(?:\\?[\"'])?"
_NAMED = re.compile(
    r"(?i)(?P<word>key|secret|token|passw(?:or)?d|passphrase|passwort|pwd|credentials?)"
    rf"(?P<between>{_QUOTE}(?:\s(?:for|to|of|zum|für|von)(?:\s\w{{1,20}}){{1,4}}?)?"
    rf"(?:\s{{0,3}}(?:=>|:=|[:=])\s{{0,3}}|\s{{1,3}}(?:is|was|ist|lautet)\s{{1,3}}){_QUOTE})"
    r"(?P<value>[^\s\"'\\,;<>(){}\[\]&|]{6,}+)"
)
_PASSWORDS = ("passw", "pwd", "passphrase")
_CODE = re.compile(
    r"(?i)none\b|null\b|true\b|false\b|undefined\b|required\b|optional\b|string\b|\$|/|~|\*+$|x+$|\.\.\."
    r"|[a-z_]+(?:\.[a-z_]+)+$"
)
_HEX = re.compile(r"[0-9A-Fa-f]{16,}")
_MIN_BITS = 3.0


def secrets(text: str, worth: Container[int]) -> str:
    """The text with keys, tokens and passwords masked, by the rules that are worth trying."""
    if Rule.PEM in worth:
        text = _PEM.sub("[SECRET]", text)
    if Rule.TOKEN in worth:
        text = _TOKEN.sub("[SECRET]", text)
    if Rule.SLACK_HOOK in worth:
        text = _SLACK_HOOK.sub(r"\1[SECRET]", text)
    if Rule.BEARER in worth:
        text = _BEARER.sub(r"\1\2[SECRET]", text)
    if Rule.URL_PASSWORD in worth:
        text = _URL_PASSWORD.sub("://[SECRET]@", text)
    if Rule.ANNOUNCED not in worth:
        return text
    low = text.lower()
    values = [span for word in _WORDS if word in low for span in _announced(text, low, word)]
    return _without(text, values) if values else text


def _announced(text: str, low: str, word: str) -> Iterator[tuple[int, int]]:
    """Where the values stand that a word announces, when they look like secrets."""
    if len(low) != len(text):  # a letter that is longer when small
        low = "".join(letter.lower() if letter.isascii() else letter for letter in text)
    at = low.find(word)
    while at >= 0:
        end = at + len(word)
        bare = word == "key" and not low[max(0, at - 12) : at].rstrip("_- ").endswith(_KEYS)
        found = None if bare else _NAMED.match(text, at)
        if found:
            end = found.end()
            if _is_secret(found):
                yield found.span("value")
        at = low.find(word, end)


def _without(text: str, spans: list[tuple[int, int]]) -> str:
    """The text with [SECRET] in place of each span; of two that overlap the first one counts."""
    parts, done = [], 0
    for start, end in sorted(spans):
        if start >= done:
            parts += [text[done:start], "[SECRET]"]
        done = max(done, end)
    return "".join(parts) + text[done:]


def _is_secret(found: re.Match[str]) -> bool:
    """True when a value looks like a secret rather than a word or code."""
    word, between, value = found["word"].lower(), found["between"], found["value"]
    after = found.string[found.end() : found.end() + 2]
    if _CODE.match(value) or after[:1] in ("(", "["):
        return False
    if not any(part in word for part in _PASSWORDS):
        return _is_random(value)
    spoken = between.strip(" \"'\\").isalpha()
    prose = value.strip(".!?").isalpha() and (spoken or (after[:1] == " " and after[1:].isalpha()))
    return not prose


def _is_random(value: str) -> bool:
    """Long, with digits among letters, and no letter much commoner than others: nothing that a person would write."""
    if len(value) < _MIN_TOKEN_CHARS:
        return False
    if _HEX.fullmatch(value):
        return True
    return any(c.isdigit() for c in value) and any(c.isalpha() for c in value) and _bits(value[:200]) >= _MIN_BITS


def _bits(value: str) -> float:
    """Shannon entropy, bits a character."""
    n = len(value)
    return -sum(times / n * math.log2(times / n) for times in Counter(value).values())
