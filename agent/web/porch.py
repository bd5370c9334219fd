"""What a request must be before any route sees it (pure ASGI).

Lives here: `Porch`: how large a body may be, how long it may take, that no other web page sends it, and that a browser
came by a name that is the agent's.
Comes in: the application. Goes out: the same, behind it; refusals read {"error": "one sentence"}.
Must never know: routes, except which few have rules of their own; what stands in a body.

A browser lets any page post to an address that its user can reach, and says in `Origin` which page that is. A page
whose own name is made to point at the agent (DNS rebinding) may even read what it answers; then `Host` bears that name.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024
READ_S = 30.0
"""Within this time a body must have come."""
_TOO_LARGE = f"the body is larger than {MAX_BODY_BYTES // 1024} KiB: send less at once"
_FOREIGN = "this was sent by a page of another origin: send it from a program, or from the agent's own page"
_UNKNOWN = "the agent does not go by the name {!r}: ask by its address, or add the name to `http.hosts`"
_SHOWN = ("/", "/v1/status")
_SHOWN_UNDER = "/reports/"
"""What a browser shows to people: it holds texts of users."""


class Porch:
    """ASGI: passes on what is small, timely and not another page's. `roomy` are paths with body limits of their own.

    `hosts` are the names, without port, by which browsers may come, beside `localhost` and every address.
    """

    def __init__(self, app: ASGIApp, roomy: Collection[str] = (), hosts: Collection[str] = ()) -> None:
        self._app = app
        self._roomy = frozenset(roomy)
        self._hosts = frozenset(host.lower().rstrip(".") for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if scope["method"] not in ("GET", "HEAD") and _foreign(headers):
            await _refuse(send, 403, _FOREIGN)
        elif _browsed(scope["path"], headers) and not self._knows(name := _host(headers)):
            await _refuse(send, 403, _UNKNOWN.format(name[:100]))
        elif scope["path"] in self._roomy:
            await self._app(scope, receive, send)
        elif _said_bytes(headers) > MAX_BODY_BYTES:
            await _refuse(send, 413, _TOO_LARGE)
        else:
            await self._app(scope, _bounded(receive), send)

    def _knows(self, name: str) -> bool:
        """True for an address, which no page can have for its name, and for the agent's names."""
        if not name or name == "localhost" or name.endswith(".localhost") or name in self._hosts:
            return True
        try:
            ip_address(name)
        except ValueError:
            return False
        return True


def _browsed(path: str, headers: Headers) -> bool:
    """True for what only people look at, and for whatever a page asks for."""
    return path in _SHOWN or path.startswith(_SHOWN_UNDER) or "origin" in headers


def _host(headers: Headers) -> str:
    """The name in `Host`, without port; empty when there is none, as only programs leave it out."""
    said = headers.get("host", "").strip().lower()
    name = said[1:].partition("]")[0] if said.startswith("[") else said.partition(":")[0]
    return name.rstrip(".")


def _foreign(headers: Headers) -> bool:
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:  # brackets around what is no address
        return True


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
