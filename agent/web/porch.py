"""What a request must be before any route sees it (pure ASGI).

Lives here: `Porch`: how large a body may be, how long it may take, and that no other web page sends it.
Comes in: the application. Goes out: the same, behind it; refusals read {"error": "one sentence"}.
Must never know: routes, except which few have rules of their own; what stands in a body.

A browser lets any page post to an address that its user can reach, and says in `Origin` which page that is.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024
READ_S = 30.0
"""Within this time a body must have come."""
_TOO_LARGE = f"the body is larger than {MAX_BODY_BYTES // 1024} KiB: send less at once"
_FOREIGN = "this was sent by a page of another origin: send it from a program, or from the agent's own page"


class Porch:
    """ASGI: passes on what is small, timely and not another page's. `roomy` are paths with body limits of their own."""

    def __init__(self, app: ASGIApp, roomy: Collection[str] = ()) -> None:
        self._app = app
        self._roomy = frozenset(roomy)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD") and _foreign(headers):
            await _refuse(send, 403, _FOREIGN)
        elif scope["path"] in self._roomy:
            await self._app(scope, receive, send)
        elif _said_bytes(headers) > MAX_BODY_BYTES:
            await _refuse(send, 413, _TOO_LARGE)
        else:
            await self._app(scope, _bounded(receive), send)


def _foreign(headers: Headers) -> bool:
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()


def _said_bytes(headers: Headers) -> int:
    said = headers.get("content-length", "")
    return int(said[:20]) if said.isdecimal() else 0


def _bounded(receive: Receive) -> Receive:
    """The same, refusing a body that grows too large or does not come."""
    due_at = asyncio.get_running_loop().time() + READ_S
    seen, whole = 0, False

    async def bounded() -> Message:
        nonlocal seen, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(due_at):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"the body did not come within {READ_S:.0f} s") from None
        seen += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if seen > MAX_BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return bounded


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"error": why}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
