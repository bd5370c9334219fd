"""A client that costs little and looks closely: raw HTTP/1.1 over kept-alive connections, every event timed.

In: an address, bodies. Out: seconds to the first event and between events. Must never know: what is served.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")
_END = b"0\r\n\r\n"
_EVENT = b"\n\n"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs in uvloop where it is installed, as vLLM does."""
    factory = None
    if importlib.util.find_spec("uvloop"):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work)


@dataclass(slots=True)
class Timed:
    """One answer: status, head, seconds from the request's first byte to the first event, between events, to the end.

    Of an answer that is not streamed, the first byte of the body counts as its only event.
    """

    status: int = 0
    head: bytes = b""
    first_s: float = 0.0
    gaps_s: list[float] = field(default_factory=list)
    total_s: float = 0.0


class Connection:
    """One kept-alive connection."""

    def __init__(self, url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._host = urlsplit(url).netloc
        self._reader, self._writer = reader, writer

    async def ask(self, body: bytes, *, plain: bool, path: str = "/v1/chat/completions") -> Timed:
        """Sends one request and reads its answer to the end. Raises `EOFError` when the server hangs up."""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {self._host}\r\nx-bench-plain: {int(plain)}\r\naccept: */*\r\n"
            f"user-agent: bench\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        timed, begun = Timed(), perf_counter()
        self._writer.write(head.encode() + body)
        timed.head = await self._reader.readuntil(b"\r\n\r\n")
        timed.status = int(timed.head[9:12])
        length = _length(timed.head)
        if length is None:
            await self._events(timed, begun)
        else:
            await self._reader.readexactly(length)
            timed.first_s = perf_counter() - begun
        timed.total_s = perf_counter() - begun
        return timed

    async def _events(self, timed: Timed, begun: float) -> None:
        last, tail = 0.0, b""
        while True:
            data = await self._reader.read(1 << 16)
            if not data:
                raise EOFError("the server hung up in the middle of an answer")
            now, seen = perf_counter(), tail + data
            for _ in range(seen.count(_EVENT)):
                if last:
                    timed.gaps_s.append(now - last)
                else:
                    timed.first_s = now - begun
                last = now
            tail = seen[-1:] if seen.endswith(b"\n") and not seen.endswith(_EVENT) else b""
            if data.endswith(_END):
                return


def _length(head: bytes) -> int | None:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return None


@contextlib.asynccontextmanager
async def connected(url: str, n: int) -> AsyncIterator[list[Connection]]:
    """`n` connections to the server."""
    where = urlsplit(url)
    pairs = [await asyncio.open_connection(where.hostname, where.port, limit=1 << 20) for _ in range(n)]
    try:
        yield [Connection(url, *pair) for pair in pairs]
    finally:
        for _, writer in pairs:
            writer.close()
