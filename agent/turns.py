"""Which exchanges are turns of one conversation, where no client says so.

Lives here: `Turns`, and `completed` for who sees all that is past. Comes in: exchanges, in the order in which they were
answered. Goes out: the same, and each that goes on from another's answer with that one's conversation.
Must never know: what is done with conversations.

Clients of chat APIs send all that was said with each turn. So a request in whose history the user said what was
answered here before is the next turn of that exchange. Examples in a prompt are a history too, but nobody asked them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b
from threading import Lock

from agent.origin import CHATS
from agent.types import Exchange

MOST_ANSWERS = 5_000
"""Answers whose next turn is waited for."""


class Turns:
    """Keeps a digest of what users had said up to each of the last `most` answers; no text."""

    def __init__(self, most: int = MOST_ANSWERS) -> None:
        self._most, self._lock = most, Lock()
        self._conversations: OrderedDict[bytes, str] = OrderedDict()

    def joined(self, exchange: Exchange) -> Exchange:
        """The exchange with its conversation: the id of the first turn, which itself bears none.

        What names one, or is no chat, stays as it is. Answers are not compared, since clients trim them, and tool calls
        come back in another form; nor are system prompts, some of which hold the time.
        """
        if exchange.conversation is not None or exchange.path not in CHATS or not exchange.messages:
            return exchange
        asked, before = blake2b(digest_size=16), b""
        for message in exchange.messages:
            if message.role == "user":
                asked.update(f"{message.text.strip()}\0".encode("utf-8", "replace"))
            elif message.role == "assistant":
                before = asked.digest()
        with self._lock:
            conversation = self._conversations.get(before)
            self._conversations[asked.digest()] = conversation or exchange.id
            if len(self._conversations) > self._most:
                self._conversations.popitem(last=False)
        return replace(exchange, conversation=conversation) if conversation else exchange


def completed(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """All of a stream that is past: first turns bear the conversation too, and so do turns that were stored without."""
    turns, names = Turns(most=max(len(exchanges), 1)), dict[str, str]()
    roots = [turns.joined(replace(exchange, conversation=None)).conversation or exchange.id for exchange in exchanges]
    for exchange, root in zip(exchanges, roots, strict=True):
        if root != exchange.id:
            names.setdefault(root, exchange.conversation or root)
    return [
        replace(exchange, conversation=names[root]) if exchange.conversation is None and root in names else exchange
        for exchange, root in zip(exchanges, roots, strict=True)
    ]
