"""The scheduler must keep its promises for a whole season, whatever is done to the clock."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from threading import Event
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest
from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers import base
from apscheduler.schedulers.base import BaseScheduler
from sqlalchemy.exc import OperationalError

from agent.app.loops import Loops
from agent.policy.hours import quiet
from agent.types import RemoteFault

ZONE = "Africa/Casablanca"
"""Its clocks go back and on again within five weeks: an hour is repeated on 15 February 2026, skipped on 22 March."""
NIGHT = ("22:00-06:00",)
START, DAYS, TICK_S = datetime(2026, 2, 1, tzinfo=UTC), 90, 600
SLOW_S = 1.6 * TICK_S


class Clock:
    """Two clocks that only go when told; the one on the wall can be set."""

    def __init__(self) -> None:
        self.steady_s, self.offset = 1000.0, timedelta()

    def steady(self) -> float:
        """Seconds, never set."""
        return self.steady_s

    def now(self, _zone: object = None) -> datetime:
        """The time on the wall."""
        return START + timedelta(seconds=self.steady_s - 1000.0) + self.offset


class Slow(BaseExecutor):
    """Jobs start at once; those of `takes` end only when the clock has gone on so far."""

    def __init__(self, clock: Clock, takes: dict[str, float]) -> None:
        super().__init__()
        self.clock, self.takes = clock, takes
        self.running: list[tuple[float, str]] = []

    def _do_submit_job(self, job: Any, _run_times: list[datetime]) -> None:
        assert job.id not in {name for _, name in self.running}, "two of one loop at once"
        job.func(*job.args)
        if job.id in self.takes:
            self.running.append((self.clock.steady_s + self.takes[job.id], job.id))
        else:
            self._run_job_success(job.id, [])

    def end_what_is_over(self) -> None:
        """Let go of the jobs whose time has come."""
        over = [item for item in self.running if item[0] <= self.clock.steady_s]
        self.running = [item for item in self.running if item not in over]
        for _, name in over:
            self._run_job_success(name, [])


class House:
    """Loops on two fake clocks, driven pass by pass in this thread."""

    def __init__(self, loops: dict[str, Callable[[datetime], Any]], every_s: dict[str, float] | None = None) -> None:
        self.clock = Clock()
        self.calls: dict[str, list[float]] = {name: [] for name in loops}
        self.executor = Slow(self.clock, {"slow": SLOW_S})
        noted = {name: self._noted(name, loop) for name, loop in loops.items()}
        self.loops = Loops(noted, TICK_S, every_s, now=self.clock.now, steady=self.clock.steady, executor=self.executor)
        self.scheduler = self.loops._scheduler
        self.scheduler._event = Event()
        BaseScheduler.start(self.scheduler)  # without its thread: we are the thread

    def _noted(self, name: str, loop: Callable[[datetime], Any]) -> Callable[[datetime], Any]:
        def call(now: datetime) -> Any:
            self.calls[name].append(self.clock.steady_s)
            return loop(now)

        return call

    def go(self, seconds: float) -> None:
        """Pass after pass, as the thread does it: sleep as long as it was told to."""
        end = self.clock.steady_s + seconds
        while self.clock.steady_s < end:
            self.executor.end_what_is_over()
            wait_s = self.scheduler._process_jobs()
            self.clock.steady_s = min(end, self.clock.steady_s + max(wait_s, 0.001))

    def gaps(self, name: str) -> list[float]:
        """Seconds between two calls."""
        calls = self.calls[name]
        return [later - earlier for earlier, later in pairwise(calls)]


class Fake(datetime):
    """What APScheduler takes for `datetime`: the present is the fake clock's."""

    clock: ClassVar[Clock]

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """The time on the wall."""
        return cls.clock.now().astimezone(tz)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., House]]:
    """Make a house, and stop its scheduler afterwards."""
    houses: list[House] = []
    logging.getLogger("apscheduler").setLevel(logging.ERROR)

    def make(loops: dict[str, Callable[[datetime], Any]], every_s: dict[str, float] | None = None) -> House:
        house = House(loops, every_s)
        houses.append(house)
        Fake.clock = house.clock
        monkeypatch.setattr(base, "datetime", Fake)
        return house

    yield make
    for house in houses:
        BaseScheduler.shutdown(house.scheduler, wait=False)


def test_three_months_of_ticks(made: Callable[..., House]) -> None:
    """No tick is missed, none overlaps, a slow loop costs only itself, a failing one goes on, and nights are quiet.

    In it: clocks that go back and on for the season, a clock that is set back by an hour and put right again a week
    later, and two hours in which the process slept.
    """
    begun: Counter[str] = Counter()

    def policy(now: datetime) -> str:
        if quiet(NIGHT, ZONE, now):
            return "quiet"
        begun[now.astimezone(ZoneInfo(ZONE)).date().isoformat()] += 1
        return "looks"

    def fails(_now: datetime) -> None:
        raise OSError("away")

    house = made({"policy": policy, "slow": str, "fails": fails, "keep": str}, {"keep": 6 * TICK_S})
    house.go(50 * 86400 - 300)
    house.clock.offset -= timedelta(hours=1)
    house.go(7 * 86400)
    house.clock.offset += timedelta(hours=1)
    house.go(20 * 86400)
    asleep_from = house.clock.steady_s
    house.clock.steady_s += 7200
    house.go((DAYS - 77) * 86400 + 300 - 7200)

    total = DAYS * 86400 / TICK_S
    slept = [gap for gap in house.gaps("policy") if gap > TICK_S + 1]
    assert slept == [pytest.approx(7200 + TICK_S, abs=TICK_S)]  # missed runs became one
    assert sum(asleep_from <= at < asleep_from + 7200 + TICK_S for at in house.calls["policy"]) == 1 + (
        asleep_from in house.calls["policy"]
    )
    assert abs(len(house.calls["policy"]) - (total - 12)) <= 4  # 12 were slept through; one more at each jump
    assert max(gap for gap in house.gaps("keep") if gap < 7200) <= 6 * TICK_S + 1
    assert house.loops.health["fails"].faults == len(house.calls["fails"]) == len(house.calls["policy"])
    assert min(house.gaps("slow")) >= SLOW_S
    assert len(house.calls["slow"]) == pytest.approx(len(house.calls["policy"]) / 2, rel=0.01)
    assert house.scheduler.jumps == 2
    days = {day: n for day, n in begun.items() if "2026-02-02" <= day <= "2026-04-30"}
    assert len(days) == 88
    sixteen_hours = 16 * 3600 // TICK_S
    odd = {day for day, n in days.items() if abs(n - sixteen_hours) > 1}
    # the day on which the clock was set back, that on which it was put right, and that of the sleep
    assert odd <= {"2026-03-23", "2026-03-30", "2026-04-18", "2026-04-19", "2026-03-22", "2026-03-29"}
    assert days["2026-02-15"] == days["2026-02-14"] == sixteen_hours  # an hour of the night was there twice


@pytest.mark.parametrize(("jump", "calls"), [(timedelta(hours=-1), 1), (timedelta(days=20_000), 1)])
def test_a_clock_that_is_set_costs_one_early_tick(made: Callable[..., House], jump: timedelta, calls: int) -> None:
    """Back by an hour nothing rests, on by half a century nothing is caught up: due once, then as ever."""
    house = made({"policy": str})
    house.go(10 * TICK_S + 1)
    before = len(house.calls["policy"])
    house.clock.offset += jump
    house.go(1)
    assert len(house.calls["policy"]) == before + calls
    house.go(10 * TICK_S)
    assert max(house.gaps("policy")) <= TICK_S + 1
    assert len(house.calls["policy"]) == before + calls + 10


def test_a_clock_that_is_slewed_is_no_jump(made: Callable[..., House]) -> None:
    """Time servers move a clock by parts of a second: nobody is called for that."""
    house = made({"policy": str})
    for _ in range(20):
        house.go(TICK_S)
        house.clock.offset += timedelta(seconds=0.4)
    assert house.scheduler.jumps == 0
    assert len(house.calls["policy"]) == pytest.approx(20, abs=1)


def away(_now: datetime) -> None:
    """As SQLAlchemy tells it when PostgreSQL is gone: several lines, and in them what users wrote."""
    refused = ConnectionRefusedError("connection refused\n\tIs the server running?")
    raise OperationalError("INSERT INTO exchange VALUES (?)", {"text": "my own words"}, refused)


def remote(_now: datetime) -> None:
    """As the rooms say it."""
    raise RemoteFault("the engine does not answer")


def broken(_now: datetime) -> None:
    """A fault of the program."""
    raise KeyError("nothing")


@pytest.mark.parametrize(
    ("loop", "says"),
    [
        (away, "OperationalError: connection refused Is the server running?"),
        (remote, "RemoteFault: the engine does not answer"),
        (broken, "KeyError: 'nothing'"),
    ],
)
def test_a_known_fault_is_told_in_one_line_and_once(
    made: Callable[..., House], caplog: pytest.LogCaptureFixture, loop: Callable[[datetime], None], says: str
) -> None:
    """A database that is away fills no log; only what nobody foresaw comes with where it happened."""
    house = made({"policy": loop})
    house.go(5 * TICK_S)
    assert house.loops.health["policy"].says == says
    (line,) = (record for record in caplog.records if record.name == "trimtab")
    assert line.getMessage() == f"loop policy failed, and is tried again at each tick: {says}"
    assert bool(line.exc_info) is (loop is broken)


def test_a_loop_that_fails_each_time_finishes_no_round(made: Callable[..., House]) -> None:
    """Who watches `trimtab_loop_lag_seconds` must hear of it as of one that hangs; one good round ends it."""
    well = False
    house = made({"policy": lambda now: None if well else broken(now), "watch": lambda _now: "all is well"})
    house.go(700.0)
    policy, watch = house.loops.health["policy"], house.loops.health["watch"]
    assert policy.behind_s == pytest.approx(700.0, abs=TICK_S)
    assert watch.behind_s <= 2 * TICK_S
    well = True
    house.go(2 * TICK_S)
    assert policy.behind_s <= 2 * TICK_S
