"""The agent as one process: intake and HTTP on an event loop, the other rooms as loops in threads.

Lives here: construction, start, stop. Reads the clock and nothing else of the environment; secrets come in.
Comes in: settings and the engine's token. Goes out: a running agent.
Must never know: how any room works.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Lock

import uvicorn

from agent.app import memory
from agent.app.address import url_of, usable_port, write_address
from agent.app.asks import Asks
from agent.app.database import open_store, pod_of
from agent.app.deciding import Deciding, Means
from agent.app.freeze import freeze, frozen, thaw
from agent.app.keep import EVERY_S, Janitor, text_gate
from agent.app.live import Live
from agent.app.loops import Loop, Loops
from agent.app.monitors import Monitors
from agent.app.observe import Observer, claim
from agent.app.orders import objects_of
from agent.app.own import OwnRequests
from agent.app.pulse import Pulse
from agent.app.reports import shared
from agent.app.roles import role_of
from agent.app.spending import Spending
from agent.app.waiting import patiently
from agent.export.notify import outlets
from agent.intake.attach import Desk, Doors, Tally
from agent.intake.models import Models
from agent.intake.names import read_names
from agent.intake.redact import Redactor
from agent.intake.sample import Sample
from agent.intake.server import IntakeServer
from agent.policy.decide import held
from agent.policy.sane import check
from agent.profile.features import features
from agent.quality.judge import judge_of
from agent.quality.room import feedback
from agent.rollout.act import Rollout, shares_wanted
from agent.rollout.adopt import adopt
from agent.settings import Settings
from agent.store import Store
from agent.store.leader import MOVES, Leader
from agent.types import InvalidInput
from agent.web.alerts import alerts
from agent.web.api import create_app
from agent.web.attach import attach
from agent.web.connections import Connection, Rarely
from agent.web.policy import policy
from serving.engine import Engine

log = logging.getLogger("trimtab")


class Agent:
    """Everything wired. `run` returns when `stop` is set."""

    def __init__(
        self, settings: Settings, token: str, attach_token: str = "", alert_token: str = "", notify_urls: str = "",
        policy_token: str = "",
    ) -> None:  # fmt: skip
        check(settings)
        self.settings, self.role = settings, role_of(settings)
        self._attach_token, self._alert_token, self._policy_token = attach_token, alert_token, policy_token
        self.started_at = now()
        self.store = open_store(settings)
        self.pod = pod_of(settings)
        me = self.pod or "the agent"
        self.leader = Leader(self.store, settings.alias, me)
        self.mover = Leader(self.store, settings.alias, me, MOVES)
        self.objects = objects = objects_of(settings)
        if self.role.beside_engine:
            claim(settings, self.store, self.started_at)
            adopt(settings, self.store, self.started_at, objects)
        redactor = redactor_of(settings)
        self._redact = redactor.text
        self._hashed_id = redactor.hashed_id
        self.gate = text_gate(settings, self.store, now)
        self.own = OwnRequests()
        self.engine = Engine(
            settings.engine.url, token, max_lora_rank=settings.engine.max_lora_rank, transport=self.own.transport()
        )
        self.observer = Observer(settings, self.store, self.gate.add_exchanges, self.engine.models)
        self.intake = IntakeServer(
            settings.socket, self.observer.add, partial(self.store.note_worker, pod=self.pod or None), redactor, now,
            sample=None if settings.capture.text == "none" else Sample(settings.home / "unreadable", redactor.text),
            models=Models([settings.alias]),
        )  # fmt: skip
        place = f"@{self.pod}" if self.pod else ""
        desk = Desk(redactor, redactor.exchange, self.observer.add, Tally(self.store), settings.alias, now, place)
        self.doors = Doors(desk, now)
        judge = judge_of(settings, token)
        self.judge = self.own.judge(judge) if settings.quality.judge_url is None else judge
        self.asks = Asks(self.store, settings.alias)
        self.spending = Spending(settings, self.store)
        self.janitor = Janitor(settings, self.store, self.gate, judging=self.judge is not None)
        means = Means(
            judge=self.judge, observe=self.observer.tick,
            redact=None if settings.capture.text == "none" else redactor.text,
            outlets=outlets([*settings.notify.urls, *notify_urls.split()]),
            page=f"{url_of(settings.http.host, settings.http.port)}/", objects=objects, janitor=self.janitor,
            spending=self.spending,
        )  # fmt: skip
        self.deciding = Deciding(settings, self._led(self.leader), self.leader, means) if self.role.decides else None
        moved, mover = self._led(self.mover), self.mover
        self.rollout = (
            Rollout(settings, moved, self.engine, self._push, self._held, objects, mover.lead, mover.resign)
            if self.role.beside_engine
            else None
        )
        self.loops = Loops(self._loops(), settings.tick_s, {"keep": EVERY_S})
        self.live = Live(
            settings=settings, store=self.store, loops=self.loops, intake=self.intake, gate=self.gate, own=self.own,
            leader=self.leader, mover=self.mover, spending=self.spending, shares=self._shares, phase=self._phase,
            pod=self.pod, started_at=self.started_at, now=now,
        )  # fmt: skip
        self.pulse = Pulse()
        self.monitors = Monitors(
            settings=settings, store=self.store, gate=self.gate, intake=self.intake, loops=self.loops,
            pulse=self.pulse, shares=self._shares, now=now, started_at=self.started_at,
            judging=self.judge is not None, lock=Lock(),
            leads=lambda: self.role.decides and (not self.pod or self.leader.leading),
            offices=lambda: {"decides": self.leader.leading, "moves": self.mover.leading},
            more=self._more,
        )  # fmt: skip
        self.web = self._web()  # before the loop turns: building the routes would hold it up
        self._loop: asyncio.AbstractEventLoop | None = None

    def _led(self, office: Leader) -> Store:
        """The store of whoever holds an office: each transaction proves it, where others may hold it too."""
        return self.store.guarded(office.guard) if self.pod else self.store

    def _loops(self) -> dict[str, Loop]:
        """The loops of this role, by name."""
        loops: dict[str, Loop] = {} if self.deciding is None else self.deciding.loops()
        if self.rollout is not None:
            loops["rollout"] = self.rollout.tick
        keep: Loop = loops.get("keep", lambda _at: self.janitor.look())

        def keeping(at: datetime) -> str:
            said = str(keep(at) or "")
            memory.give_back()
            return said

        return loops | {"keep": keeping}

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, wait for `stop`, end everything in reverse."""
        self._loop = asyncio.get_running_loop()
        if self.role.beside_engine:
            await self.intake.start()
        address = url_of(self.settings.http.host, self.settings.http.port)
        write_address(self.settings.home, address)
        hears = f"socket {self.settings.socket}" if self.role.beside_engine else "a controller, which hears no tap"
        log.info("agent for %r: status page %s, %s", self.settings.alias, address, hears)
        if self.observer.observing:
            log.info("observe only: no champion is named, so everything is measured and nothing is moved")
        serving = asyncio.create_task(self.web.serve())
        beating = asyncio.create_task(self.pulse.beat())
        try:
            self.loops.start()
            await asyncio.wait({serving, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            beating.cancel()
            await asyncio.to_thread(self.loops.stop)
            if self.deciding is not None:
                await asyncio.to_thread(self.deciding.stop)
            await self.intake.stop()
            self.web.should_exit = True
            with suppress(asyncio.CancelledError):
                await serving
            if self.judge is not None:
                self.judge.close()
            self.engine.close()
            self.leader.resign()
            self.mover.resign()
            self.store.close()

    # -- behaviours that one room lends another ----------------------------------------------------

    def _push(self, table: Mapping[str, Mapping[str, float]]) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.intake.push_table, table)

    def _held(self, at: datetime) -> str | None:
        stopped = frozen(self.store, at)
        return held(self.settings, stopped.words if stopped else None, at)

    def _freeze(self, by: str, reason: str, hours: float | None) -> str:
        at = now()
        return freeze(
            self.store, by=by, reason=self._redact(reason), now=at, until=at + timedelta(hours=hours) if hours else None
        )

    def _thaw(self, by: str) -> str:
        return thaw(self.store, by=by, now=now())

    def _shares(self) -> Mapping[str, float]:
        """As last pushed to the taps; of who has none, as the store wants it."""
        return shares_wanted(self.settings, self.store) if self.rollout is None else self.rollout.shares

    def _phase(self) -> str:
        return "the controller watches" if self.deciding is None else self.deciding.watch.phase

    def _more(self) -> dict[str, object]:
        told = {} if self.deciding is None else self.deciding.notices.figures()
        return self.asks.figures() | told | self.live.limits()

    def _feedback(self, exchange_id: str, *, correct: bool, correction: str | None, source: str) -> object:
        if correction is not None and self.settings.capture.text == "none":
            raise InvalidInput("corrections are not taken while capture.text is none: send `correct` alone")
        return feedback(
            self.store,
            exchange_id,
            correct=correct,
            correction=correction,
            source=source,
            now=now(),
            redact=self._redact,
        )

    def _web(self) -> uvicorn.Server:
        app = create_app(
            self.store, self.settings.alias, redact=self._redact, render_metrics=self.monitors.text,
            render_openmetrics=self.monitors.openmetrics, feedback=self._feedback, live=self.live.status,
            reports=self.settings.home / "reports", shared=partial(shared, self.objects, self.settings), now=now,
            hashed_id=self._hashed_id,
            hosts=(self.settings.http.host, *self.settings.http.hosts),
        )  # fmt: skip
        if self.role.beside_engine:
            attach(app, self.doors, self._attach_token)
        alerts(app, lambda document: self.asks.take(document, now()), self._alert_token)
        policy(app, self._freeze, self._thaw, self._policy_token)
        http = self.settings.http
        config = uvicorn.Config(
            app, host=http.host, port=http.port, log_level="warning", lifespan="off", http=Connection, ws="none"
        )
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]  # ours are set in `run`
        return server


def run(
    settings: Settings, *, token: str, attach_token: str = "", alert_token: str = "", notify_urls: str = "",
    policy_token: str = "",
) -> None:  # fmt: skip
    """Run the agent until SIGTERM or Ctrl-C. Raises InvalidInput in one sentence when it cannot start."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for chatty in ("httpx", "apscheduler", "whylogs"):
        logging.getLogger(chatty).setLevel(logging.ERROR)
    logging.getLogger("asyncio").addFilter(Rarely())
    memory.one_arena()
    port = usable_port(settings.http.host, settings.http.port)
    settings = settings.model_copy(update={"http": settings.http.model_copy(update={"port": port})})
    agent = patiently(
        lambda: Agent(settings, token, attach_token, alert_token, notify_urls, policy_token),
        settings.http.host, port,
    )  # fmt: skip
    if not token and agent.role.beside_engine and not agent.observer.observing:
        log.warning("TRIMTAB_TOKEN is not set: the engine's admin paths stay closed, so no adapter can be loaded")
    memory.for_good()
    asyncio.run(_until_signal(agent))
    log.info("agent stopped")


async def _until_signal(agent: Agent) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await agent.run(stop)


def redactor_of(settings: Settings) -> Redactor:
    """The choke point of the intake: what it masks, and whether any text passes. Raises InvalidInput."""
    capture = settings.capture
    return Redactor(
        capture.patterns,
        capture.user_key,
        read_names(capture.names) if capture.names is not None else (),
        measure=features if capture.text == "none" else None,
    )


def now() -> datetime:
    """The time, aware."""
    return datetime.now(UTC)
