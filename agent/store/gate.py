"""Where exchanges enter the store, and what of them when the disk is nearly full.

Lives here: `TextGate`, which stores exchanges without text while there is no room, and says so.
Comes in: redacted exchanges, how to measure one, how much room there is, the time. Goes out: rows in the store.
Must never know: where the exchanges come from, what is measured.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Lock

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from agent.store.convert import without_text
from agent.store.dialect import is_full
from agent.store.store import Store
from agent.types import Exchange, Features

RESUME_RATIO = 1.5
"""Text is stored again once there is so many times the room below which it stopped: no flicker at the edge."""
HOLD_FIRST_S, HOLD_LAST_S = 60.0, 3600.0
"""How long text stays away after a write failed although there seemed to be room (a quota, a broken disk)."""
PAUSED = "paused"
_MB = 1_000_000

log = logging.getLogger(__name__)


class TextGate:
    """Stores exchanges; without their text while less than `min_free_bytes` are free or a write found no room.

    `measure` gives the features that the text had, so that profiles go on. `free_bytes` asks the file system;
    `now` dates what is said, `clock` (seconds, never set back) measures how long texts stay away.
    """

    def __init__(
        self,
        store: Store,
        *,
        min_free_bytes: int,
        measure: Callable[[Exchange], Features],
        free_bytes: Callable[[], int],
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.paused = False
        self.without_text = 0
        """Exchanges stored without their text by this process."""
        self._store, self._min_free_bytes = store, min_free_bytes
        self._measure, self._free_bytes = measure, free_bytes
        self._now, self._clock = now, clock
        self._hold_s = HOLD_FIRST_S
        self._held_until: float | None = None
        self._unsaid: list[tuple[str, datetime]] = []
        self._lock = Lock()

    def add_exchanges(self, exchanges: Sequence[Exchange]) -> int:
        """Store a batch, as `Store.add_exchanges`. Raises when there is no room even for the numbers."""
        self.look()
        if not self.paused:
            try:
                return self._store.add_exchanges(exchanges)
            except DBAPIError as fault:
                if not is_full(fault):
                    raise
                self._no_room(fault)
        bare = [self._bare(exchange) for exchange in exchanges]
        stored = self._store.add_exchanges(bare)
        self.without_text += sum(exchange.text_gone == PAUSED for exchange in bare)
        return stored

    def look(self) -> None:
        """Compare the room with the bounds; called for every batch, and by the janitor when there is no traffic."""
        with self._lock:
            free, now = self._free_bytes(), self._now()
            if not self.paused and free < self._min_free_bytes:
                self._pause(f"{free / _MB:.0f} MB are free, {self._min_free_bytes / _MB:.0f} MB must be", now)
            elif self.paused and free >= RESUME_RATIO * self._min_free_bytes and self._over():
                self.paused = False
                self._say(f"there is room again ({free / _MB:.0f} MB): texts are stored", now)
            self._flush()

    def _no_room(self, fault: DBAPIError) -> None:
        with self._lock:
            moment = self._clock()
            if self._held_until is not None and moment - self._held_until > HOLD_LAST_S:
                self._hold_s = HOLD_FIRST_S
            self._held_until = moment + self._hold_s
            self._hold_s = min(2 * self._hold_s, HOLD_LAST_S)
            self._pause(f"a write failed ({fault.orig})", self._now())
            self._flush()

    def _pause(self, why: str, now: datetime) -> None:
        if not self.paused:
            self.paused = True
            self._say(f"no texts are stored: {why}; numbers, profiles and counts go on", now)

    def _over(self) -> bool:
        return self._held_until is None or self._clock() >= self._held_until

    def _bare(self, exchange: Exchange) -> Exchange:
        if not exchange.has_text:
            return exchange
        return without_text(exchange, PAUSED, self._measure(exchange) if exchange.profiled else None)

    def _say(self, text: str, now: datetime) -> None:
        log.warning("%s", text)
        self._unsaid.append((text, now))

    def _flush(self) -> None:
        """Write what there is to say into the record; where that fails too, at the next look."""
        try:
            while self._unsaid:
                text, at = self._unsaid[0]
                self._store.record("disk", text, at)
                del self._unsaid[0]
        except SQLAlchemyError:
            del self._unsaid[:-10]  # the log has said it
