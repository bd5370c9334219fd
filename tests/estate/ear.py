"""A stand-in for the agent's end of the socket: hears frames, keeps captures, acknowledges when told to.

In: a socket path. Out: what the tap said. Must never know: what becomes of captures in the real agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from serving import wire


class Ear:
    """Listens in the running loop between `open` and `close`; may be opened again, as an agent that restarts."""

    def __init__(self, path: Path, *, ack: bool = True) -> None:
        self.path = path
        self.ack = ack
        self.hellos: list[dict[str, Any]] = []
        self.captures: list[wire.Capture] = []
        self.stats: list[dict[str, Any]] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def open(self) -> None:
        """Begins to listen."""
        self.path.unlink(missing_ok=True)
        self._closed = False
        self._server = await asyncio.start_unix_server(self._accept, self.path)

    async def close(self) -> None:
        """Hangs up on everybody, those too who are at the door, and stops to listen."""
        self._closed = True
        for writer in list(self._writers):
            writer.transport.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Knows a caller from the first moment: a task that is cancelled before it began would leave it open."""
        if self._closed:
            writer.transport.abort()
            return
        self._writers.add(writer)
        task = asyncio.create_task(self._listen(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = wire.Decoder()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                for kind, payload in decoder.feed(data):
                    self._heard(kind, payload, writer)
        self._writers.discard(writer)
        writer.close()

    def _heard(self, kind: int, payload: bytes, writer: asyncio.StreamWriter) -> None:
        if kind == wire.HELLO:
            self.hellos.append(wire.decode_json(payload))
        elif kind == wire.STATS:
            self.stats.append(wire.decode_json(payload))
        elif kind == wire.EXCHANGE:
            capture = wire.decode_capture(payload)
            self.captures.append(capture)
            if self.ack:
                writer.write(wire.encode_ack([capture.seq]))

    def say(self, frame: bytes) -> None:
        """Sends a frame to every tap."""
        for writer in self._writers:
            writer.write(frame)

    @property
    def seqs(self) -> list[int]:
        """The numbers heard, in order, resends included."""
        return [capture.seq for capture in self.captures]


async def until(true: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Waits in small steps until something is true. Raises `TimeoutError` when it never is."""
    async with asyncio.timeout(timeout_s):
        while not true():  # noqa: ASYNC110 - any condition at all has no event
            await asyncio.sleep(0.005)


class ThreadedEar:
    """An `Ear` in a thread of its own, for tests that block."""

    def __init__(self, path: Path) -> None:
        self.ear = Ear(path)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def _do(self, what: Any) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(5.0)

    def push_table(self, aliases: Mapping[str, Mapping[str, float]]) -> None:
        """Sends the alias table to every tap."""
        self._loop.call_soon_threadsafe(self.ear.say, wire.encode_table(aliases))

    def wait(self, true: Callable[[Ear], bool], timeout_s: float = 30.0) -> None:
        """Blocks until something is true of the ear. Raises `TimeoutError` when it never is."""
        deadline = time.monotonic() + timeout_s
        while not true(self.ear):
            if time.monotonic() > deadline:
                raise TimeoutError(f"heard only {self.ear.seqs}")
            time.sleep(0.01)

    @contextlib.contextmanager
    def listening(self) -> Iterator[ThreadedEar]:
        """Open for the length of the block."""
        self._thread.start()
        self._do(self.ear.open())
        try:
            yield self
        finally:
            self._do(self.ear.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5.0)
            self._loop.close()
