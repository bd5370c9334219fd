"""Copies each exchange on its way through, bytes untouched, and gives the copy to the spool.

In: ASGI traffic of the traffic paths. Out: the same traffic, and one packed capture per exchange.
Must never know: what the bytes mean, who reads the copies. Never raises, never waits, never copies credentials:
of the headers only `KEPT_HEADERS` are taken. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter, time

from serving import wire
from serving.guard import TRAFFIC, ASGIApp, Message, Receive, Scope, Send, bears_token, path_of
from serving.spool import Spool

KEPT_HEADERS = {
    name.encode(): name
    for name in (
        "content-type",
        "user-agent",
        "x-request-id",
        "traceparent",
        "x-trimtab-user",
        "x-trimtab-conversation",
    )
}
INTERNAL_HEADER = b"x-trimtab-internal"

_COMPLETE, _CLIENT_GONE, _ERROR = range(3)
_OVERHEAD_BYTES = 512
_U32_MAX = 0xFFFFFFFF


class Tap:
    """ASGI: captures POSTs of the traffic paths, up to `body_cap_bytes` of each body.

    A request with `x-trimtab-internal: 1` and the admin token is Trimtab's own and is not captured.
    """

    def __init__(self, app: ASGIApp, spool: Spool, body_cap_bytes: int, token: bytes = b"") -> None:
        self._app = app
        self._spool = spool
        self._cap = body_cap_bytes
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or scope["method"] != "POST" or path_of(scope) not in TRAFFIC:
            await self._app(scope, receive, send)
            return
        self._spool.start()
        headers = self._kept(scope["headers"])
        if headers is None:
            await self._app(scope, receive, send)
            return
        copy = _Copy(self._spool, self._cap, scope, headers, receive, send)
        try:
            await self._app(scope, copy.receive, copy.send)
        finally:
            copy.end(_CLIENT_GONE if copy.gone else _ERROR)

    def _kept(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]] | None:
        """The headers worth keeping; None for Trimtab's own request."""
        kept = []
        for name, value in headers:
            known = KEPT_HEADERS.get(name)
            if known is not None:
                kept.append((known, value.decode("latin-1")))
            elif name == INTERNAL_HEADER and value == b"1" and bears_token(headers, self._token):
                return None
        return kept


class _Copy:
    """The state of one exchange. Passes each message on first, then copies it."""

    __slots__ = (
        "_cap", "_ended", "_headers", "_receive", "_request", "_request_bytes", "_request_cut",
        "_response", "_response_bytes", "_response_cut", "_scope", "_send", "_spool", "_started", "_started_at",
        "_status", "_times", "gone",
    )  # fmt: skip

    def __init__(
        self,
        spool: Spool,
        cap: int,
        scope: Scope,
        headers: list[tuple[str, str]],
        receive: Receive,
        send: Send,
    ) -> None:
        self._spool = spool
        self._cap = cap
        self._scope = scope
        self._headers = headers
        self._receive = receive
        self._send = send
        self._started_at = time()
        self._started = perf_counter()
        self._request: list[bytes] = []
        self._response: list[bytes] = []
        self._times: list[float] = []  # when each copied chunk had passed
        self._request_bytes = self._request_cut = self._response_bytes = self._response_cut = 0
        self._status = 0
        self._ended = False
        self.gone = False

    async def receive(self) -> Message:
        message = await self._receive()
        try:
            if message["type"] != "http.request":
                self.gone = True
            elif body := message.get("body"):
                room = self._cap - self._request_bytes
                piece = body if len(body) <= room else body[:room]
                self._request.append(piece)
                self._request_bytes += len(piece)
                self._request_cut += len(body) - len(piece)
        except Exception:  # noqa: BLE001 - the tap never raises into a request; the fault is counted
            self._spool.faults += 1
        return message

    async def send(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            self.gone = True
            raise
        try:
            if message["type"] == "http.response.body":
                if body := message.get("body"):
                    self._response_bytes += len(body)
                    if self._response_bytes > self._cap:
                        over = min(self._response_bytes - self._cap, len(body))
                        self._response_bytes -= over
                        self._response_cut += over
                        body = body[: len(body) - over]
                    if body:
                        self._response.append(body)
                        self._times.append(perf_counter())
                if not message.get("more_body"):
                    self.end(_CLIENT_GONE if self.gone else _COMPLETE)
            elif message["type"] == "http.response.start":
                self._status = message["status"]
        except Exception:  # noqa: BLE001 - as above
            self._spool.faults += 1

    def end(self, outcome: int) -> None:
        """Gives the copy away, once; the first end counts."""
        if self._ended:
            return
        self._ended = True
        spool, chunks = self._spool, self._response
        seq = spool.admit(self._request_bytes + self._response_bytes + 8 * len(chunks) + _OVERHEAD_BYTES)
        if not seq:
            return
        try:
            started = self._started
            total_us = int((perf_counter() - started) * 1e6)
            marks = [0] * (2 * len(chunks))
            marks[::2] = [int((at - started) * 1e6) for at in self._times]
            marks[1::2] = map(len, chunks)
            if total_us > _U32_MAX:  # longer than 71 minutes
                marks = [min(n, _U32_MAX) for n in marks]
            alias, version = self._scope.get("trimtab", (None, None))
            frame = wire.pack(
                spool.worker, seq, self._started_at, self._scope["method"], path_of(self._scope), alias, version,
                self._status, outcome, self._headers, self._request, self._request_bytes, self._response,
                self._response_bytes, marks, self._request_cut, self._response_cut, total_us, spool.dropped,
            )  # fmt: skip
            spool.put(seq, frame)
        except Exception:  # noqa: BLE001 - as above, and the exchange counts as dropped
            spool.forfeit()
