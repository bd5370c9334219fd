"""What has arrived and is not stored yet: a queue bounded in bytes.

Lives here: `Inbox`, between the connections and the one task that stores. What was taken counts until released.
Comes in: captures with the link that brought them. Goes out: batches.
Must never know: how to store. A full inbox makes the links stop reading, and the taps keep what they have.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Inbox(Generic[T]):
    """First in, first out, in one event loop. `limit_bytes` may be passed by one item, so that any size fits."""

    def __init__(self, limit_bytes: int) -> None:
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._limit = limit_bytes
        self._came = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def put(self, item: T, nbytes: int) -> None:
        """Take an item, waiting for room."""
        while self._bytes >= self._limit:
            self._room.clear()
            await self._room.wait()
        self._items.append((item, nbytes))
        self._bytes += nbytes
        self._came.set()

    @property
    def held(self) -> tuple[int, int]:
        """Items that wait, and the bytes of these and of those taken but not released."""
        return len(self._items), self._bytes

    def release(self, nbytes: int) -> None:
        """Bytes that were taken are dealt with: there is room for others."""
        self._bytes -= nbytes
        if self._bytes < self._limit:
            self._room.set()

    async def take(self, most: int, within_s: float) -> list[tuple[T, int]]:
        """Up to `most` items with their sizes, sooner when there are so many, else `within_s` after the first came.

        An empty list when nothing came for `within_s`.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while len(self._items) < most and (left_s := until - loop.time()) > 0:
            had = bool(self._items)
            self._came.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._came.wait()
            except TimeoutError:
                break
            if not had and self._items:
                until = loop.time() + within_s
        return [self._items.popleft() for _ in range(min(most, len(self._items)))]
