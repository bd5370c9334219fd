"""How long the event loop, which reads from the taps, is kept waiting.

Lives here: `Pulse`, a task that sleeps and sees how late it wakes.
Comes in: nothing. Goes out: the longest wait of about the last minute, in seconds.
Must never know: what else runs.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

EVERY_S = 0.5
KEPT = round(60 / EVERY_S)


class Pulse:
    """Run `beat` as a task of the loop that is to be watched; `lag_s` may be read from any thread."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._late: deque[float] = deque(maxlen=KEPT)

    @property
    def lag_s(self) -> float:
        """The longest wait among the last hundred or so."""
        return max(tuple(self._late), default=0.0)

    async def beat(self) -> None:
        """For ever, until cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(self._every_s)
            self._late.append(max(0.0, time.monotonic() - began - self._every_s))
