"""The lease of an order: one holder, taken over from a dead one, given back, lost in time."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from agent.launch import lease
from agent.launch.lock import AlreadyRunning
from agent.store.objects import Folder
from agent.types import RemoteFault

KEY = "orders/o1/lease"


def test_one_holds_it_and_lets_the_next_in(tmp_path: Path) -> None:
    """A second one is turned away as soon as it sees a renewal; after the end it gets in at once."""
    objects = Folder(tmp_path)
    with lease.held(objects, KEY, ttl_s=0.3) as mine:
        with pytest.raises(AlreadyRunning, match="another machine works on"), lease.held(objects, KEY, ttl_s=5.0):
            pass
        mine.check()
    with lease.held(objects, KEY, wait_s=0.0) as next_one:
        next_one.check()


def test_a_dead_holder_is_succeeded(tmp_path: Path) -> None:
    """A lease that nobody renews for its time is taken, and whoever had it learns that it is gone."""
    objects = Folder(tmp_path)
    dead = lease.Lease(objects, KEY, ttl_s=0.1)
    dead.take(0.0)
    with pytest.raises(AlreadyRunning, match="holds"):
        lease.Lease(objects, KEY, ttl_s=60.0).take(0.0)
    heir = lease.Lease(objects, KEY, ttl_s=0.1)
    heir.take(5.0)
    dead.renew()
    with pytest.raises(AlreadyRunning, match="was lost"):
        dead.check()
    heir.give_back()
    dead.give_back()
    lease.Lease(objects, KEY).take(0.0)


def test_of_many_that_want_it_one_gets_it(tmp_path: Path) -> None:
    """Taken from nothing by eight at once, it has one holder."""
    objects, got = Folder(tmp_path), []

    def want() -> None:
        mine = lease.Lease(objects, KEY)
        try:
            mine.take(0.0)
        except AlreadyRunning:
            return
        got.append(mine)

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_store_that_is_away_is_borne_for_the_lease_s_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A renewal that fails loses nothing at once; after the lease's time it is not sure any more."""
    mine = lease.Lease(Folder(tmp_path), KEY, ttl_s=60.0)
    mine.take(0.0)

    def away(*_: object) -> str:
        raise RemoteFault("it does not answer")

    monkeypatch.setattr(Folder, "swap", away)
    mine.renew()
    mine.check()
    mine._renewed_at -= 61.0
    with pytest.raises(AlreadyRunning, match="was lost"):
        mine.check()
