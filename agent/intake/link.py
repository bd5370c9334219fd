"""What the intake knows of each connection, tap and exchange under way.

Lives here: the small records of `IntakeServer`, and what is done to one connection.
Comes in: stream writers, a tap's JSON. Goes out: the same, named.
Must never know: the store, batches, retries.
"""

from __future__ import annotations

import asyncio
import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath
from typing import Any

from agent.types import Exchange
from serving import wire

CLOSE_S = 1.0
MAX_COUNT = 2**48
"""More than any tap can count; sums of such fit the store's 63 bits."""
MAX_UNREAD_ACK_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Counts:
    """What has happened since the start. `stored` counts those acknowledged, ones sent twice too."""

    received: int = 0
    stored: int = 0
    unreadable: int = 0
    corrupt: int = 0
    store_faults: int = 0
    given_up: int = 0


@dataclass(slots=True, eq=False)
class Link:
    """One connection of one tap."""

    writer: asyncio.StreamWriter
    worker: str = ""

    def send(self, frame: bytes) -> None:
        """Give a frame to the transport; a tap that reads nothing is cut off."""
        if self.writer.is_closing():
            return
        if self.writer.transport.get_write_buffer_size() > MAX_UNREAD_ACK_BYTES:
            self.writer.transport.abort()
            return
        self.writer.write(frame)


@dataclass(frozen=True, slots=True)
class Held:
    """An exchange on its way into the store, the link that brought it and the bytes it took there."""

    exchange: Exchange
    link: Link
    nbytes: int


@dataclass(slots=True)
class Worker:
    """What a tap said of itself."""

    pid: int = 0
    assigned: int = 0
    dropped: int = 0
    noted: tuple[int, int, int] | None = None
    noted_at: datetime | None = None


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection, giving its last bytes a second to leave."""
    writer.close()
    try:
        async with asyncio.timeout(CLOSE_S):
            await writer.wait_closed()
    except OSError:  # TimeoutError is one
        writer.transport.abort()


def number(said: Mapping[str, Any], key: str) -> int:
    """The count under a key of a tap's message. Raises `WireFault` when it is none."""
    value = said.get(key)
    if not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise wire.WireFault(f"{key!r} is {value!r}, not a count")
    return value


def stand_in(worker: str, seq: int) -> wire.Capture:
    """A capture in place of one whose bytes are damaged: it has a number and nothing else."""
    return wire.Capture(
        worker=worker, seq=seq, started_at=math.nan, method="", path="", alias=None, version=None, status=0,
        outcome="error", headers={}, request=b"", response=b"", marks=(), request_cut=0, response_cut=0,
        total_us=0, dropped=0,
    )  # fmt: skip


def where(fault: Exception) -> str:
    """What kind of fault came from which line; never its message, which may quote texts."""
    at = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{type(fault).__name__} in {at.name}, line {at.lineno} of {PurePath(at.filename).name}"
