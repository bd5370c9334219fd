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
from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from serving.guard import ASGIApp, Message, Receive, Scope, Send, classify, path_of

Table = dict[str, dict[str, float]]

VERSION_HEADER = b"x-trimtab-version"
USER_HEADER = b"x-trimtab-user"

_SPACE = b" \t\r\n"
_OPENING, _CLOSING = (b"{", b"["), (b"}", b"]")
_BACKSLASH = ord("\\")
_LONGEST_KEY = 64  # bytes of a wanted key, each letter written as an escape, quotes included


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


def find_values(body: bytes, keys: tuple[str, ...]) -> dict[str, tuple[int, int, str]]:
    """Where the string values of top-level keys stand: key -> (start, end, value), quotes inside the span.

    Walks from string to string at the speed of `bytes.find`, no JSON tree; what stands between two strings tells the
    depth. The last of equal keys wins, as in `json.loads`. What is no JSON object in UTF-8 yields nothing.
    """
    found: dict[str, tuple[int, int, str]] = {}
    depth = at = 0
    key: str | None = None  # the wanted key that ended just before `at`
    while (start := body.find(b'"', at)) >= 0:
        end = _string_end(body, start)
        if end < 0:
            return {}
        between = body[at:start].strip(_SPACE)
        is_value = between == b":"
        if not is_value and between != b",":
            if key is not None and between[:1] == b":":
                found.pop(key, None)  # its value is no string
            depth += sum(map(between.count, _OPENING)) - sum(map(between.count, _CLOSING))
        if is_value and key is not None:
            found[key] = (start, end, _text(body[start:end]))
        key = None
        if not is_value and depth == 1 and end - start <= _LONGEST_KEY:
            name = _text(body[start:end])
            key = name if name in keys else None
        at = end
    if key is not None:
        found.pop(key, None)
    return found


def _string_end(body: bytes, start: int) -> int:
    """The index behind the closing quote of the string that opens at `start`; -1 when it never closes."""
    end = body.find(b'"', start + 1)
    while end > 0 and body[end - 1] == _BACKSLASH:
        slashes = end - 1
        while body[slashes - 1] == _BACKSLASH:
            slashes -= 1
        if (end - slashes) % 2 == 0:
            break
        end = body.find(b'"', end + 1)
    return end + 1 if end > 0 else -1


def _text(token: bytes) -> str:
    """What a JSON string says; nothing when it is none."""
    try:
        return token[1:-1].decode() if b"\\" not in token else str(json.loads(token))
    except ValueError:
        return ""


@lru_cache(maxsize=256)
def _quoted(version: str) -> bytes:
    return json.dumps(version).encode()


class Alias:
    """ASGI: rewrites the model of POST requests that name an alias.

    Leaves `(alias, version)` in `scope["trimtab"]` for the tap. Sees the whole request body before the app does,
    as vLLM itself would; without a table it looks at nothing.
    """

    def __init__(self, app: ASGIApp, draw: Callable[[], float] = random.random) -> None:
        self._app = app
        self._draw = draw
        self._table: Table = {}

    def adopt(self, message: Mapping[str, Any]) -> None:
        """The table that the agent pushed replaces the one before. Raises `ValueError`, and keeps the old, when bad."""
        self._table = parse_table(message)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        table = self._table
        if not table or scope["type"] != "http" or scope["method"] != "POST" or classify(path_of(scope)) == "admin":
            await self._app(scope, receive, send)
            return
        messages, body = await _read(receive)
        rewritten = None if body is None else self._rewrite(body, scope, table)
        if rewritten is None:
            await self._app(scope, _replay(messages, receive), send)
            return
        body, alias, version = rewritten
        scope = {**scope, "headers": _sized(scope["headers"], len(body)), "trimtab": (alias, version)}
        mark = (VERSION_HEADER, version.encode("utf-8"))

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), mark]}
            await send(message)

        whole: Message = {"type": "http.request", "body": body, "more_body": False}
        await self._app(scope, _replay([whole], receive), send_marked)

    def _rewrite(self, body: bytes, scope: Scope, table: Table) -> tuple[bytes, str, str] | None:
        found = find_values(body, ("model", "user"))
        if "model" not in found:
            return None
        start, end, alias = found["model"]
        if alias not in table:
            return None
        user = found["user"][2] if "user" in found else ""
        user = user or next((v.decode("latin-1") for k, v in scope["headers"] if k == USER_HEADER), "")
        version = choose(table[alias], user or str(self._draw()))
        if version is None:
            return None
        return body[:start] + _quoted(version) + body[end:], alias, version


async def _read(receive: Receive) -> tuple[list[Message], bytes | None]:
    """The request's messages to its end, and its body; None for the body when the client left before the end."""
    messages: list[Message] = []
    chunks: list[bytes] = []
    while True:
        message = await receive()
        messages.append(message)
        if message["type"] != "http.request":
            return messages, None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return messages, chunks[0] if len(chunks) == 1 else b"".join(chunks)


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
    return [(k, str(size).encode() if k == b"content-length" else v) for k, v in headers]
