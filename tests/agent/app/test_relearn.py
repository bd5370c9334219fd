"""A person finds the changed traffic good: the alarm leads to nothing any more, and what is normal is learnt anew."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from agent.app.history import history
from agent.app.relearn import relearn
from agent.app.steer import Steer
from agent.app.watch import Watch
from agent.app.watch_state import first_window
from agent.policy.history import Settled
from agent.store import Store
from agent.store.snapshot import snapshot
from agent.store.tables import AlarmRow, ProfileRow, RolloutRow
from agent.types import AdapterVersion, InvalidInput
from agent.web.page import page
from tests.agent.app.test_loops import NOW, exchange, settings, store

__all__ = ["store"]

REASON = "a new feature, and the answers are fine"


def _jazz(first: int, last: int, store: Store) -> None:
    store.add_exchanges([exchange(n, f"play jazz number {n % 17} in the hall") for n in range(first, last)])


def _look(watch: Watch) -> None:
    while watch.tick(NOW):
        pass


def test_what_is_normal_is_learnt_anew(store: Store, tmp_path: Path) -> None:
    """After a restart as well: the changed traffic raises no alarm again, and a change back to the old one does."""
    chosen = settings(tmp_path)
    chosen = chosen.model_copy(update={"drift": chosen.drift.model_copy(update={"reference_rows": 60})})
    store.add_exchanges([exchange(n) for n in range(1, 101)])
    _jazz(101, 201, store)
    _look(Watch(chosen, store))
    alarm = snapshot(store, "home", NOW, None).alarm
    assert alarm is not None
    assert alarm.settled is None
    assert "traffic drifted" in Steer(chosen, store).tick(NOW + timedelta(hours=1))
    before = first_window(store, "home-v1")

    said = relearn(store, "home", None, by="ann", reason=f" {REASON}\n", now=NOW)
    assert said.startswith(
        "the traffic of home-v1 is normal as it is, and is learnt anew: settled by ann on 2026-01-01"
    )
    seen = snapshot(store, "home", NOW, None)
    assert seen.alarm is not None
    assert seen.alarm.settled == f"settled by ann on 2026-01-01 00:00 UTC: {REASON}"
    assert REASON in page(seen, {})
    Steer(chosen, store).tick(NOW + timedelta(hours=2))
    decision = store.last_decision("home")
    assert decision is not None
    assert decision.action == "hold"
    assert not any("drift" in reason for reason in decision.reasons)
    assert any(isinstance(line, Settled) for line in history(store, "home"))

    _jazz(201, 241, store)
    watch = Watch(chosen, store)
    _look(watch)
    assert watch.phase == "learning 40/60"
    again = Watch(chosen, store)
    _jazz(241, 501, store)
    _look(again)
    assert again.phase == "watching"
    assert first_window(store, "home-v1") != before
    assert _alarms(store) == 1
    store.add_exchanges([exchange(n) for n in range(501, 601)])
    _look(again)
    assert _alarms(store) == 2
    newest = snapshot(store, "home", NOW, None).alarm
    assert newest is not None
    assert newest.settled is None


def _alarms(store: Store) -> int:
    with store.transaction() as session:
        return len(session.exec(select(AlarmRow)).all())


def test_it_must_be_clear_who_says_what_of_whom(store: Store) -> None:
    """No reason, another's version, nothing known: a sentence each, and nothing is settled."""
    with pytest.raises(InvalidInput, match="--reason TEXT"):
        relearn(store, "home", None, by="ann", reason=" ", now=NOW)
    with pytest.raises(InvalidInput, match=r"home-v9 is no version of 'home': name one with --version \(home-v1\)"):
        relearn(store, "home", "home-v9", by="ann", reason=REASON, now=NOW)
    with pytest.raises(InvalidInput, match="no version of 'office' is known yet"):
        relearn(store, "office", None, by="ann", reason=REASON, now=NOW)
    for name in ("one", "two"):
        adapter = AdapterVersion(
            name=name, alias="seen", path="", digest="", base_digest="", parent=None, status="unverified",
            created_at=NOW,
        )  # fmt: skip
        store.put_adapter(adapter)
    with pytest.raises(InvalidInput, match=r"several versions are watched: name one with --version \(one, two\)"):
        relearn(store, "seen", None, by="ann", reason=REASON, now=NOW)
    assert "of two is normal" in relearn(store, "seen", "two", by="ann", reason=REASON, now=NOW)
    assert [event.kind for event in store.events()] == ["settled"]


def test_a_restart_afterwards_changes_nothing(store: Store, tmp_path: Path) -> None:
    """A new process after every few exchanges makes the same windows and readings as one that lived on."""
    chosen = settings(tmp_path)
    other = Store.at(tmp_path / "other")
    other.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    other.put_adapter(store.adapters("home")[0])
    steady = Watch(chosen, other)
    for start in range(1, 131, 13):
        for one in (store, other):
            one.add_exchanges([exchange(n) for n in range(start, start + 13)])
        _look(Watch(chosen, store))
        _look(steady)
        if start == 40:
            for one in (store, other):
                relearn(one, "home", None, by="ann", reason=REASON, now=NOW)
    assert _windows(store) == _windows(other)
    other.close()


def _windows(store: Store) -> list[tuple[str, int]]:
    with store.transaction() as session:
        return [(row.window_id, row.rows) for row in session.exec(select(ProfileRow))]


def test_notes_come_back_with_the_detector(store: Store, tmp_path: Path) -> None:
    """What is learnt anew may be as hard to watch as before: that is said again."""
    (tmp_path / "home-v1").mkdir()
    chosen = settings(tmp_path)
    drift = chosen.drift.model_copy(update={"reference_rows": 60})
    chosen = chosen.model_copy(update={"drift": drift, "reference": None})
    watch = Watch(chosen, store)
    for start in (1, 101):
        store.add_exchanges([exchange(n, f"room {n // 12 % 5} again {n // 12 % 5}") for n in range(start, start + 100)])
        _look(watch)
        assert len(snapshot(store, "home", NOW, None).drift.notes) == 1
        relearn(store, "home", None, by="ann", reason=REASON, now=NOW)
        store.add_exchanges([exchange(n) for n in range(1000 + start, 1010 + start)])
        _look(watch)
        assert snapshot(store, "home", NOW, None).drift.notes == ()
