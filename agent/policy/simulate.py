"""The policy run over what has happened: what it would have done, when and why (pure).

Lives here: what is known at each moment of a history, the moments at which time alone changes a decision, and the
comparison with what was done.
Comes in: a history, settings. Goes out: decisions, and a summary. The same history and settings give the same.
Must never know: the store, the clock, how it is printed.

`decide` is the running policy's own. A history does not answer back: what a simulated order would have healed stays as
it was, and what a real order healed is healed. An order that was opened at the same moment as a real one takes as long
as that did, every other one as long as real orders took (median), an hour if there were none.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from statistics import median
from typing import Any

from agent.policy.budget import Job, Spent, spent
from agent.policy.decide import decide, low_since, would_be_no_news
from agent.policy.history import (
    AlarmRaised,
    Answered,
    Champion,
    Decided,
    Estimated,
    Froze,
    JudgeCost,
    Line,
    Moving,
    Ordered,
    Settled,
    Wished,
)
from agent.policy.hours import changes_at
from agent.policy.seen import Seen
from agent.settings import Settings
from agent.types import Action, Decision, Estimate

AN_ORDER = timedelta(hours=1)
SAME_S = 60.0
"""An order that was opened no further than this from a simulated one is taken for the same."""
BUDGET_AGAIN = timedelta(hours=1)
"""While a budget is spent it is looked at again so often: each hour some of its days go by."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulated:
    """An order that would have been opened; `same` is the real one's id where it was opened at that moment."""

    opened: datetime
    finished: datetime
    same: str | None
    outcome: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulation:
    """Every decision that would have been news, the orders, and what was done in the same time."""

    since: datetime
    until: datetime
    decisions: tuple[Decision, ...]
    orders: tuple[Simulated, ...]
    done_orders: tuple[Ordered, ...]
    done: tuple[Decided, ...]
    seen: Mapping[str, int]
    gpu_hours: float

    def count(self, action: Action) -> int:
        """Decisions for an action."""
        return sum(decision.action is action for decision in self.decisions)

    def summary(self) -> dict[str, Any]:
        """What would have been done and what was, side by side, as plain JSON."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "history": dict(self.seen),
            "would_have": {
                "orders": len(self.orders),
                "roll_backs": self.count(Action.ROLL_BACK),
                "gpu_hours": round(self.gpu_hours, 3),
                "decisions": len(self.decisions),
            },
            "was_done": {
                "orders": len(self.done_orders),
                "roll_backs": sum(line.action is Action.ROLL_BACK for line in self.done),
                "decisions": len(self.done),
            },
            "orders": [
                {"opened": order.opened.isoformat(), "finished": order.finished.isoformat(), "as_was": order.same}
                for order in self.orders
            ],
            "not_again": sorted({order.id for order in self.done_orders} - {order.same for order in self.orders}),
        }


@dataclass
class _World:
    """What is known at a moment."""

    champion: str = ""
    parent: str | None = None
    promoted_at: datetime | None = None
    alarms: dict[str, AlarmRaised] = field(default_factory=dict)
    answered: dict[str, list[Answered]] = field(default_factory=dict)
    estimates: dict[str, list[Estimated]] = field(default_factory=dict)
    phase: str = "steady"
    asked: tuple[tuple[Action, str], ...] = ()
    frozen: str | None = None
    judged: list[JudgeCost] = field(default_factory=list)
    orders: list[Simulated] = field(default_factory=list)
    references: dict[str, Estimated | None] = field(default_factory=dict)
    granted: set[tuple[Action, str]] = field(default_factory=set)

    @property
    def wishes(self) -> tuple[tuple[Action, str], ...]:
        """Those that the simulated policy has not granted yet."""
        return tuple(wish for wish in self.asked if wish not in self.granted)

    def grant(self, action: Action) -> None:
        """What was decided answers the wishes for it."""
        self.granted |= {wish for wish in self.asked if wish[0] is action}

    def learn(self, line: Line) -> None:
        match line:
            case Champion():
                self.champion, self.parent = line.version, line.parent
                self.promoted_at = line.at if line.promoted else self.promoted_at
            case AlarmRaised() if line.version not in self.alarms:  # the first one stands
                self.alarms[line.version] = line
                before = (e for e in reversed(self.estimates.get(line.version, [])) if e.upto <= line.onset)
                self.references[line.version] = next(before, None)
            case Settled():
                self.alarms.pop(line.version, None)
            case Answered():
                self.answered.setdefault(line.version, []).append(line)
            case Estimated():
                self.estimates.setdefault(line.version, []).append(line)
            case Moving():
                self.phase = line.phase
            case Wished():
                self.asked = line.asked
                self.granted &= set(line.asked)
            case Froze():
                self.frozen = line.words
            case JudgeCost():
                self.judged.append(line)


def simulate(
    history: Sequence[Line], settings: Settings, since: datetime | None = None, until: datetime | None = None
) -> Simulation:
    """Run the policy over the lines up to `until`; it decides from `since` on, and takes what was before as it was."""
    begin = since or history[0].at
    end = until or history[-1].at
    past = [line for line in history if line.at <= end]
    real = [line for line in past if isinstance(line, Ordered)]
    world = _World(orders=[_as_it_was(line, end) for line in real if line.at < begin])
    before = len(world.orders)
    decisions: list[Decision] = []
    wake = _Wake([begin])
    for at, lines in _moments(past, end, wake):
        for line in lines:
            world.learn(line)
        if at < begin or not world.champion:
            continue
        last = decisions[-1] if decisions else None
        seen = _seen(world, settings, at, last)
        if last is not None and would_be_no_news(seen, settings, last):
            if not lines:
                wake.at(*_due(world, last, settings, at))
            continue
        decision = decide(seen, settings)
        decisions.append(decision)
        wake.at(*_due(world, decision, settings, at))
        world.grant(decision.action)
        if decision.action is Action.RETRAIN:
            world.orders.append(_opened(at, real, end))
            wake.at(at, world.orders[-1].finished)  # the running policy looks again at its next tick
    mine = world.orders[before:]
    return Simulation(
        since=begin,
        until=end,
        decisions=tuple(decisions),
        orders=tuple(mine),
        done_orders=tuple(line for line in real if line.at >= begin),
        done=tuple(line for line in past if isinstance(line, Decided) and line.at >= begin),
        seen=_counts(past, begin),
        gpu_hours=sum((o.finished - o.opened).total_seconds() for o in mine) / 3600 * settings.policy.order_gpus,
    )


class _Wake:
    """Moments to come, each once."""

    def __init__(self, moments: Iterable[datetime]) -> None:
        self._heap: list[datetime] = []
        self._there: set[datetime] = set()
        self.at(*moments)

    def at(self, *moments: datetime) -> None:
        for moment in moments:
            if moment not in self._there:
                self._there.add(moment)
                heapq.heappush(self._heap, moment)

    def before(self, end: datetime) -> Iterator[datetime]:
        """Those before `end` in their order, also the ones that are added meanwhile."""
        while self._heap and self._heap[0] < end:
            moment = heapq.heappop(self._heap)
            self._there.discard(moment)
            yield moment


def _moments(past: Sequence[Line], end: datetime, wake: _Wake) -> Iterator[tuple[datetime, list[Line]]]:
    """Each moment with its lines, and between them the moments at which to wake."""
    nothing: list[Line] = []
    for at, lines in groupby(past, key=lambda line: line.at):
        yield from ((moment, nothing) for moment in wake.before(at))
        yield at, list(lines)
    yield from ((moment, nothing) for moment in wake.before(end + timedelta(microseconds=1)))


def _seen(world: _World, settings: Settings, at: datetime, last: Decision | None) -> Seen:
    """As `agent.app.steer` gathers it from the store."""
    alarm = world.alarms.get(world.champion)
    onset = 0 if alarm is None else alarm.onset
    ended = max((o for o in world.orders if o.finished <= at), key=lambda o: o.opened, default=None)
    return Seen(
        at=at,
        alias=settings.alias,
        version=world.champion,
        alarm_kind=alarm.alarm_kind if alarm else None,
        alarm_age_s=(at - alarm.at).total_seconds() if alarm else None,
        alarm_reason=alarm.reason if alarm else "",
        estimate=_newest(world, world.champion, alarm),
        reference=_estimate(world.references.get(world.champion)),
        former=_former(world, settings, at),
        fresh_exchanges=_fresh(world, onset, 2 * settings.policy.fresh_exchanges),
        order_running=any(o.opened <= at < o.finished for o in world.orders),
        order_finished_age_s=None if ended is None else (at - ended.finished).total_seconds(),
        order_outcome=None if ended is None else ended.outcome,
        phase=world.phase,
        frozen=world.frozen,
        asked=world.wishes,
        low_since=low_since(last.seen if last else None, world.champion),
        spent=_spent(world, settings, at),
    )


def _newest(world: _World, version: str, alarm: AlarmRaised | None) -> Estimate | None:
    """The newest estimate; after an alarm one that rests on nothing from before the change."""
    found = world.estimates.get(version, [])
    newest = found[-1] if found else None
    if newest is None or (alarm is not None and newest.at < alarm.at and newest.since < alarm.onset_at):
        return None
    return _estimate(newest)


def _former(world: _World, settings: Settings, at: datetime) -> Estimate | None:
    if world.parent is None or world.promoted_at is None:
        return None
    young = (at - world.promoted_at).total_seconds() < settings.policy.cooldown_s
    lines = world.estimates.get(world.parent, [])
    return _estimate(lines[-1]) if young and lines else None


def _estimate(line: Estimated | None) -> Estimate | None:
    return None if line is None else Estimate(**{name: getattr(line, name) for name in Estimate.__dataclass_fields__})


def _fresh(world: _World, onset: int, most: int) -> int:
    """Exchanges of the champion after `onset`, counted from the newest no further than `most`."""
    found = 0
    for line in reversed(world.answered.get(world.champion, [])):
        if line.upto <= onset or found >= most:
            break
        found += line.n
    return min(found, most)


def _spent(world: _World, settings: Settings, at: datetime) -> Spent:
    policy = settings.policy
    if policy.gpu_hours is None and policy.judge_price is None:
        return Spent()
    since = at - timedelta(days=policy.budget_days)
    while world.judged and world.judged[0].at < since:
        world.judged.pop(0)
    jobs = [Job(started=o.opened, ended=o.finished if o.finished <= at else None) for o in world.orders]
    return spent(policy, jobs, sum(line.tokens for line in world.judged), at)


def _due(world: _World, decision: Decision, settings: Settings, at: datetime) -> Iterator[datetime]:
    """The moments after `at` at which time alone may change the decision."""
    policy = settings.policy
    facts = decision.seen["facts"]
    found: list[datetime | None] = [changes_at(policy.quiet_hours, policy.time_zone, at)]
    found += [order.finished + timedelta(seconds=policy.cooldown_s) for order in world.orders[-1:]]
    if world.promoted_at is not None:
        found.append(world.promoted_at + timedelta(seconds=policy.cooldown_s))
    kept = decision.seen["low_since"]
    if isinstance(kept, str):
        found.append(datetime.fromisoformat(kept) + timedelta(seconds=policy.confirm_s))
    if isinstance(facts, list) and {"spent", "unpaid"} & set(facts):
        found.append(at + BUDGET_AGAIN)
    return (moment for moment in found if moment is not None and moment > at)


def _opened(at: datetime, real: Sequence[Ordered], end: datetime) -> Simulated:
    took = [line.finished_at - line.at for line in real if line.finished_at is not None]
    near = min(real, key=lambda line: abs(line.at - at), default=None)
    if near is not None and abs((near.at - at).total_seconds()) <= SAME_S:
        ends = near.finished_at or end + AN_ORDER  # one that is in flight at the end stays so
        return Simulated(opened=at, finished=at + (ends - near.at), same=near.id, outcome=near.outcome)
    return Simulated(opened=at, finished=at + _typical(took), same=None, outcome="simulated")


def _typical(took: Iterable[timedelta]) -> timedelta:
    seconds = [span.total_seconds() for span in took]
    return timedelta(seconds=median(seconds)) if seconds else AN_ORDER


def _as_it_was(line: Ordered, end: datetime) -> Simulated:
    finished = line.finished_at or end + AN_ORDER
    return Simulated(opened=line.started_at or line.at, finished=finished, same=line.id, outcome=line.outcome)


def _counts(past: Sequence[Line], begin: datetime) -> dict[str, int]:
    """How much of each kind the history holds from `begin` on."""
    found = {"exchanges": 0, "alarms": 0, "estimates": 0}
    for line in past:
        if line.at < begin:
            continue
        found["exchanges"] += line.n if isinstance(line, Answered) else 0
        found["alarms"] += isinstance(line, AlarmRaised)
        found["estimates"] += isinstance(line, Estimated)
    return found
