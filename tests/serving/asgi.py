"""A stub upstream and a stub client, to drive ASGI middleware without a server.

In: a request. Out: what the app saw and what the client got. Must never know: which middleware stands between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from serving.guard import ASGIApp, Message, Receive, Scope, Send

Headers = Sequence[tuple[bytes, bytes]]


@dataclass
class Upstream:
    """An app that reads the whole request, then answers in the chunks given; keeps what it saw.

    `before` is called with the index of each chunk before it is sent: the place to fail or to wait.
    """

    chunks: Sequence[bytes] = (b'{"ok":true}',)
    status: int = 200
    before: Callable[[int], Any] = lambda i: None
    bodies: list[bytes] = field(default_factory=list)
    scopes: list[Scope] = field(default_factory=list)
    ends: bool = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        self.scopes.append(scope)
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        for i, chunk in enumerate(self.chunks):
            if asyncio.iscoroutine(waits := self.before(i)):
                await waits
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if self.ends:
            await send({"type": "http.response.body", "body": b""})


@dataclass
class Answer:
    """What the client got."""

    messages: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        """The headers of the answer."""
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(m.get("body", b"") for m in self.messages[1:])


def scope_of(path: str, method: str = "POST", headers: Headers = (), **more: Any) -> Scope:
    """An HTTP scope as uvicorn makes it."""
    return {"type": "http", "method": method, "path": path, "root_path": "", "headers": list(headers), **more}


async def ask(
    app: ASGIApp, path: str, body: bytes | Sequence[bytes] = b"{}", *, method: str = "POST", headers: Headers = (),
    gone_after: int | None = None, send_fails_at: int | None = None, **more: Any,
) -> Answer:  # fmt: skip
    """Sends one request. The body may come in chunks; the client may leave after so many of them.

    `send_fails_at` makes the n-th message to the client raise `OSError`, as a strict server does.
    """
    chunks = [body] if isinstance(body, bytes) else list(body)
    messages: list[Message] = [
        {"type": "http.request", "body": chunk, "more_body": i + 1 < len(chunks)} for i, chunk in enumerate(chunks)
    ]
    if gone_after is not None:
        messages = messages[:gone_after]
    answer = Answer()

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if len(answer.messages) == send_fails_at:
            raise OSError("client left")
        answer.messages.append(message)

    await app(scope_of(path, method, headers, **more), receive, send)
    return answer
