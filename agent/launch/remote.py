"""Retraining orders as jobs of a cluster that looks after them itself.

Lives here: the port `Cluster`, and the one reconcile of orders and jobs that every cluster is driven by.
Comes in: order rows, what the cluster says of its jobs. Goes out: jobs; attempts, status and reasons in the rows.
Must never know: which cluster it is, what a job does.

Level-triggered: every look begins from the rows and the cluster's own list, so it does not matter which sidecar
started a job, or how often it was killed since. Nothing travels by a folder: a job is started with its order's id, and
takes the order from the database; its adapter goes into the object store, its verdict into the database.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from agent.store import Store
from agent.store.tables import OrderRow
from agent.types import InvalidInput, RemoteFault

ELSEWHERE_S = 15.0
"""A running order without a job here is somebody else's work as long as its heartbeat is younger."""
SILENT_S = 60.0
"""A job that the cluster calls alive and that has not been heard of for so long is told of, once."""


class State(enum.StrEnum):
    """What a cluster says of a job."""

    ALIVE = "alive"
    """Waiting, starting or running."""
    ENDED = "ended"
    """It ended well."""
    DIED = "died"
    """It ended badly, and may be started again."""
    OVER = "over"
    """It ended badly, and starting it again would change nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One job as its cluster sees it. `says` are its last words, or the cluster's."""

    state: State
    says: str = ""


class Cluster(Protocol):
    """Where jobs run. Methods raise RemoteFault when the cluster does not answer, InvalidInput when it refuses."""

    name: str
    """What people call it."""

    def jobs(self) -> Mapping[str, Seen]:
        """The newest job of every order, by the order's id; an order that has none is not there."""

    def start(self, order_id: str, attempt: int) -> None:
        """Have a job of this order. Fine when it is there already: an order has one living job at most."""

    def end(self, order_id: str) -> None:
        """End the job of an order, if it has one."""

    def close(self) -> None:
        """Give connections back."""


class RemoteLauncher:
    """Starts orders in a cluster and brings their rows up to what became of them."""

    def __init__(self, store: Store, cluster: Cluster, *, max_attempts: int = 3) -> None:
        self._store = store
        self._cluster = cluster
        self._max_attempts = max_attempts
        self._silent: set[str] = set()

    def tick(self, now: datetime) -> str:
        """Look after running orders, then start the oldest open one when none runs; says what it did.

        A cluster that cannot be asked fails no order: its jobs go on, and the next look begins anew.
        """
        try:
            return self._tick(now)
        except (RemoteFault, InvalidInput) as fault:
            return str(fault)

    def stop(self) -> None:
        """Leave the jobs alone: they outlive the sidecar, and the next one finds them."""
        self._cluster.close()

    def _tick(self, now: datetime) -> str:
        jobs = self._cluster.jobs()
        self._clear(jobs)
        running = [row.id for row in self._store.orders(status=["running"]) if self._look(row, jobs.get(row.id), now)]
        if running:
            return f"{', '.join(running)} at work"
        waiting = self._store.orders(status=["open"])
        if not waiting:
            return "no order"
        return f"{waiting[-1].id} started" if self._start(waiting[-1], now) else f"{waiting[-1].id} failed"

    def _clear(self, jobs: Mapping[str, Seen]) -> None:
        """End what works on an order that is over: its row was failed, by a person or by a bound."""
        alive = {order_id for order_id, seen in jobs.items() if seen.state is State.ALIVE}
        for row in self._store.orders(status=["failed"]) if alive else ():
            if row.id in alive:
                self._cluster.end(row.id)

    def _look(self, row: OrderRow, seen: Seen | None, now: datetime) -> bool:
        """Whether this order is at work after this look."""
        if seen is not None and seen.state is State.ALIVE:
            self._listen(row, now)
            return True
        if seen is None and _young(row, ELSEWHERE_S, now):
            return True
        row = self._store.order(row.id)  # a job commits its result before it ends: look again, now that it has
        if row.status != "running":
            return False
        if seen is None or seen.state is State.DIED:
            return self._again(row, seen, now)
        if seen.state is State.ENDED:
            self._fail(row.id, f"its job ended in {self._cluster.name} without a result: {seen.says or 'no word'}", now)
        else:
            self._fail(row.id, seen.says or f"{self._cluster.name} gave its job up", now)
        return False

    def _listen(self, row: OrderRow, now: datetime) -> None:
        if _young(row, SILENT_S, now):
            self._silent.discard(row.id)
        elif row.id not in self._silent:
            self._silent.add(row.id)
            text = f"the job of {row.id} is alive to {self._cluster.name}, and silent for {SILENT_S:.0f} s"
            self._store.record("job_silent", text, now, order=row.id)

    def _again(self, row: OrderRow, seen: Seen | None, now: datetime) -> bool:
        how = f"is gone from {self._cluster.name}" if seen is None else f"died: {seen.says or 'no word'}"
        if row.attempts >= self._max_attempts:
            self._fail(row.id, f"the job of attempt {row.attempts}, the last, {how}", now)
            return False
        if not self._start(row, now):
            return False
        said = f"the job of {row.id} {how}; started again, attempt {row.attempts + 1}"
        self._store.record("job_restarted", said, now, order=row.id)
        return True

    def _start(self, row: OrderRow, now: datetime) -> bool:
        """The attempt is counted first: should the sidecar die in between, the next one finds no job and starts it.

        Where the cluster does not answer, it is not counted: the next look tries the same attempt, under the same name.
        """
        attempt = row.attempts + 1
        self._store.update_order(
            row.id, status="running", attempts=attempt, pid=None, error=None,
            started_at=row.started_at or now, heartbeat_at=now,
        )  # fmt: skip
        try:
            self._cluster.start(row.id, attempt)
        except InvalidInput as refusal:
            self._fail(row.id, str(refusal), now)
            return False
        except RemoteFault:
            self._store.update_order(
                row.id,
                status=row.status,
                attempts=row.attempts,
                started_at=row.started_at,
                heartbeat_at=row.heartbeat_at,
            )
            raise
        return True

    def _fail(self, order_id: str, reason: str, now: datetime) -> None:
        self._store.update_order(order_id, status="failed", error=reason, finished_at=now, pid=None)
        self._store.record("order_failed", f"order {order_id} failed: {reason}", now, order=order_id)


def _young(row: OrderRow, seconds: float, now: datetime) -> bool:
    return row.heartbeat_at is not None and now - row.heartbeat_at < timedelta(seconds=seconds)
