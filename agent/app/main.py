"""The sidecar as one process: intake and HTTP on an event loop, the other rooms as loops in threads.

Lives here: construction, start, stop. Reads the clock and nothing else of the environment; secrets come in.
Comes in: settings and the engine's token. Goes out: a running agent.
Must never know: how any room works.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import uvicorn
from sqlalchemy.exc import SQLAlchemyError

from agent.app import memory
from agent.app.asks import Asks
from agent.app.database import open_store, pod_of
from agent.app.freeze import freeze, frozen, thaw
from agent.app.keep import EVERY_S, Janitor, text_gate
from agent.app.loops import Loops
from agent.app.monitors import Monitors
from agent.app.notices import Notices
from agent.app.observe import Observer, claim
from agent.app.orders import launcher_of, objects_of
from agent.app.own import OwnRequests
from agent.app.pulse import Pulse
from agent.app.reports import Reports
from agent.app.spending import Spending
from agent.app.steer import Steer
from agent.app.waiting import patiently
from agent.app.watch import Watch, read_reference
from agent.export.notify import outlets
from agent.intake.attach import Desk, Doors, Tally
from agent.intake.models import Models
from agent.intake.names import read_names
from agent.intake.redact import Redactor
from agent.intake.sample import Sample
from agent.intake.server import IntakeServer
from agent.policy.decide import held
from agent.policy.hours import quiet
from agent.policy.sane import check
from agent.profile.features import features
from agent.quality.judge import judge_of
from agent.quality.room import feedback, judge_once
from agent.rollout.act import Rollout, adopt
from agent.settings import Settings
from agent.store.leader import Leader, NotLeading
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
        self.settings = settings
        self._attach_token, self._alert_token, self._policy_token = attach_token, alert_token, policy_token
        self.started_at = now()
        self.store = open_store(settings)
        self.pod = pod_of(settings)
        self.leader = Leader(self.store, settings.alias, self.pod or "the agent")
        self._led = self.store.guarded(self.leader.guard) if self.pod else self.store
        led = self._led
        claim(settings, self.store, self.started_at)
        objects = objects_of(settings)
        adopt(settings, self.store, self.started_at, objects)
        if settings.reference is not None:
            read_reference(settings.reference)  # refused now, not at every tick
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
        self.rollout = Rollout(settings, led, self.engine, self._push, self._held, objects, leads=self.leader.lead)
        self.reports = Reports(settings, led)
        self.watch = Watch(settings, led, None if settings.capture.text == "none" else redactor.text)
        self.asks = Asks(self.store, settings.alias)
        self.spending = Spending(settings, self.store)
        decides = Asks(led, settings.alias)
        self.steer = Steer(settings, led, self.rollout.roll_back, decides, self.observer.tick)
        page = f"{url_of(settings.http.host, settings.http.port)}/"
        self.notices = Notices(settings, led, outlets([*settings.notify.urls, *notify_urls.split()]), page)
        self.janitor = Janitor(settings, self.store, self.gate, judging=self.judge is not None)
        self.launcher = launcher_of(settings, led)
        self.loops = Loops(
            {
                "watch": self._leading(self.watch.paced, self.watch.rest),
                "judge": self._leading(self._judge),
                "policy": self._leading(self.steer.tick),
                "launch": self._leading(self.launcher.tick),
                "rollout": self.rollout.tick,
                "report": self._leading(self.reports.tick),
                "notify": self._leading(self.notices.tick),
                "keep": self._keep,
            },
            settings.tick_s,
            {"keep": EVERY_S},
        )
        self.pulse = Pulse()
        self.monitors = Monitors(
            settings=settings, store=self.store, gate=self.gate, intake=self.intake, loops=self.loops,
            pulse=self.pulse, shares=lambda: self.rollout.shares, now=now, started_at=self.started_at,
            judging=self.judge is not None, lock=Lock(),
            leads=lambda: not self.pod or self.leader.leading,
            more=lambda: self.asks.figures() | self.notices.figures() | self._limits(),
        )  # fmt: skip
        self._loop: asyncio.AbstractEventLoop | None = None

    def _keep(self, at: datetime) -> str:
        said = self._leading(self.janitor.tick, self.janitor.look)(at)
        memory.give_back()
        return said

    def _leading(
        self, tick: Callable[[datetime], object], rest: Callable[[], object] = bool
    ) -> Callable[[datetime], str]:
        """A loop that is the leader's alone among the sidecars of one database; the others `rest`."""

        def led(at: datetime) -> str:
            if self.leader.lead():
                return str(tick(at) or "")
            rest()
            return "does not lead"

        return led

    async def run(self, stop: asyncio.Event) -> None:
        """Start everything, wait for `stop`, end everything in reverse."""
        self._loop = asyncio.get_running_loop()
        await self.intake.start()
        address = url_of(self.settings.http.host, self.settings.http.port)
        write_address(self.settings.home / "agent.json", address)
        log.info("agent for %r: status page %s, socket %s", self.settings.alias, address, self.settings.socket)
        if self.observer.observing:
            log.info("observe only: no champion is named, so everything is measured and nothing is moved")
        web = self._web()
        serving = asyncio.create_task(web.serve())
        beating = asyncio.create_task(self.pulse.beat())
        try:
            self.loops.start()
            await asyncio.wait({serving, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            beating.cancel()
            await asyncio.to_thread(self.loops.stop)
            with suppress(SQLAlchemyError, NotLeading):  # the store is away, or another looks after the orders
                await asyncio.to_thread(self.launcher.stop)
            await self.intake.stop()
            web.should_exit = True
            with suppress(asyncio.CancelledError):
                await serving
            if self.judge is not None:
                self.judge.close()
            self.engine.close()
            self.leader.resign()
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

    def _judge(self, at: datetime) -> str:
        if self.judge is None:
            return "no judge is set"
        settings, resting = self.settings, self.spending.unpaid(at)
        if resting:  # what passes meanwhile is left unjudged: nothing queues up for the day when there is money
            asleep = settings.quality.model_copy(update={"sample_share": 0.0})
            settings = settings.model_copy(update={"quality": asleep})
        judged = judge_once(self._led, self.judge, settings, at)
        if resting:
            return "rests: the money of policy.judge_money is spent"
        return f"graded {judged.graded}, {judged.over_budget} over budget" + (
            f": {judged.fault}" if judged.fault else ""
        )

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

    def _live(self) -> dict[str, Any]:
        health = {
            name: {"calls": h.calls, "faults": h.faults, "lag_s": h.lag_s, "behind_s": h.behind_s, "says": h.says}
            for name, h in self.loops.health.items()
        }
        shares = dict(self.rollout.shares) or None
        return {
            "loops": health,
            "workers": self.intake.workers,
            "detector": self.watch.phase,
            "weights": shares,
            "started_at": self.started_at,
            "own_requests": {"started": self.own.started, "finished": self.own.finished},
            "text_paused": self.gate.paused,
            "pod": self.pod,
            "leads": self.leader.leading,
            "leader": self.leader.who() if self.pod else "",
            "policy": self._policy(),
        }

    def _limits(self) -> dict[str, object]:
        known = self._policy()
        used = {name: known[name] for name in ("gpu_hours", "judge_money")}
        return {
            "budgets": {name: one["spent"] / one["budget"] for name, one in used.items() if one["budget"]},
            "frozen_at": datetime.fromisoformat(held["at"]) if (held := known["frozen"]) else None,
        }

    def _policy(self) -> dict[str, Any]:
        at, policy = now(), self.settings.policy
        held = frozen(self.store, at)
        spent = self.spending.look(self.store.orders(alias=self.settings.alias), at)
        return {
            "frozen": held.to_json() if held else None,
            "quiet": quiet(policy.quiet_hours, policy.time_zone, at),
            "gpu_hours": {"spent": spent.gpu_hours, "budget": policy.gpu_hours},
            "judge_money": {"spent": spent.judge_money, "budget": policy.judge_money},
        }

    def _web(self) -> uvicorn.Server:
        app = create_app(
            self.store, self.settings.alias, redact=self._redact, render_metrics=self.monitors.text,
            render_openmetrics=self.monitors.openmetrics, feedback=self._feedback, live=self._live,
            reports=self.settings.home / "reports", now=now, hashed_id=self._hashed_id,
            hosts=(self.settings.http.host, *self.settings.http.hosts),
        )  # fmt: skip
        attach(app, self.doors, self._attach_token)
        alerts(app, lambda document: self.asks.take(document, now()), self._alert_token)
        policy(app, self._freeze, self._thaw, self._policy_token)
        http = self.settings.http
        config = uvicorn.Config(
            app, host=http.host, port=http.port, log_level="warning", lifespan="off", http=Connection
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
    if not token and not agent.observer.observing:
        log.warning("TRIMTAB_TOKEN is not set: the engine's admin paths stay closed, so no adapter can be loaded")
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


def usable_port(host: str, port: int) -> int:
    """The port itself, or a free one for 0. Raises InvalidInput when somebody listens there already."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
    except (OSError, UnicodeError) as error:
        msg = f"http.host {host!r} is no address of this machine: write one, such as 127.0.0.1, ::1 or 0.0.0.0"
        raise InvalidInput(msg) from error
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            msg = f"port {port} on {host} cannot be used ({error.strerror}): set http.port to a free one"
            raise InvalidInput(msg) from error
        return int(probe.getsockname()[1])


def url_of(host: str, port: int) -> str:
    """The address for browsers and programs; those of IPv6 stand in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def write_address(path: Path, address: str) -> None:
    """Where `trimtab status` finds the agent."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps({"url": address, "pid": os.getpid()}))
    scratch.replace(path)
