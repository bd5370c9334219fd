"""Routes for exchanges that no tap has seen: `POST /v1/exchanges` and `POST /v1/traces`.

Lives here: what is HTTP about them: the token, sizes, gzip, who waits, which status says what.
Comes in: requests. Goes out: bodies to `Doors`, which the application is handed, and its answers.
Must never know: what stands in a body.

The event loop only reads, and slow senders hold up nobody. One thread of its own does the rest, batch after batch, so
that the intake of the taps never waits for a thread; more than a few batches at once are told to come again (429).
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from hmac import compare_digest
from typing import Any, Protocol, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect

from agent.types import InvalidInput, RemoteFault

MAX_BODY_BYTES = 32 * 1024 * 1024
"""Most of a body, as sent and unpacked."""
MAX_BATCHES = 4
"""Batches that may wait or be worked on at once; the next one gets 429."""
MAX_HELD_BYTES = MAX_BATCHES * MAX_BODY_BYTES
"""Most of all bodies together, as far as they have come; who would go beyond gets 429."""
MAX_GZIP_MEMBERS = 100
READ_S = 60.0
"""Within this time a body must have come."""
SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
PROTOBUF, JSON = "application/x-protobuf", "application/json"

T = TypeVar("T")


class Doors(Protocol):
    """Who takes the bodies; each call blocks. InvalidInput: the sender's fault; RemoteFault: come again."""

    def exchanges(self, body: bytes, source: str) -> Mapping[str, Any]:
        """Take JSON lines; the answer as JSON."""

    def traces(self, body: bytes, *, as_json: bool) -> bytes:
        """Take spans; the answer in OTLP."""

    def failure(self, message: str, *, as_json: bool) -> bytes:
        """A failure in OTLP."""


class Refused(Exception):
    """An answer that is no success; the text is one sentence for the sender."""

    def __init__(self, status: int, why: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(why)
        self.status = status
        self.headers = dict(headers or {})


class Turnstile:
    """Lets in a few batches at a time, once they are there: slow senders take no place, only what they have sent."""

    def __init__(self) -> None:
        self._inside = 0
        self._held_bytes = 0
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="trimtab-attach")

    @contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        """Room for one body: call it with each number of bytes more; Refused when all bodies take too much."""
        held_bytes = 0

        def more(nbytes: int) -> None:
            nonlocal held_bytes
            if self._held_bytes + nbytes > MAX_HELD_BYTES:
                raise Refused(429, "too many large batches are being sent: send this one again", {"retry-after": "2"})
            held_bytes += nbytes
            self._held_bytes += nbytes

        try:
            yield more
        finally:
            self._held_bytes -= held_bytes

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """A place for one batch, or Refused."""
        if self._inside >= MAX_BATCHES:
            raise Refused(429, f"{MAX_BATCHES} batches are under way: send this one again", {"retry-after": "2"})
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def work(self, call: Callable[[], T]) -> T:
        """Run in the one thread, with every failure as Refused."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._worker, call)
        except InvalidInput as why:
            raise Refused(400, str(why)) from why
        except RemoteFault as why:
            raise Refused(503, str(why), {"retry-after": f"{why.retry_after_s or 5:.0f}"}) from why
        except SQLAlchemyError as why:
            raise Refused(503, f"the store does not answer: {type(why).__name__}", {"retry-after": "5"}) from why


def attach(app: FastAPI, doors: Doors, token: str = "") -> None:
    """Add both routes. With a token they need `Authorization: Bearer`; without one they are open, like the rest."""
    turnstile = Turnstile()

    async def taken(request: Request, work: Callable[[bytes], T]) -> T:
        _permit(request, token)
        encoding = _encoding(request)
        with turnstile.holding() as more:
            body = await _read(request, more)
            async with turnstile.admitted():
                return await turnstile.work(lambda: work(_unpacked(body, encoding)))

    @app.post("/v1/exchanges")
    async def exchanges(request: Request) -> Response:
        try:
            source = _source(request)
            return JSONResponse(await taken(request, lambda body: doors.exchanges(_some(body), source)))
        except Refused as why:
            return JSONResponse({"error": str(why)}, why.status, headers=why.headers)

    @app.post("/v1/traces")
    async def traces(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        as_json = kind == JSON
        try:
            _known(kind)
            answer = await taken(request, lambda body: doors.traces(body, as_json=as_json))
            return Response(answer, media_type=kind)
        except Refused as why:
            said = doors.failure(str(why), as_json=as_json)
            return Response(said, why.status, why.headers, media_type=JSON if as_json else PROTOBUF)


def _permit(request: Request, token: str) -> None:
    if not token:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(given.strip().encode(), token.encode()):
        wanted = "this needs the header Authorization: Bearer with the agent's TRIMTAB_ATTACH_TOKEN"
        raise Refused(401, wanted, {"www-authenticate": "Bearer"})


def _known(kind: str) -> None:
    if kind not in (JSON, PROTOBUF):
        raise Refused(415, f"content-type must be {PROTOBUF} or {JSON}")


def _encoding(request: Request) -> str:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", ""):
        raise Refused(415, "content-encoding must be gzip or none")
    return encoding


def _source(request: Request) -> str:
    source = request.query_params.get("source", "http")
    if not SOURCE.fullmatch(source):
        raise Refused(400, "source must be a name of at most 40 letters, digits, dots, dashes and underscores")
    return source


async def _read(request: Request, more: Callable[[int], None]) -> bytes:
    """The body as sent. Reads no more than is allowed, and not for ever; `more` hears of each chunk."""
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in request.stream():
                more(len(chunk))
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise Refused(408, f"the body did not come within {READ_S:.0f} s") from None
    except ClientDisconnect:
        raise Refused(400, "the body ended early") from None
    return bytes(body)


def _unpacked(body: bytes, encoding: str) -> bytes:
    """The body without its gzip; one that would grow beyond the limit is stopped there."""
    if encoding != "gzip" or not body:
        return body
    out = bytearray()
    left = body
    try:
        for _ in range(MAX_GZIP_MEMBERS):
            member = zlib.decompressobj(wbits=31)
            out += member.decompress(left, MAX_BODY_BYTES + 1 - len(out))
            if len(out) > MAX_BODY_BYTES:
                raise _too_large()
            if not member.eof:
                raise InvalidInput("the gzip body ends early")
            left = member.unused_data
            if not left:
                return bytes(out)
    except zlib.error:
        raise InvalidInput("the body is not gzip, as its content-encoding says") from None
    raise InvalidInput(f"the body has more than {MAX_GZIP_MEMBERS} gzip members: pack it in one")


def _some(body: bytes) -> bytes:
    if not body.strip():
        raise InvalidInput("the body is empty: send one JSON object a line")
    return body


def _too_large() -> Refused:
    limit = MAX_BODY_BYTES // (1024 * 1024)
    return Refused(413, f"the body is larger than {limit} MiB, as sent or unpacked: send smaller batches")
