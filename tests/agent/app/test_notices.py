"""Every piece of news is told once, together, and what cannot be told hurts nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.app.notices import MOST_TRIES, Notices
from agent.export.notify import Message
from agent.settings import Settings
from agent.store import Store
from agent.types import Action, Decision

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Sender:
    """An address that can be made to refuse."""

    def __init__(self, name: str) -> None:
        self.name, self.well = name, True
        self.took: list[Message] = []

    def send(self, message: Message) -> bool:
        """Keep it, unless told to refuse."""
        if self.well:
            self.took.append(message)
        return self.well


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with a past that nobody needs to hear of."""
    made = Store.at(tmp_path)
    made.record("alarm", "an old alarm", NOW - timedelta(days=1))
    yield made
    made.close()


def notices(store: Store, *senders: Sender) -> Notices:
    """As after a start of the agent."""
    return Notices(Settings.model_validate({"notify": {"group_s": 30}}), store, senders, "http://agent/")


def test_news_is_gathered_and_told_once(store: Store) -> None:
    """Nothing of the past, nothing before the group is full, one message, and never again, also after a restart."""
    sender = Sender("a")
    told = notices(store, sender)
    assert told.tick(NOW) == "tells what is new from now on"
    store.record("alarm", "timers are new", NOW)
    store.record("loaded", "the engine holds home-v1", NOW)
    decision = Decision(at=NOW + timedelta(seconds=9), alias="home", action=Action.RETRAIN, reasons=("it fell", "0.61"))
    store.put_decision(decision)
    assert told.tick(NOW + timedelta(seconds=29)) == "gathers: 2 for the next message"
    assert told.tick(NOW + timedelta(seconds=31)) == "2 lines sent to 1 addresses, 0 failed"
    again = notices(store, sender)
    assert again.tick(NOW + timedelta(seconds=90)) == "nothing new"
    assert len(sender.took) == 1
    body = sender.took[0].body
    assert "timers are new" in body
    assert "decided to retrain: it fell\n  - 0.61" in body
    assert "the engine holds" not in body
    assert "Status page: http://agent/" in body
    assert again.figures() == {"notified": 1, "notify_failed": 0}


def test_an_address_that_fails_gets_the_same_message_again_and_the_others_do_not(store: Store) -> None:
    """A second try tells what the first told; what came meanwhile is the next message for all."""
    good, bad = Sender("good"), Sender("bad")
    told = notices(store, good, bad)
    told.tick(NOW)
    store.record("alarm", "first", NOW)
    bad.well = False
    assert "tried again" in told.tick(NOW + timedelta(minutes=1))
    store.record("alarm", "second", NOW + timedelta(minutes=1))
    bad.well = True
    told.tick(NOW + timedelta(minutes=2))
    told.tick(NOW + timedelta(minutes=3))
    assert ["first" in m.body for m in good.took] == ["first" in m.body for m in bad.took] == [True, False]
    assert "second" in good.took[1].body
    assert told.figures() == {"notified": 4, "notify_failed": 0}


def test_an_address_that_stays_down_is_given_up_and_named(store: Store) -> None:
    """After three tries the message is dropped with a line in the record, and that line is no news itself."""
    bad = Sender("address 1 (json://nowhere)")
    told = notices(store, bad)
    told.tick(NOW)
    store.record("alarm", "first", NOW)
    bad.well = False
    says = [told.tick(NOW + timedelta(minutes=minute)) for minute in range(1, MOST_TRIES + 3)]
    assert says[MOST_TRIES - 1] == "1 lines sent to 0 addresses, 1 failed"
    assert says[-1] == "nothing new"
    assert told.figures() == {"notified": 0, "notify_failed": 1}
    lines = [e.text for e in store.events() if e.kind == "notify"]
    assert lines == ["a message of 1 lines could not be sent to address 1 (json://nowhere) (it was refused)"]


def test_without_addresses_nothing_is_written(store: Store) -> None:
    """Who wants no messages pays nothing."""
    assert notices(store).tick(NOW) == "no address is set"
    assert store.load_state("notify") == (0, b"")
