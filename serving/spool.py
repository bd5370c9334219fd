"""Carries captures to the agent's unix socket and forgets each one only when the agent has it safe.

In: packed frames from the tap, ACK and TABLE frames from the agent. Out: frames on the socket, counters.
Must never know: HTTP, what is in a frame. Never blocks, never raises into a request. Standard library only.

A frame waits in a bounded buffer until the agent acknowledges it; after a reconnect all that wait are sent again,
in order. A full buffer drops the newest and counts it. Each exchange takes a number when it ends, a dropped one
too, so what is lost is always the last number less what is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from serving import wire

FLUSH_S = 0.005
BATCH_BYTES = 256 * 1024
STATS_EVERY_S = 1.0
HEARD_FRAME_BYTES = 4 * 1024 * 1024  # the longest frame that an agent may send: a table, a list of numbers
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.05, 2.0


class Spool:
    """One per API process. All methods belong to one event loop; `start` may be called as often as one likes."""

    def __init__(
        self,
        path: str,
        worker: str,
        buffer_bytes: int,
        on_table: Callable[[dict[str, Any]], None] = lambda _table: None,
    ) -> None:
        self.path = path
        self.worker = worker
        self.seq = 0
        self.dropped = 0
        self.faults = 0
        self.held_bytes = 0
        self._room = buffer_bytes
        self._on_table = on_table
        self._unacked: dict[int, wire.Frame] = {}
        self._unsent: deque[int] = deque()
        self._link: _Link | None = None
        self._flush_due = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    # -- what the tap calls -------------------------------------------------------------------------------

    def admit(self, nbytes: int) -> int:
        """The number of the exchange that just ended; 0 when it takes too much room and counts as dropped."""
        self.seq += 1
        if self.held_bytes + nbytes > self._room:
            self.dropped += 1
            return 0
        return self.seq

    def put(self, seq: int, frame: wire.Frame) -> None:
        """Takes the frame of an admitted number; it goes out within a few milliseconds."""
        self._unacked[seq] = frame
        self.held_bytes += frame[0]
        self._unsent.append(seq)
        if self._link is not None and not self._flush_due and self._loop is not None:
            self._flush_due = True
            self._loop.call_later(FLUSH_S, self.flush)

    def forfeit(self) -> None:
        """An admitted number whose frame could not be made: counted as dropped, and as a fault."""
        self.dropped += 1
        self.faults += 1

    # -- the life of the connection -------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to connect, in the running loop; does nothing when it already has."""
        if self._task is None or self._task.done():
            self._loop = asyncio.get_running_loop()
            self._task = self._loop.create_task(self._keep_connected(), name="trimtab-spool")

    async def stop(self) -> None:
        """Sends what it can at once, without waiting for anybody, and closes."""
        self.flush()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._link is not None:
            self._link.close()

    @property
    def waiting(self) -> int:
        """Exchanges that the agent has not acknowledged."""
        return len(self._unacked)

    async def _keep_connected(self) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = BACKOFF_FIRST_S
        while True:
            link, begun = _Link(self), loop.time()
            with contextlib.suppress(OSError, ValueError):
                await loop.create_unix_connection(lambda link=link: link, self.path)  # type: ignore[misc]
                while not link.gone.is_set():
                    self._send_stats()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(STATS_EVERY_S):  # `wait_for` of 3.11 may swallow a cancellation
                            await link.gone.wait()
            # an agent that hangs up at once is as good as none: without a pause all would be sent to it for ever
            lasted = link.made and loop.time() - begun >= BACKOFF_LAST_S
            backoff_s = BACKOFF_FIRST_S if lasted else min(2 * backoff_s, BACKOFF_LAST_S)
            await asyncio.sleep(backoff_s)

    # -- what the link calls ------------------------------------------------------------------------------

    def on_connected(self, link: _Link) -> None:
        """A new connection: says who speaks, then sends again all that is not acknowledged."""
        self._link = link
        self._unsent = deque(self._unacked)
        link.write(wire.encode_hello(self.worker, os.getpid()))
        self._send_stats()
        self.flush()

    def on_lost(self, link: _Link) -> None:
        """The connection is gone; what is not acknowledged waits for the next."""
        if self._link is link:
            self._link = None

    def _send_stats(self) -> None:
        if self._link is not None and self._link.open:
            self._link.write(wire.encode_stats(self.seq, self.dropped))

    def flush(self) -> None:
        """Sends what waits, as far as the socket takes it; the socket asks for more when it has room again."""
        self._flush_due = False
        while self._link is not None and self._link.open and self._unsent:
            batch: list[bytes] = []
            size = 0
            while self._unsent and size < BATCH_BYTES:
                frame = self._unacked.get(self._unsent.popleft())
                if frame is not None:
                    size += frame[0]
                    batch += frame[1]
            self._link.writelines(batch)

    def on_frame(self, kind: int, payload: bytes) -> None:
        """Obeys one frame of the agent; an unknown kind is passed over, for agents newer than this tap."""
        if kind == wire.ACK:
            for seq in wire.decode_json(payload).get("seqs", ()):
                frame = self._unacked.pop(seq, None)
                if frame is not None:
                    self.held_bytes -= frame[0]
        elif kind == wire.TABLE:
            self._on_table(wire.decode_json(payload))


class _Link(asyncio.Protocol):
    """One connection; a new one is made for each attempt."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._decoder = wire.Decoder(HEARD_FRAME_BYTES)
        self._transport: asyncio.Transport | None = None
        self.gone = asyncio.Event()
        self.open = False
        self.made = False

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def writelines(self, batch: list[bytes]) -> None:
        """Hands the pieces of several frames to the socket, without joining them where the loop knows how."""
        if self._transport is not None:
            self._transport.writelines(batch)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(high=4 * BATCH_BYTES)
        self.open = self.made = True
        self._spool.on_connected(self)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.open = False
        self.gone.set()
        self._spool.on_lost(self)

    def pause_writing(self) -> None:
        self.open = False

    def resume_writing(self) -> None:
        self.open = True
        self._spool.flush()

    def data_received(self, data: bytes) -> None:
        """A frame that makes no sense is counted; a stream that makes none is closed and made anew."""
        try:
            for kind, payload in self._decoder.feed(data):
                try:
                    self._spool.on_frame(kind, payload)
                except Exception:  # noqa: BLE001 - whatever the other side says, the server lives on
                    self._spool.faults += 1
        except wire.WireFault:
            self._spool.faults += 1
            self.close()
