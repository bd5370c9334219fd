"""The one choke point: nothing is stored that has not been through here.

Lives here: `Redactor`, which masks private data in every text of an exchange and hashes who asked.
Comes in: an exchange as assembled. Goes out: one that may be stored, logged and shown.
Must never know: where it goes. It fails closed: what cannot be redacted is stored without any text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from agent.intake.fold import folded
from agent.intake.names import Names
from agent.intake.patterns import mask
from agent.store.convert import without_text
from agent.types import Exchange, Features, InvalidInput, Message, Outcome, ToolCall

MAX_PATTERN_CHARS = 1000
TEXT_OFF = "off"
"""Why an exchange has no text when `capture.text` is none."""
_PLACEHOLDER = "[REDACTED]"
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")
_ENGINE_ID = re.compile(r"[a-z]{2,10}[-_][0-9a-f]{16,32}|[a-z]{2,10}[-_][0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_MAX_ROLE_CHARS = 32
_LABEL_CHARS = 200
_LABELS = 4096
_STANDING = frozenset({"system", "developer"})
"""Who says the same in every exchange."""
_STANDING_TEXTS, _STANDING_CHARS = 128, 32_768
_ESCAPE = re.compile(r"\\u00([2-7][0-9A-Fa-f])")


class Redactor:
    """Masks private data by the built-in rules and by the owner's own RE2 patterns.

    `patterns` are RE2 syntax, at most 1,000 characters each; `user_key` keys the hash that stands for a user; `names`
    are people's, masked wherever they stand. Raises InvalidInput for a pattern that RE2 does not know or that matches
    the empty text.

    With `measure`, no text leaves this place: an exchange comes out with its features and without its words.
    """

    def __init__(
        self,
        patterns: Sequence[str] = (),
        user_key: str = "trimtab",
        names: Iterable[str] = (),
        measure: Callable[[Exchange], Features] | None = None,
    ) -> None:
        self._patterns = [_compile(pattern) for pattern in patterns]
        self._key = blake2b(user_key.encode("utf-8", "surrogatepass"), digest_size=32).digest()
        self._measure = measure
        self._names = Names(names)
        self._label = lru_cache(_LABELS)(self._short)
        self._standing = lru_cache(_STANDING_TEXTS)(self.text)
        self.failures = 0
        """Exchanges whose text was thrown away because redaction failed."""

    def text(self, text: str) -> str:
        r"""The text with private data masked; lone surrogates and NULs, unfit for databases, become U+FFFD.

        `\u0040` and the like, as JSON within a text has them, are resolved first, or they would hide an address. For
        the same reason odd spaces, dashes and signs are read as plain ones; they stay where nothing is masked.
        """
        text = _storable(text)
        if "\\u00" in text:
            text = _ESCAPE.sub(_resolved, text)
        text = self._own(text)
        plain = folded(text)
        if plain is text:
            return self._masked(text)
        masked = self._masked(self._own(plain))
        return text if masked == plain else masked

    def _own(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(_PLACEHOLDER, text)
        return text

    def _masked(self, text: str) -> str:
        text = mask(text)
        return self._names.mask(text) if self._names else text

    def hash(self, name: str) -> str:
        """32 hex digits that stand for a name: equal names, equal digits, for as long as the key is kept."""
        return blake2b(name.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).hexdigest()

    def hashed_id(self, name: str) -> str:
        """The id under which an exchange is stored whose own may not be."""
        return f"hashed-{self.hash(name)}"

    def exchange(self, exchange: Exchange, *, chosen_id: str | None = None) -> Exchange:
        """The exchange as it may be stored. Never raises: what fails comes out unreadable, without text.

        `chosen_id`: what the client asked the response to be called, if it did.
        """
        try:
            return self._reduced(self._exchange(exchange, chosen_id))
        except Exception:  # noqa: BLE001 - fails closed, whatever it was, and is counted
            self.failures += 1
            return blank(exchange)

    def _exchange(self, exchange: Exchange, chosen_id: str | None) -> Exchange:
        return replace(
            exchange,
            id=self._id(exchange, chosen_id),
            path=self._label(exchange.path),
            alias=self._label(exchange.alias),
            version=self._label(exchange.version),
            messages=tuple(map(self._message, exchange.messages)),
            answer=self.text(exchange.answer),
            reasoning=self.text(exchange.reasoning) if exchange.reasoning else "",
            finish_reason=self._optional(exchange.finish_reason),
            user=self.hash(exchange.user) if exchange.user else None,
            conversation=self.hash(exchange.conversation) if exchange.conversation else None,
            template=self._optional(exchange.template),
            template_version=self._optional(exchange.template_version),
            tools=tuple(map(self._label, exchange.tools)),
            tool_calls=tuple(
                ToolCall(name=self._label(call.name), arguments=self.text(call.arguments))
                for call in exchange.tool_calls
            ),
        )

    def _reduced(self, exchange: Exchange) -> Exchange:
        if self._measure is None:
            return exchange
        return without_text(exchange, TEXT_OFF, self._measure(exchange) if exchange.profiled else None)

    def _id(self, exchange: Exchange, chosen_id: str | None) -> str:
        """The response's id: the engine's random one stands, one that a client chose gives way when it looks private.

        Random hex digits pass for a card or an account once in some ten thousand ids; were those replaced, feedback
        on such an answer would not find it. Where no text may be stored, what a client chose is hashed.
        """
        by_engine = _ENGINE_ID.fullmatch(exchange.id) and not (chosen_id and chosen_id in exchange.id)
        if self._measure is not None and not by_engine and exchange.id != _own_id(exchange):
            return self.hashed_id(exchange.id)
        return exchange.id if by_engine or self.text(exchange.id) == exchange.id else _own_id(exchange)

    def _message(self, message: Message) -> Message:
        again = message.role in _STANDING and len(message.text) <= _STANDING_CHARS
        return Message(role=self._role(message.role), text=(self._standing if again else self.text)(message.text))

    def _role(self, role: str) -> str:
        return role if role in _ROLES else self.text(role)[:_MAX_ROLE_CHARS]

    def _optional(self, label: str | None) -> str | None:
        return None if label is None else self._label(label)

    def _short(self, label: str) -> str:
        """A label, redacted before it is cut, so that no half of a secret is left."""
        return self.text(label)[:_LABEL_CHARS]


def blank(exchange: Exchange) -> Exchange:
    """The exchange without anything that a client wrote: it still counts."""
    return replace(
        exchange,
        id=_own_id(exchange),
        path="",
        alias="",
        version="",
        outcome=Outcome.UNREADABLE,
        messages=(),
        answer="",
        reasoning="",
        finish_reason=None,
        user=None,
        conversation=None,
        template=None,
        template_version=None,
        tools=(),
        tool_calls=(),
    )


def _own_id(exchange: Exchange) -> str:
    return f"{_storable(exchange.worker)}-{exchange.seq}"


def _resolved(escape: re.Match[str]) -> str:
    letter = chr(int(escape[1], 16))
    return escape.group() if letter in '"\\\x7f' else letter


def _storable(text: str) -> str:
    return _UNSTORABLE.sub("�", text) if not text.isascii() or "\x00" in text else text


def _compile(pattern: str) -> Any:
    import re2

    if len(pattern) > MAX_PATTERN_CHARS:
        raise InvalidInput(
            f"a capture pattern has {len(pattern)} characters: write at most {MAX_PATTERN_CHARS} in each"
        )
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except (re2.error, UnicodeError) as error:
        raise InvalidInput(
            f"capture pattern {pattern!r} is not RE2 syntax ({_reason(error)}): correct it in `patterns`"
        ) from error
    if compiled.search("") is not None:
        raise InvalidInput(f"capture pattern {pattern!r} matches the empty text: write what it must find")
    return compiled


def _reason(error: Exception) -> str:
    first = error.args[0] if error.args else error
    return first.decode("utf-8", "replace") if isinstance(first, bytes) else str(first)
