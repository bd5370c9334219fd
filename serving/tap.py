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
    name.encode(): wire.pack_text(name)
    for name in (
        "content-type",
        "user-agent",
        "x-request-id",
        "traceparent",
        "x-trimtab-user",
        "x-trimtab-conversation",
        "content-encoding",
        "x-trimtab-template",
        "x-trimtab-template-version",
    )
}
INTERNAL_HEADER = b"x-trimtab-internal"

_COMPLETE, _CLIENT_GONE, _ERROR = range(3)
_OVERHEAD_BYTES = 512
_MARK_BYTES = 12
_NAMELESS = (None, None)


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
        if scope["type"] != "http" or scope["method"] != "POST" or (path := path_of(scope)) not in TRAFFIC:
            await self._app(scope, receive, send)
            return
        self._spool.start()
        headers = self._kept(scope["headers"])
        if headers is None:
            await self._app(scope, receive, send)
            return
        copy = _Copy(self._spool, self._cap, path, scope.get("trimtab"), headers, receive, send)
        try:
            await self._app(scope, copy.receive, copy.send)
        finally:
            copy.end(_ERROR)

    def _kept(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]] | None:
        """The headers worth keeping; None for Trimtab's own request."""
        kept = []
        for name, value in headers:
            known = KEPT_HEADERS.get(name)
            if known is not None:
                kept.append((known, value))
            elif name == INTERNAL_HEADER and value == b"1" and bears_token(headers, self._token):
                return None
        return kept


class _Copy:
    """The state of one exchange. Passes each message on first, then copies it.

    What is done for every event of a stream is kept to the least: note the chunk and the time. The rest waits for
    the end.
    """

    __slots__ = (
        "_cap", "_ended", "_gone", "_headers", "_named", "_path", "_receive", "_request", "_request_cut",
        "_request_room", "_response", "_response_cut", "_room", "_send", "_spool", "_started", "_started_at",
        "_status", "_times",
    )  # fmt: skip

    def __init__(
        self,
        spool: Spool,
        cap: int,
        path: str,
        named: tuple[str, str] | None,
        headers: list[tuple[bytes, bytes]],
        receive: Receive,
        send: Send,
    ) -> None:
        self._spool = spool
        self._cap = self._request_room = self._room = cap  # bytes that may yet be copied, of each side
        self._path = path
        self._named = named
        self._headers = headers
        self._receive = receive
        self._send = send
        self._request: list[bytes] = []
        self._response: list[bytes] = []
        self._times: list[float] = []  # when each copied chunk of the answer had passed
        self._request_cut = self._response_cut = self._status = 0
        self._ended = self._gone = False
        self._started_at = time()
        self._started = perf_counter()

    async def receive(self) -> Message:
        message = await self._receive()
        try:
            if message["type"] != "http.request":
                self._gone = True
            elif body := message.get("body"):
                self._request_room -= len(body)
                if self._request_room < 0:
                    over = min(-self._request_room, len(body))
                    self._request_room += over
                    self._request_cut += over
                    body = body[: len(body) - over]
                self._request.append(body)
        except Exception:  # noqa: BLE001 - the tap never raises into a request; the fault is counted
            self._spool.faults += 1
        return message

    async def send(self, message: Message) -> None:
        try:
            await self._send(message)
        except OSError:
            self._gone = True
            raise
        try:
            if body := message.get("body"):
                self._room -= len(body)
                if self._room >= 0:
                    self._response.append(body)
                    self._times.append(perf_counter())
                else:
                    self._keep_part(body)
            if not message.get("more_body"):
                self._head_or_end(message)
        except Exception:  # noqa: BLE001 - as above
            self._spool.faults += 1

    def _keep_part(self, body: bytes) -> None:
        """Keeps of a chunk what there is room for, and counts the rest."""
        over = min(-self._room, len(body))
        self._room += over
        self._response_cut += over
        if over < len(body):
            self._response.append(body[: len(body) - over])
            self._times.append(perf_counter())

    def _head_or_end(self, message: Message) -> None:
        """A message that is no event of a stream."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
        elif message["type"] == "http.response.body":
            self.end(_COMPLETE)

    def end(self, outcome: int) -> None:
        """Gives the copy away, once; the first end counts. A client that left makes any outcome `client_gone`."""
        if self._ended:
            return
        self._ended = True
        spool, chunks = self._spool, self._response
        request_bytes, response_bytes = self._cap - self._request_room, self._cap - self._room
        seq = spool.admit(request_bytes + response_bytes + _MARK_BYTES * len(chunks) + _OVERHEAD_BYTES)
        if not seq:
            return
        try:
            alias, version = self._named or _NAMELESS
            frame = wire.pack(
                wire.pack_names(spool.worker, "POST", self._path, alias, version), seq, self._started_at,
                self._started, perf_counter(), self._status, _CLIENT_GONE if self._gone else outcome,
                [wire.pack_header(*header) for header in self._headers], self._request, request_bytes,
                chunks, response_bytes, self._times, map(len, chunks), self._request_cut, self._response_cut,
                spool.dropped,
            )  # fmt: skip
            spool.put(seq, frame)
        except Exception:  # noqa: BLE001 - as above, and the exchange counts as dropped
            spool.forfeit()
