"""Runs the loops on APScheduler: no overlap, missed ticks coalesce, and one that fails is counted, never fatal.

Lives here: the outer ring around every loop, and what happens when the clock is set.
Comes in: named functions of the present time. Goes out: their calls, lag and fault counts.
Must never know: what a loop does.

Ticks are spans of time in UTC, so daylight saving changes nothing. APScheduler counts them on the wall clock: set back
by an hour it would rest for an hour, set on by years it would list every tick that was missed. So each pass compares
the wall clock with the monotonic one; when they no longer agree, every loop is due now and counts from here on.
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
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from agent.types import TrimtabError

log = logging.getLogger("trimtab")

Loop = Callable[[datetime], Any]
JUMP_S = 5.0
"""A clock that gained or lost no more than this between two passes was not set, only busy or slewed."""
KNOWN = (TrimtabError, OperationalError, InterfaceError, NoConnection)
"""Faults that say all there is to say: something is away, refuses or is full. Any other may be ours, so where it came
from is logged with it."""
MOST_SAID = 300


def wall() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)


@dataclass
class Health:
    """How one loop fares: `lag_s` is how long its last call took, `faults` how many calls raised.

    `ended` is when it last finished a round without a fault, on the monotonic clock `steady`; before the first round,
    when it was made.
    """

    steady: Callable[[], float] = time.monotonic

    calls: int = 0
    faults: int = 0
    lag_s: float = 0.0
    says: str = ""
    ended: float = field(init=False)

    def __post_init__(self) -> None:
        self.ended = self.steady()

    @property
    def behind_s(self) -> float:
        """Seconds since it last finished a round; grows while a call hangs, and while each one fails."""
        return self.steady() - self.ended


class Punctual(BackgroundScheduler):  # type: ignore[misc]  # APScheduler has no types
    """APScheduler that notices when the clock is set: every job is then due at once, and once."""

    def __init__(self, now: Callable[[], datetime], steady: Callable[[], float], **options: Any) -> None:
        super().__init__(**options)
        self._now, self._steady = now, steady
        self._offset_s = self._apart_s()
        self.jumps = 0

    def _apart_s(self) -> float:
        return self._now().timestamp() - self._steady()

    def _process_jobs(self) -> Any:
        """One pass, as the base does it: what is due is started, and it says for how long there is nothing to do."""
        apart_s = self._apart_s()
        jumped_s, self._offset_s = apart_s - self._offset_s, apart_s
        if abs(jumped_s) > JUMP_S:
            self.jumps += 1
            log.warning("the clock was set by %.0f s: every loop runs now and counts from here", jumped_s)
            for job in self.get_jobs():
                job.modify(next_run_time=self._now())
        return super()._process_jobs()


class Loops:
    """Calls each loop every `tick_s` seconds, or as `every_s` says, in a thread of a pool of its own."""

    def __init__(
        self,
        loops: Mapping[str, Loop],
        tick_s: float,
        every_s: Mapping[str, float] | None = None,
        *,
        now: Callable[[], datetime] = wall,
        steady: Callable[[], float] = time.monotonic,
        executor: Any = None,
    ) -> None:
        """`now` and `steady` are the two clocks, `executor` is one of APScheduler's: all three are for tests."""
        self.health = {name: Health(steady=steady) for name in loops}
        self._loops, self._now, self._steady = dict(loops), now, steady
        pool = executor or ThreadPoolExecutor(max_workers=len(loops))
        self._scheduler = Punctual(now, steady, executors={"default": pool}, timezone=UTC)
        for name in loops:
            seconds = (every_s or {}).get(name, tick_s)
            self._scheduler.add_job(
                self._call, "interval", args=[name], seconds=seconds, id=name, max_instances=1, coalesce=True,
                misfire_grace_time=None, next_run_time=now(),
            )  # fmt: skip

    def start(self) -> None:
        """Begin; every loop is called at once and then at every tick."""
        self._scheduler.start()

    def stop(self) -> None:
        """Let the running calls end."""
        self._scheduler.shutdown(wait=True)

    def _call(self, name: str) -> None:
        health, began = self.health[name], self._steady()
        try:
            health.says = str(self._loops[name](self._now()) or "")
            health.ended = self._steady()
        except Exception as fault:  # the outer ring: whatever it is, the other loops go on and so does this one
            health.faults += 1
            says = said(fault)
            if says != health.says:
                known = isinstance(fault, KNOWN)
                log.exception("loop %s failed, and is tried again at each tick: %s", name, says, exc_info=not known)
            health.says = says
        health.calls += 1
        health.lag_s = self._steady() - began


def said(fault: Exception) -> str:
    """A fault in one line; of the database its own words, without the statement and what stood in it."""
    own = fault.orig if isinstance(fault, DBAPIError) and fault.orig is not None else fault
    return " ".join(f"{type(fault).__name__}: {own}".split())[:MOST_SAID]
