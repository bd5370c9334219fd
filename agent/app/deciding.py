"""The loops of who decides: watch, judge, policy, orders, reports, messages, retention.

Lives here: their construction, and that of several processes only the one that holds the office does anything.
Comes in: settings, the store, the office, what they need of the rest of the process. Goes out: loops, figures.
Must never know: taps, the engine's adapters, HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from agent.app.asks import Asks
from agent.app.keep import Janitor
from agent.app.loops import Loop
from agent.app.notices import Notices
from agent.app.orders import launcher_of
from agent.app.references import read_reference
from agent.app.reports import Reports
from agent.app.spending import Spending
from agent.app.steer import Steer
from agent.app.watch import Watch
from agent.export.notify import Outlet
from agent.quality.judge import Judge
from agent.quality.room import judge_once
from agent.settings import Settings
from agent.store import Store, shelf
from agent.store.leader import Leader, NotLeading
from agent.store.objects import Objects
from agent.types import AdapterVersion


@dataclass(frozen=True, kw_only=True)
class Means:
    """What deciding needs of the rest of the process.

    `observe(now)` looks on while no champion is named; `redact` is None where no text is stored; `page` is the address
    of the status page; `spending` is what the budgets went to.
    """

    judge: Judge | None
    observe: Callable[[datetime], str]
    redact: Callable[[str], str] | None
    outlets: Sequence[Outlet]
    page: str
    objects: Objects | None
    janitor: Janitor
    spending: Spending


class Deciding:
    """All of them, wired. Raises InvalidInput where a launcher or a reference cannot be used."""

    def __init__(self, settings: Settings, store: Store, office: Leader, means: Means) -> None:
        """`store` asks the office in each transaction."""
        if settings.reference is not None:
            read_reference(settings.reference)  # refused now, not at every tick
        self._settings, self._store, self._office, self._means = settings, store, office, means
        self.watch = Watch(settings, store, means.redact, self._bring)
        self.steer = Steer(settings, store, Asks(store, settings.alias), self._look_on)
        self.reports = Reports(settings, store, means.objects)
        self.notices = Notices(settings, store, means.outlets, means.page)
        self.launcher = launcher_of(settings, store)

    def loops(self) -> dict[str, Loop]:
        """By name; each says what it did, or that another process leads."""
        return {
            "watch": self._leading(self.watch.paced, self.watch.rest),
            "judge": self._leading(self.judge),
            "policy": self._leading(self.steer.tick),
            "launch": self._leading(self.launcher.tick),
            "report": self._leading(self.reports.tick),
            "notify": self._leading(self.notices.tick),
            "keep": self._leading(self._means.janitor.tick, self._means.janitor.look),
        }

    def stop(self) -> None:
        """The process ends."""
        with suppress(SQLAlchemyError, NotLeading):  # the store is away, or another looks after the orders
            self.launcher.stop()

    def judge(self, at: datetime) -> str:
        """One round of the judge; says what was graded, or why nothing."""
        judge = self._means.judge
        if judge is None:
            return "no judge is set"
        settings, resting = self._settings, self._means.spending.unpaid(at)
        if resting:  # what passes meanwhile is left unjudged: nothing queues up for the day when there is money
            asleep = settings.quality.model_copy(update={"sample_share": 0.0})
            settings = settings.model_copy(update={"quality": asleep})
        judged = judge_once(self._store, judge, settings, at)
        if resting:
            return "rests: the money of policy.judge_money is spent"
        return f"graded {judged.graded}, {judged.over_budget} over budget" + (
            f": {judged.fault}" if judged.fault else ""
        )

    def _leading(
        self, tick: Callable[[datetime], object], rest: Callable[[], object] = bool
    ) -> Callable[[datetime], str]:
        """A loop that is the leader's alone among the processes of one database; the others `rest`."""

        def led(at: datetime) -> str:
            if self._office.lead():
                return str(tick(at) or "")
            rest()
            return "does not lead"

        return led

    def _bring(self, version: AdapterVersion) -> None:
        """Have a version's folder here, as the rollout has it where an engine is."""
        if self._means.objects is not None:
            shelf.bring(self._means.objects, version.name, version.digest, Path(version.path))

    def _look_on(self, at: datetime) -> str:
        """While the alias has no champion; one that is named is a sidecar's to bring into office."""
        if self._settings.champion is not None:
            return f"waits for a sidecar to begin with {self._settings.first_version}"
        return self._means.observe(at)
