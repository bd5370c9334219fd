"""Which rules are worth trying on a text: one pass over it for all of them (pure).

Lives here: for each rule, what stands in every text in which the rule finds anything; `worth_trying`.
Comes in: text whose digits are ASCII. Goes out: rules, mostly none.
Must never know: what the rules do with it.

RE2 walks all signs at once, as one automaton, in linear time whatever the text says; a Python `in` for each of them
costs ten times as much. A sign may promise too much, never too little.
"""

from __future__ import annotations

from enum import IntEnum
from functools import cache
from typing import Any

_B64 = r"[A-Za-z0-9_\-]"
_BEYOND = r"\x{80}-\x{10ffff}"
_SPACE = rf"[\s\v\x1c-\x1f{_BEYOND}]"
"""Python's white space, and more."""
_QUOTE = r"(?:\\?[\"'])?"
_TOKENS = (
    rf"sk-{_B64}{{8}}", r"k_(?:live|test)_", r"A(?:KIA|SIA)[A-Z0-9]{8}", r"gh[pousr]_[A-Za-z0-9]{8}", r"github_pat_",
    r"glpat-", r"hf_[A-Za-z0-9]{8}", r"npm_[A-Za-z0-9]{8}", r"pypi-", r"do[opr]_v1_", r"shp(?:at|ca|pa|ss)_",
    r"xox[abeoprs]-", r"xapp-", r"AIza", r"ya29\.", rf"SG\.{_B64}{{8}}", r"[0-9]:AA", r"eyJ",
)  # fmt: skip


class Rule(IntEnum):
    """A rule; its number is the place of its sign in the automaton."""

    PEM = 0
    TOKEN = 1
    SLACK_HOOK = 2
    URL_PASSWORD = 3
    BEARER = 4
    ANNOUNCED = 5
    EMAIL = 6
    IPV6 = 7
    IPV4 = 8
    IBAN = 9
    CARD = 10
    SSN = 11
    SSN_NAMED = 12
    SEVEN_DIGITS = 13


_SIGNS = {
    Rule.PEM: r"-----BEGIN [A-Z ]*PRIVATE KEY",
    Rule.TOKEN: "|".join(_TOKENS),
    Rule.SLACK_HOOK: r"hooks\.slack\.com/services/",
    Rule.URL_PASSWORD: r"://[^\s/@:]*:[^\s/@]+@",
    Rule.BEARER: r"(?i)(?:bearer|bas[i\x{130}\x{131}]c) +\S{16}",
    Rule.ANNOUNCED: (
        rf"(?i)(?:key|secret|token|passw(?:or)?d|passphrase|passwort|pwd|credentials?){_QUOTE}"
        rf"(?:{_SPACE}(?:for|to|of|zum|f\x{{fc}}r|von)(?:{_SPACE}[\w{_BEYOND}]+)+)?"
        rf"(?:{_SPACE}*[:=]>?=?{_SPACE}*|{_SPACE}+(?:[i\x{{130}}\x{{131}}]st?|was|lautet){_SPACE}+){_QUOTE}"
        r"[^\s\"'\\,;<>(){}\[\]&|]{6}"
    ),
    Rule.EMAIL: rf"(?:@|%40)[0-9A-Za-z{_BEYOND}][0-9A-Za-z_\-{_BEYOND}]*\.",
    Rule.IPV6: r"[0-9][0-9A-Fa-f:]*::|::[0-9A-Fa-f:]*[0-9%]|(?:[0-9A-Fa-f]{1,4}:){6}",
    Rule.IPV4: r"[0-9](?:\.[0-9]{1,3}){3}",
    Rule.IBAN: r"[A-Za-z]{2}[0-9]{2}(?:[ \-]?[A-Za-z0-9]){11}",
    Rule.CARD: r"[0-9](?:[ \-]{0,2}[0-9]){12}",
    Rule.SSN: r"[0-9]{3}-[0-9]{2}-[0-9]{4}",
    Rule.SSN_NAMED: r"(?i)ssn|social security",
    Rule.SEVEN_DIGITS: r"[0-9](?:[ ().+\-/]*[0-9]){6}",
}


def worth_trying(text: str) -> list[int]:
    """The rules whose sign the text bears."""
    found: list[int] = _automaton().Match(text.encode("utf-8", "surrogatepass")) or []
    return found


@cache
def _automaton() -> Any:
    import re2  # 4 MB, for those alone who read texts

    signs = re2.Set.SearchSet()
    for rule, sign in _SIGNS.items():
        if signs.Add(sign) != rule:
            raise AssertionError(f"the sign of {rule.name} is not in its place")
    signs.Compile()
    return signs
