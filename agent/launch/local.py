"""Retraining orders as processes of this machine.

Lives here: start, watch, start again, give up, stop. Level-triggered: every look begins from the store, the order's
folder and the kernel, so it does not matter who started a job or how often the agent was killed since.
Comes in: order rows, the command that works an order off. Goes out: processes; pid, attempts and status in the rows.
Must never know: what a job does. It imports nothing of it; the command is a list of words.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from agent.launch import lock, process
from agent.store import Store
from agent.store.tables import OrderRow

JOB, ORDER_FILE, LOG = "job.json", "order.json", "job.log"
NICE = 10
GRACE_S = 5.0
ELSEWHERE_S = 15.0
"""A running order without a process of ours is somebody else's work as long as its heartbeat is younger."""
BAD_ORDER = 2
"""Exit status of a job whose order must be written differently: starting it again would change nothing."""


@dataclass(frozen=True, kw_only=True)
class _Job:
    """What is written beside an order about its process."""

    order_file: str
    log: str
    pid: int | None = None
    ticks: int | None = None
    boot: str = ""

    @property
    def alive(self) -> bool:
        """A job that was dead before its start time could be read has no ticks, and is not alive."""
        if self.pid is None or self.ticks is None or self.boot != process.boot_id():
            return False
        return process.started_ticks(self.pid) == self.ticks


class LocalLauncher:
    """Starts orders and keeps them running until they are done, failed, or died too often."""

    def __init__(
        self,
        store: Store,
        home: Path,
        command: Sequence[str],
        *,
        max_attempts: int = 3,
        threads: int | None = None,
        nice: int = NICE,
        memory_mb: int | None = None,
    ) -> None:
        """`command` gets the order file as its last word. `threads` bounds the job's CPU threads.

        None leaves one core to the engine: threads that wait for each other on a shared core take far longer.
        `memory_mb` bounds what each process of the job may allocate (RLIMIT_DATA).
        """
        self._store = store
        self._home = home
        self._command = tuple(command)
        self._max_attempts = max_attempts
        self._threads = threads or max(1, len(os.sched_getaffinity(0)) - 1)
        self._nice = nice
        self._memory_mb = memory_mb
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def tick(self, now: datetime) -> str:
        """Look after running orders, then start the oldest open one when none runs; says what it did."""
        running = self.poll(now)
        if running:
            return f"{', '.join(running)} at work"
        waiting = self._store.orders(status=["open"])
        if not waiting:
            return "no order"
        row = waiting[-1]
        work = self._work(row.id)
        work.mkdir(parents=True, exist_ok=True)
        self.start(row.id, _write_order(work, row), work / LOG, now)
        return f"{row.id} started"

    def start(self, order_id: str, order_file: Path, log: Path, now: datetime | None = None) -> int | None:
        """Start a job in a process group of its own; returns its pid, None when it cannot be started.

        The attempt is counted before the process exists, and should the agent die in between, the lock in the
        order's folder keeps a second process from working on it.
        """
        at = now or datetime.now(UTC)
        work = self._work(order_id)
        work.mkdir(parents=True, exist_ok=True)
        job = _Job(order_file=str(order_file), log=str(log))
        _write_job(work, job)
        row = self._store.order(order_id)
        self._store.update_order(
            order_id, status="running", attempts=row.attempts + 1, pid=None, error=None,
            started_at=row.started_at or at, heartbeat_at=at,
        )  # fmt: skip
        try:
            with log.open("ab") as stream:
                child = subprocess.Popen(
                    [*self._prefix(), *self._command, str(order_file)],
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except OSError as error:
            self._fail(order_id, f"the job cannot be started: {error}", at)
            return None
        self._children[order_id] = child
        ticks = process.started_ticks(child.pid)
        _write_job(
            work, _Job(order_file=job.order_file, log=job.log, pid=child.pid, ticks=ticks, boot=process.boot_id())
        )
        self._store.update_order(order_id, pid=child.pid)
        return child.pid

    def poll(self, now: datetime) -> tuple[str, ...]:
        """Bring rows and processes together; returns the ids of orders that are at work.

        A running order without a living process is started again, until it has been tried `max_attempts` times.
        """
        rows = self._store.orders(status=["running"])
        for order_id in self._children.keys() - {row.id for row in rows}:
            if self._children[order_id].poll() is not None:
                del self._children[order_id]
        return tuple(row.id for row in rows if self._look(row, now))

    def stop(self) -> None:
        """End every job with its children. Their orders stay running in the store: the next agent takes them up."""
        for row in self._store.orders(status=["running"]):
            job = _read_job(self._work(row.id))
            if job is None or job.pid is None or not job.alive:
                continue
            process.end_group(job.pid, GRACE_S)
            if row.id in self._children:
                self._children.pop(row.id).wait()
            self._store.update_order(row.id, pid=None, attempts=max(0, row.attempts - 1))

    # -- one order ---------------------------------------------------------------------------------

    def _look(self, row: OrderRow, now: datetime) -> bool:
        """Whether this order is at work after this look."""
        work = self._work(row.id)
        job = _read_job(work)
        child = self._children.get(row.id)
        alive = job is not None and job.alive
        status = child.poll() if child is not None else None
        if job is not None and job.pid is not None and job.boot == process.boot_id() and not alive:
            process.end_orphans(job.pid)
        if alive or (child is not None and status is None) or lock.is_held(work) or _elsewhere(row, job, now):
            return True
        self._children.pop(row.id, None)
        row = self._store.order(row.id)
        if row.status != "running":
            return False
        last = _last_line(Path(job.log)) if job else ""
        if status == BAD_ORDER:
            self._fail(row.id, last or "the job refused its order", now)
            return False
        if row.attempts >= self._max_attempts:
            self._fail(row.id, f"the job died {row.attempts} times; its last words: {last or 'none'}", now)
            return False
        how = "without a word" if status is None else f"with status {status}"
        said = f"the job of {row.id} ended {how}: started again, attempt {row.attempts + 1}"
        self._store.record("job_restarted", said, now, order=row.id)
        work.mkdir(parents=True, exist_ok=True)
        order_file = Path(job.order_file) if job else _write_order(work, row)
        return self.start(row.id, order_file, Path(job.log) if job else work / LOG, now) is not None

    def _fail(self, order_id: str, reason: str, now: datetime) -> None:
        self._store.update_order(order_id, status="failed", error=reason, finished_at=now, pid=None)
        self._store.record("order_failed", f"order {order_id} failed: {reason}", now, order=order_id)

    def _work(self, order_id: str) -> Path:
        return self._home / "orders" / order_id

    def _prefix(self) -> list[str]:
        """A polite job: it yields the processor to traffic, does not spin while it waits, and has bounds."""
        threads = [f"OMP_NUM_THREADS={self._threads}", f"MKL_NUM_THREADS={self._threads}"]
        polite = ["env", *threads, "PYTHONUNBUFFERED=1", "nice", "-n", str(self._nice)]
        if self._memory_mb is None:
            return polite
        return [*polite, "prlimit", "--core=0", f"--data={self._memory_mb * 2**20}", "--"]


def _elsewhere(row: OrderRow, job: _Job | None, now: datetime) -> bool:
    """Another machine or a person works on it: no process of ours, and a heartbeat that is young."""
    beat = row.heartbeat_at
    return job is None and beat is not None and now - beat < timedelta(seconds=ELSEWHERE_S)


def _write_order(work: Path, row: OrderRow) -> Path:
    path = work / ORDER_FILE
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(row.document, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)
    return path


def _write_job(work: Path, job: _Job) -> None:
    draft = work / (JOB + ".tmp")
    draft.write_text(json.dumps(asdict(job)) + "\n", encoding="utf-8")
    draft.replace(work / JOB)


def _read_job(work: Path) -> _Job | None:
    try:
        return _Job(**json.loads((work / JOB).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _last_line(log: Path) -> str:
    """The last thing that a job said, cut to 300 characters."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 4096))
            lines = stream.read().decode("utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")
