"""Which model names may be stored of a request that failed (pure).

Lives here: `Models`.
Comes in: alias tables, exchanges. Goes out: the same exchanges; of failed ones a name that nobody knows is `other`.
Must never know: redaction, the store.

A name that the engine answered, or that the alias table has, is a model's. Any other is free text of whoever asked: it
would be stored although no text may be, and be counted under its own label for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from agent.types import Exchange

OTHER = "other"
MAX_LEARNT = 1000
_GOOD = 200


class Models:
    """The names known so far; `known` are those that the settings say."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        self._known = {"", OTHER, *known}

    def learn(self, aliases: Mapping[str, Mapping[str, float]]) -> None:
        """Take the names of an alias table."""
        self._known |= {*aliases, *(version for weights in aliases.values() for version in weights)}

    def named(self, exchange: Exchange, *, resolved: bool) -> Exchange:
        """The exchange with names that may be stored. `resolved`: the tap found the version by its alias table."""
        names = {exchange.alias, exchange.version}
        if resolved or names <= self._known:
            return exchange
        if exchange.status == _GOOD:
            if len(self._known) < MAX_LEARNT:
                self._known |= names
            return exchange
        return replace(exchange, alias=self._or_other(exchange.alias), version=self._or_other(exchange.version))

    def _or_other(self, name: str) -> str:
        return name if name in self._known else OTHER
