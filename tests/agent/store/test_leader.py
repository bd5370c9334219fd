"""One sidecar leads, another follows it at once, and who was only asleep writes nothing."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from agent.store import Store, leader
from agent.store.leader import MOVES, Leader, NotLeading
from agent.store.tables import RolloutRow
from tests.agent.store.traffic import START
from tests.estate.postgres import Postgres

TAKEOVER_S = 15.0


def until(what: Callable[[], bool]) -> float:
    """Wait until it is so; returns the seconds it took."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < TAKEOVER_S
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
def pair(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Leader, Leader]]:
    """Two sidecars of one database that ask as often as they like."""
    monkeypatch.setattr(leader, "LOOK_S", 0.0)
    both = Leader(store, "home", "pod-a"), Leader(store, "home", "pod-b")
    yield both
    for one in both:
        one.resign()


def test_one_leads_until_it_resigns(pair: tuple[Leader, Leader], store: Store) -> None:
    """Of two that ask again and again one leads; when it goes the other does; other aliases have their own."""
    first, second = pair
    assert [(first.lead(), second.lead()) for _ in range(3)] == [(True, False)] * 3
    other = Leader(store, "garden", "pod-b")
    if store.url.startswith("postgresql"):
        assert other.lead()
        assert first.who() == "pod-a"
    other.resign()
    first.resign()
    assert (first.leading, second.lead()) == (False, True)


def test_two_offices_of_one_alias_are_apart(pair: tuple[Leader, Leader], store: Store) -> None:
    """Who decides and who moves versions may be two processes, or one; each office has a holder and term of its own."""
    first, second = pair
    movers = Leader(store, "home", "pod-a", MOVES), Leader(store, "home", "pod-b", MOVES)
    assert (first.lead(), movers[1].lead()) == (True, True)
    assert (second.lead(), movers[0].lead()) == (False, False)
    movers[1].resign()
    assert (first.leading, movers[0].lead()) == (True, True)
    store.guarded(movers[0].guard).put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=START))
    for one in movers:
        one.resign()


def test_who_slept_through_a_change_writes_nothing(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader whose lock was lost unnoticed is stopped by the term, within the transaction; its successor is not."""
    monkeypatch.setattr(leader, "LOOK_S", 0.0)
    store = Store(database)
    old, new = Leader(store, "home", "pod-a"), Leader(store, "home", "pod-b")
    assert old.lead()
    assert old._connection is not None
    pid = old._connection.execute(text("SELECT pg_backend_pid()")).scalar()
    with store.engine.connect() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend({pid})"))
    until(new.lead)
    monkeypatch.setattr(leader, "LOOK_S", 3600.0)
    assert old.lead(), "it has not noticed"
    row = RolloutRow(alias="home", champion="home-v1", updated_at=START)
    with pytest.raises(NotLeading):
        store.guarded(old.guard).put_rollout(row)
    assert store.rollout("home") is None
    assert not old.leading
    store.guarded(new.guard).put_rollout(row)
    assert store.rollout("home") is not None
    for one in (old, new):
        one.resign()
    store.close()


def test_a_server_that_restarts_has_a_leader_again(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the database is away nobody leads, and nothing raises; afterwards somebody does."""
    monkeypatch.setattr(leader, "LOOK_S", 0.0)
    store = Store(postgres.clone())
    one = Leader(store, "home", "pod-a")
    assert one.lead()
    postgres.stop("immediate")
    assert not one.lead()
    postgres.start()
    assert one.lead()
    assert store.load_state("leader:home")[0] == 2
    one.resign()
    store.close()


SIDECAR = """
import sys, time
from datetime import datetime, UTC
from uuid import uuid4
from agent.store import Store
from agent.store.leader import Leader
from agent.store.tables import OrderRow
url, me = sys.argv[1:]
store = Store(url, connections=4)
leader = Leader(store, "home", me)
led = store.guarded(leader.guard)
print("ready", flush=True)
while True:
    if leader.lead() and not store.orders(status=["open"]):
        with led.transaction() as session:
            session.add(OrderRow(id=uuid4().hex, alias="home", status="open", reason=me, document={},
                                 opened_at=datetime.now(UTC)))
    time.sleep(0.02)
"""


@contextmanager
def sidecar(url: str, me: str) -> Iterator[subprocess.Popen[str]]:
    """A process that opens an order whenever it leads and there is none."""
    command = [sys.executable, "-c", SIDECAR, url, me]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_the_leader_is_killed_and_another_takes_over(database: str) -> None:
    """Two processes, SIGKILL for the one that leads: the other leads within 15 s, and each order is opened once."""
    store = Store(database)
    with sidecar(database, "pod-a") as a, sidecar(database, "pod-b") as b:
        until(lambda: bool(store.orders()))
        (first,) = store.orders()
        victim, heir = (a, "pod-b") if first.reason == "pod-a" else (b, "pod-a")
        victim.kill()
        victim.wait()
        store.update_order(first.id, status="done")  # the next one is due
        until(lambda: len(store.orders()) > 1)
    assert sorted(order.reason for order in store.orders()) == ["pod-a", "pod-b"]
    assert Leader(store, "home", "watcher").who() == heir
    assert [event.kind for event in store.events()] == ["leader", "leader"]
    store.close()


def test_many_threads_ask_one_office(store: Store) -> None:
    """The loops of a sidecar ask at the same moment, and all hear the same."""
    one, said = Leader(store, "home", "pod-a"), []
    threads = [threading.Thread(target=lambda: said.append(one.lead())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [True] * 6
    one.resign()
