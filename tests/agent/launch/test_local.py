"""Orders as processes: started once, started again when they die, adopted, never doubled."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.launch import lock, process
from agent.launch.local import LocalLauncher
from agent.store import Store
from agent.store.tables import OrderRow

ROOT = Path(__file__).resolve().parents[3]
NOW = datetime(2026, 1, 1, tzinfo=UTC)

MADE: list[LocalLauncher] = []
"""Launchers of a test, kept so that what they started is ended and reaped."""

JOB = f"""
import json, os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from agent.launch import lock
order = json.loads(Path(sys.argv[-1]).read_text())
work = Path(sys.argv[-1]).parent
try:
    with lock.held(work, wait_s=0.5):
        with (work / "runs").open("a") as runs:
            runs.write(f"{{os.getpid()}} {{os.nice(0)}} {{os.environ['OMP_NUM_THREADS']}}\\n")
        print("at it", flush=True)
        if order["do"] == "wait":
            time.sleep(60)
        if order["do"] == "orphan":
            child = os.fork()
            if child == 0:
                time.sleep(60)
                os._exit(0)
            (work / "child").write_text(str(child))
            os.kill(os.getpid(), 9)
        if order["do"] == "greedy":
            bytearray(800_000_000)
        if order["do"] == "refuse":
            print("write it differently", flush=True)
            sys.exit(2)
        if order["do"] == "done":
            from agent.store import Store
            store = Store(order["store"])
            store.update_order("o1", status="done")
            store.close()
except lock.AlreadyRunning:
    with (work / "turned_away").open("a") as runs:
        runs.write("x")
    sys.exit(1)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give a store, and end what a test left running."""
    store = Store.at(tmp_path)
    yield store
    for local in MADE:
        for child in local._children.values():
            process.end_group(child.pid, 0)
            child.wait()
    MADE.clear()
    store.close()


def add(store: Store, do: str) -> None:
    """Open an order that does something simple."""
    with store.transaction() as session:
        document = {"do": do, "store": store.url}
        session.add(OrderRow(id="o1", alias="home", status="open", reason="r", document=document, opened_at=NOW))


def launcher(store: Store, home: Path, **options: int) -> LocalLauncher:
    """Give a launcher of the simple job, as a fresh agent would make it."""
    MADE.append(LocalLauncher(store, home, [sys.executable, "-c", JOB], threads=2, nice=3, **options))
    return MADE[-1]


def until(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def runs(home: Path) -> list[list[str]]:
    """Read what jobs wrote when they began: pid, niceness, threads."""
    path = home / "orders" / "o1" / "runs"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_an_open_order_is_started_politely_and_once(store: Store, tmp_path: Path) -> None:
    """The job gets its order, is nice, has bounded threads, and further looks leave it alone."""
    add(store, "wait")
    local = launcher(store, tmp_path)
    assert local.tick(NOW) == "o1 started"
    until(lambda: len(runs(tmp_path)) == 1)
    assert local.tick(NOW) == "o1 at work"
    row = store.order("o1")
    pid, nice, threads = runs(tmp_path)[0]
    assert (row.status, row.attempts, str(row.pid)) == ("running", 1, pid)
    assert (int(nice), threads) == (os.nice(0) + 3, "2")
    assert os.getpgid(int(pid)) == int(pid)


def test_a_finished_order_is_left_in_peace(store: Store, tmp_path: Path) -> None:
    """A job that closed its order is not started again."""
    add(store, "done")
    local = launcher(store, tmp_path)
    local.tick(NOW)
    until(lambda: store.order("o1").status == "done")
    until(lambda: local.tick(NOW) == "no order")
    assert len(runs(tmp_path)) == 1


def test_a_killed_job_is_started_again_until_it_is_hopeless(store: Store, tmp_path: Path) -> None:
    """SIGKILL costs an attempt; when all are used the order fails and says what the job said last."""
    add(store, "wait")
    local = launcher(store, tmp_path, max_attempts=2)
    local.tick(NOW)
    until(lambda: len(runs(tmp_path)) == 1)
    os.killpg(int(runs(tmp_path)[-1][0]), signal.SIGKILL)
    until(lambda: (local.poll(NOW), len(runs(tmp_path)))[1] == 2)
    os.killpg(int(runs(tmp_path)[-1][0]), signal.SIGKILL)
    until(lambda: (local.poll(NOW), store.order("o1").status)[1] == "failed")
    row = store.order("o1")
    assert row.status == "failed"
    assert row.error is not None
    assert "died 2 times" in row.error
    assert "at it" in row.error
    assert len(runs(tmp_path)) == 2


def test_a_job_that_dies_during_a_look_is_reaped(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a look asks first, a process that dies between two questions leaves neither a zombie nor a warning."""
    add(store, "wait")
    local = launcher(store, tmp_path)
    local.tick(NOW)
    until(lambda: len(runs(tmp_path)) == 1)
    first = local._children["o1"]
    asked = process.started_ticks

    def dies_now(pid: int) -> int | None:
        if pid == first.pid and asked(pid) is not None:
            os.killpg(pid, signal.SIGKILL)
            until(lambda: asked(pid) is None)
        return asked(pid)

    monkeypatch.setattr(process, "started_ticks", dies_now)
    until(lambda: (local.poll(NOW), len(runs(tmp_path)))[1] == 2)
    assert first.returncode == -signal.SIGKILL


def test_a_job_that_is_dead_before_it_is_looked_at_is_not_at_work(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that ends before its start time can be read is taken for dead, not for alive for ever."""
    add(store, "refuse")
    local = launcher(store, tmp_path)
    with monkeypatch.context() as quick:
        quick.setattr(process, "started_ticks", lambda _: None)
        local.tick(NOW)
    until(lambda: (local.poll(NOW), store.order("o1").status)[1] == "failed")
    assert store.order("o1").error == "write it differently"


def test_what_a_dead_job_left_is_ended_before_the_next_attempt(store: Store, tmp_path: Path) -> None:
    """A worker that outlives its job holds the order's lock: it is killed, and the order goes on to its end."""
    add(store, "orphan")
    local = launcher(store, tmp_path, max_attempts=1)
    local.tick(NOW)
    until(lambda: (local.poll(NOW), store.order("o1").status)[1] == "failed")
    worker = int((tmp_path / "orders" / "o1" / "child").read_text())
    until(lambda: process.started_ticks(worker) is None)
    assert not lock.is_held(tmp_path / "orders" / "o1")


def test_a_job_has_no_more_memory_than_it_was_given(store: Store, tmp_path: Path) -> None:
    """What wants more than its bound fails by itself, and leaves the machine alone."""
    add(store, "greedy")
    local = launcher(store, tmp_path, max_attempts=1, memory_mb=512)
    local.tick(NOW)
    until(lambda: (local.poll(NOW), store.order("o1").status)[1] == "failed")
    assert "MemoryError" in str(store.order("o1").error)


def test_a_refused_order_is_not_tried_again(store: Store, tmp_path: Path) -> None:
    """Exit status 2 fails the order at once with the job's own sentence."""
    add(store, "refuse")
    local = launcher(store, tmp_path)
    local.tick(NOW)
    until(lambda: (local.poll(NOW), store.order("o1").status)[1] == "failed")
    assert store.order("o1").error == "write it differently"
    assert len(runs(tmp_path)) == 1


def test_an_orphan_is_adopted_and_not_doubled(store: Store, tmp_path: Path) -> None:
    """A fresh agent finds the job of a killed one at work, leaves it alone, and can end it."""
    add(store, "wait")
    launcher(store, tmp_path).tick(NOW)
    until(lambda: len(runs(tmp_path)) == 1)
    fresh = launcher(store, tmp_path)
    assert fresh.tick(NOW) == "o1 at work"
    fresh.stop()
    pid = int(runs(tmp_path)[0][0])
    assert process.started_ticks(pid) is None
    assert (store.order("o1").status, store.order("o1").attempts) == ("running", 0)
    assert fresh.poll(NOW) == ("o1",)
    until(lambda: len(runs(tmp_path)) == 2)


def test_a_job_whose_pid_was_never_noted_keeps_its_lock(store: Store, tmp_path: Path) -> None:
    """An agent killed between starting a job and noting its pid does not start a second one."""
    add(store, "wait")
    launcher(store, tmp_path).tick(NOW)
    until(lambda: len(runs(tmp_path)) == 1)
    note = tmp_path / "orders" / "o1" / "job.json"
    noted = json.loads(note.read_text())
    note.write_text(json.dumps({**noted, "pid": None}))
    fresh = launcher(store, tmp_path)
    assert fresh.poll(NOW) == ("o1",)
    assert len(runs(tmp_path)) == 1
    fresh.start("o1", Path(noted["order_file"]), Path(noted["log"]), NOW)
    until((tmp_path / "orders" / "o1" / "turned_away").exists)
    assert len(runs(tmp_path)) == 1
    os.killpg(int(runs(tmp_path)[0][0]), signal.SIGKILL)


def test_work_elsewhere_is_respected_while_it_beats(store: Store, tmp_path: Path) -> None:
    """A running order with a young heartbeat and no process of ours is left alone; an old one is taken up."""
    add(store, "wait")
    store.update_order("o1", status="running", heartbeat_at=NOW)
    local = launcher(store, tmp_path)
    assert local.poll(NOW + timedelta(seconds=5)) == ("o1",)
    assert runs(tmp_path) == []
    assert local.poll(NOW + timedelta(seconds=60)) == ("o1",)  # taken up
    until(lambda: len(runs(tmp_path)) == 1)


def test_a_recycled_pid_is_not_taken_for_the_job(store: Store, tmp_path: Path) -> None:
    """Another process with the noted pid is neither the job nor ours to end."""
    add(store, "wait")
    store.update_order("o1", status="running", attempts=1)
    work = tmp_path / "orders" / "o1"
    work.mkdir(parents=True)
    note = {"order_file": "x", "log": "y", "pid": os.getpid(), "ticks": 1, "boot": process.boot_id()}
    (work / "job.json").write_text(json.dumps(note))
    local = launcher(store, tmp_path, max_attempts=1)
    local.stop()
    assert local.poll(NOW) == ()
    assert store.order("o1").status == "failed"


def test_a_command_that_does_not_exist_fails_the_order(store: Store, tmp_path: Path) -> None:
    """A launcher that cannot start anything says so in the order instead of trying for ever."""
    add(store, "wait")
    local = LocalLauncher(store, tmp_path, ["/no/such/program"], max_attempts=1)
    local.tick(NOW)
    until(lambda: (local.poll(NOW), store.order("o1").status)[1] == "failed")


def test_the_lock_is_held_by_one(tmp_path: Path) -> None:
    """The second one is turned away, and the end of the first lets the next one in."""
    with lock.held(tmp_path):
        assert lock.is_held(tmp_path)
        with pytest.raises(lock.AlreadyRunning), lock.held(tmp_path, wait_s=0):
            pass
    assert not lock.is_held(tmp_path)
