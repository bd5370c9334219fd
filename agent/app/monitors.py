"""What monitors are told: one look at the store, and what only this process knows.

Lives here: gathering of `Known` from the rooms, at each scrape, in the thread that serves it.
Comes in: the running parts of the agent. Goes out: the metrics as text or OpenMetrics.
Must never know: names of metrics, HTTP.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock

from sqlalchemy.exc import SQLAlchemyError

from agent.app.loops import Loops
from agent.app.pulse import Pulse
from agent.export.metrics import Known, ProcessInfo, render
from agent.intake.server import IntakeServer
from agent.quality.room import STATE_KEY as JUDGE
from agent.quality.room import judge_totals
from agent.quality.sample import Budget
from agent.settings import Settings
from agent.store import Store
from agent.store.figures import Figures, figures
from agent.store.gate import TextGate
from agent.store.pages import file_bytes
from agent.store.snapshot import Snapshot, snapshot
from agent.types import TrimtabError


@dataclass(frozen=True, kw_only=True)
class Monitors:
    """Renders the metrics; one scrape at a time, so that many scrapers do not crowd the loops out."""

    settings: Settings
    store: Store
    gate: TextGate
    intake: IntakeServer
    loops: Loops
    pulse: Pulse
    shares: Callable[[], Mapping[str, float]]
    now: Callable[[], datetime]
    started_at: datetime
    judging: bool
    leads: Callable[[], bool]
    offices: Callable[[], Mapping[str, bool]]
    more: Callable[[], Mapping[str, object]] = dict
    """Further fields of `ProcessInfo`: of the alerts that came in and the messages that went out."""
    lock: Lock

    def text(self) -> bytes:
        """The Prometheus text format."""
        with self.lock:
            return render(self.known())

    def openmetrics(self) -> bytes:
        """OpenMetrics, with exemplars."""
        with self.lock:
            return render(self.known(), openmetrics=True)

    def known(self) -> Known:
        """Look once. While the store does not answer, what the process knows of itself is all that is known."""
        alias, at = self.settings.alias, self.now()
        try:
            seen = snapshot(self.store, alias, at, self.shares() or None, charts=False)
            return Known(seen=seen, figures=figures(self.store, alias), process=self._with_store(self._process(), at))
        except (SQLAlchemyError, TrimtabError):
            alone = replace(self._process(), store_answers=False)
            return Known(seen=Snapshot.empty(alias, at), figures=Figures(), process=alone)

    def _with_store(self, process: ProcessInfo, at: datetime) -> ProcessInfo:
        more: dict[str, object] = dict(self.more())
        return replace(
            process,
            database_bytes=file_bytes(self.store.engine),
            judge=judge_totals(self.store) if self.judging else {},
            judge_budget_left=self._budget_left(at) if self.judging else None,
            **more,  # type: ignore[arg-type]  # by name; a test renders them
        )

    def _process(self) -> ProcessInfo:
        health, counts = self.loops.health, self.intake.counts
        queue_exchanges, queue_bytes = self.intake.queued
        quality, capture = self.settings.quality, self.settings.capture
        return ProcessInfo(
            version=own_version(),
            started_at=self.started_at,
            resident_bytes=resident_bytes(),
            leads=self.leads(),
            offices=self.offices(),
            judge_enabled=self.judging,
            quality_floor=quality.floor,
            quality_objective=quality.objective,
            loop_lag_s={name: loop.behind_s for name, loop in health.items()},
            loop_round_s={name: loop.lag_s for name, loop in health.items()},
            loop_faults={name: loop.faults for name, loop in health.items()},
            event_loop_lag_s=self.pulse.lag_s,
            text_paused=self.gate.paused,
            text_dropped=self.gate.without_text,
            database_limit_bytes=capture.keep_bytes,
            taps=self.intake.workers,
            queue_exchanges=queue_exchanges,
            queue_bytes=queue_bytes,
            corrupt=counts.corrupt,
            given_up=counts.given_up,
            store_faults=counts.store_faults,
        )

    def _budget_left(self, at: datetime) -> float:
        _, state = self.store.load_state(JUDGE)
        kept = json.loads(state).get("budget", {}) if state else {}
        budget = Budget.restore(self.settings.quality.calls_per_minute, kept)
        _, after = budget.take(0, at)
        return budget.capacity if after.tokens is None else after.tokens


def own_version() -> str:
    """The version of the installed distribution."""
    try:
        return version("trimtab")
    except PackageNotFoundError:
        return "0"


def resident_bytes() -> int:
    """Resident memory of this process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
