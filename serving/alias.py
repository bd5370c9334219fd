"""The model name that clients use becomes the adapter version that answers.

In: a request body and the alias table that the agent pushed. Out: the same body with the value of its top-level
`model` replaced, every other byte untouched; the answer gets one more header, `x-trimtab-version`.
Must never know: what the versions are, whether they are loaded, how the weights came about. Standard library only.

The choice is weighted rendezvous hashing (Thaler and Ravishankar 1998; weights after Schindelhauer and Schomaker
2005): each version scores `weight / -ln(u)` with `u` drawn by hash from (user, version), and the highest answers.
A weight that grows can only win users over, so a growing canary moves nobody else.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from serving.body import find_value
from serving.guard import ASGIApp, Message, Receive, Scope, Send, bears_token, classify, path_of
from serving.listing import MODELS, list_models

Table = dict[str, dict[str, float]]

VERSION_HEADER = b"x-trimtab-version"
USER_HEADER = b"x-trimtab-user"
REQUEST_HEADER = b"x-request-id"

_WHO = frozenset((USER_HEADER, REQUEST_HEADER))
_LONGEST_USER = 128  # letters of a name worth remembering


def parse_table(message: Mapping[str, Any]) -> Table:
    """The table in a TABLE message. Raises `ValueError` when a weight is not a number of at least 0."""
    table: Table = {}
    aliases = message.get("aliases")
    if not isinstance(aliases, dict):
        raise ValueError("the alias table has no object `aliases`")  # noqa: TRY004 - a bad message, not a bad call
    for alias, weights in aliases.items():
        if not isinstance(weights, dict):
            raise ValueError(f"the weights of alias {alias!r} are not an object")  # noqa: TRY004 - as above
        if not all(isinstance(version, str) and version.isprintable() for version in weights):
            raise ValueError(f"alias {alias!r} names a version that cannot stand in a header")
        kept = {str(version): float(weight) for version, weight in weights.items()}
        if not all(math.isfinite(weight) and weight >= 0 for weight in kept.values()):
            raise ValueError(f"alias {alias!r} has a weight that is not a number of at least 0")
        table[str(alias)] = {version: weight for version, weight in kept.items() if weight > 0}
    return table


def choose(weights: Mapping[str, float], user: str) -> str | None:
    """The version that answers this user; None when no version has weight."""
    able = [version for version, weight in weights.items() if weight > 0]
    if len(able) <= 1:
        return able[0] if able else None
    best, best_score = None, -1.0
    for version in able:
        digest = blake2b(f"{version}\0{user}".encode("utf-8", "replace"), digest_size=8).digest()
        unit = (int.from_bytes(digest, "big") + 0.5) / 2.0**64
        score = weights[version] / -math.log(unit) if unit < 1.0 else math.inf
        if score > best_score:
            best, best_score = version, score
    return best


@lru_cache(maxsize=256)
def _quoted(version: str) -> bytes:
    return json.dumps(version).encode()


class Alias:
    """ASGI: rewrites the model of POST requests that name an alias, and shows the aliases among the models.

    Leaves `(alias, version)` in `scope["trimtab"]` for the tap. Sees the whole request body before the app does,
    as vLLM itself would; without a table it looks at nothing. Who bears `token` sees vLLM's own list of models.
    """

    def __init__(self, app: ASGIApp, token: bytes = b"", draw: Callable[[], float] = random.random) -> None:
        self._app = app
        self._token = token
        self._draw = draw
        self.table: Table = {}

    def adopt(self, message: Mapping[str, Any]) -> None:
        """The table that the agent pushed replaces the one before. Raises `ValueError`, and keeps the old, when bad."""
        self.table = table = parse_table(message)

        def chosen(alias: str, user: str) -> str | None:
            return choose(table[alias], user)

        self._choose = chosen
        self._choose_again = lru_cache(maxsize=4096)(chosen)  # users come again; their choice dies with the table

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        path = path_of(scope) if self.table and scope["type"] == "http" else ""
        if path and scope["method"] == "POST" and classify(path) != "admin":
            await self._answer(scope, receive, send)
        elif path == MODELS and scope["method"] == "GET" and not bears_token(scope["headers"], self._token):
            await list_models(self._app, scope, receive, send, self.table)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request that may name an alias."""
        message = await receive()
        messages = [message]
        if message.get("more_body"):
            await _read_on(messages, receive)
        rewritten = self._rewrite(messages, scope)
        if rewritten is None:
            await self._app(scope, _replay(messages, receive), send)
            return
        body, alias, version = rewritten
        scope = {**scope, "headers": _sized(scope["headers"], len(body)), "trimtab": (alias, version)}

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                mark = (VERSION_HEADER, version.encode())
                message = {**message, "headers": [*message.get("headers", ()), mark]}
            await send(message)

        whole: Message = {"type": "http.request", "body": body, "more_body": False}
        del message, messages, rewritten, body  # a long prompt is kept once while the app computes
        await self._app(scope, _replay([whole], receive), send_marked)

    def _rewrite(self, messages: list[Message], scope: Scope) -> tuple[bytes, str, str] | None:
        """The body with a version in it, the alias, the version; None when there is nothing to rewrite."""
        if messages[-1]["type"] != "http.request":  # the client left before the end
            return None
        body: bytes = messages[0].get("body", b"")
        if len(messages) > 1:
            body = b"".join(message.get("body", b"") for message in messages)
        found = find_value(body, "model")
        if found is None or (weights := self.table.get(found[2])) is None:
            return None
        start, end, alias = found
        if len(weights) > 1:
            user = find_value(body, "user")
            version = self._version(alias, user[2] if user else "", scope["headers"])
        else:
            version = next(iter(weights), None)
        if version is None:
            return None
        view = memoryview(body)  # the prompt is copied once
        return b"".join((view[:start], _quoted(version), view[end:])), alias, version

    def _version(self, alias: str, user: str, headers: Iterable[tuple[bytes, bytes]]) -> str | None:
        """Who answers: by the body's user, else the user header, else the request's id, else by chance."""
        if not user:
            said = {name: value for name, value in headers if name in _WHO}
            user = said.get(USER_HEADER, b"").decode("latin-1")
            if not user:
                request = said.get(REQUEST_HEADER, b"").decode("latin-1") or str(self._draw())
                return self._choose(alias, request)
        return self._choose_again(alias, user) if len(user) <= _LONGEST_USER else self._choose(alias, user)


async def _read_on(messages: list[Message], receive: Receive) -> None:
    """Reads the rest of the request's messages."""
    more = True
    while more:
        message = await receive()
        messages.append(message)
        more = message.get("more_body", False)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """A receive that first gives back what was read, then asks the real one."""
    waiting = iter(messages)

    async def replayed() -> Message:
        for message in waiting:
            return message
        return await receive()

    return replayed


def _sized(headers: list[tuple[bytes, bytes]], size: int) -> list[tuple[bytes, bytes]]:
    """The headers with the content length, where they state one, set to `size` bytes."""
    return [(b"content-length", str(size).encode()) if h[0] == b"content-length" else h for h in headers]
