"""Runs the loops on APScheduler: no overlap, missed ticks coalesce, and one that fails is counted, never fatal.

Lives here: the outer ring around every loop.
Comes in: named functions of the present time. Goes out: their calls, lag and fault counts.
Must never know: what a loop does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

log = logging.getLogger("trimtab")

Loop = Callable[[datetime], Any]


@dataclass
class Health:
    """How one loop fares: `lag_s` is how long its last call took, `faults` how many calls raised.

    `ended` is when it last finished a round, on the monotonic clock; before the first round, when it was made.
    """

    calls: int = 0
    faults: int = 0
    lag_s: float = 0.0
    says: str = ""
    ended: float = field(default_factory=time.monotonic)

    @property
    def behind_s(self) -> float:
        """Seconds since it last finished a round; grows while a call hangs."""
        return time.monotonic() - self.ended


class Loops:
    """Calls each loop every `tick_s` seconds, or as `every_s` says, in a thread of a pool of its own."""

    def __init__(self, loops: Mapping[str, Loop], tick_s: float, every_s: Mapping[str, float] | None = None) -> None:
        self.health = {name: Health() for name in loops}
        self._loops = dict(loops)
        pool = ThreadPoolExecutor(max_workers=len(loops))
        self._scheduler = BackgroundScheduler(executors={"default": pool}, timezone=UTC)
        for name in loops:
            seconds = (every_s or {}).get(name, tick_s)
            self._scheduler.add_job(
                self._call, "interval", args=[name], seconds=seconds, id=name, max_instances=1, coalesce=True,
                misfire_grace_time=None, next_run_time=datetime.now(UTC),
            )  # fmt: skip

    def start(self) -> None:
        """Begin; every loop is called at once and then at every tick."""
        self._scheduler.start()

    def stop(self) -> None:
        """Let the running calls end."""
        self._scheduler.shutdown(wait=True)

    def _call(self, name: str) -> None:
        health, began = self.health[name], time.monotonic()
        try:
            health.says = str(self._loops[name](datetime.now(UTC)) or "")
        except Exception as fault:  # the outer ring: whatever it is, the other loops go on and so does this one
            health.faults += 1
            says = f"{type(fault).__name__}: {fault}"
            if says != health.says:
                log.exception("loop %s failed (it is tried again at the next tick)", name)
            health.says = says
        health.calls += 1
        health.ended = time.monotonic()
        health.lag_s = health.ended - began
