"""Which template an exchange came from, named by the client or not (pure).

Lives here: `origin`. Comes in: an exchange. Goes out: its template's name, or a fingerprint of its system prompt.
Must never know: what a change of template means to anyone.
"""

from __future__ import annotations

import re
from calendar import day_abbr, day_name, month_abbr, month_name
from functools import lru_cache
from hashlib import blake2b
from itertools import takewhile

from agent.types import Exchange

_STANDING = frozenset({"system", "developer"})
_STANDING_CHARS = 32_768
CHATS = frozenset({"/v1/chat/completions", "/v1/messages", "/v1/responses"})
_VARIABLE = re.compile(r"[\d@]|\[[A-Z_]+\]")
"""In words that are filled in anew: a number, an address, what redaction puts in place of one."""
_MARKS = ".,;:!?()[]{}<>*_#|/\\-+=\"'`"
_CALENDAR = frozenset({*map(str.lower, (*day_name, *day_abbr, *month_name, *month_abbr)), "am", "pm"})


def origin(exchange: Exchange) -> str | None:
    """The template: what the client named, else a fingerprint of the system prompt, such as `system:1f3a9c02`.

    That is of the system and developer messages which stand first; `system:none` is a chat without any, None an API
    that has no such messages.

    Dates, numbers and what redaction masks are no part of it, so that a text and its redacted copy agree.
    """
    if exchange.template is not None:
        return exchange.template
    standing = takewhile(lambda message: message.role in _STANDING, exchange.messages)
    words = "\n".join(message.text for message in standing if message.text)
    if words:
        return f"system:{_fingerprint(words[:_STANDING_CHARS])}"
    return "system:none" if exchange.messages and exchange.path in CHATS else None


@lru_cache(16)
def _fingerprint(text: str) -> str:
    """Eight hex digits of the words of a text that say the same tomorrow."""
    words = (word for word in text.split() if not _VARIABLE.search(word))
    kept = (word for word in words if (bare := word.strip(_MARKS).lower()) and bare not in _CALENDAR)
    return blake2b(" ".join(kept).encode("utf-8", "replace"), digest_size=4).hexdigest()
