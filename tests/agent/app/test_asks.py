"""From an alert to an order, a rollback or a watch: by the same policy, once, and with every reason kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from agent.app.asks import Asks
from agent.app.steer import Steer
from agent.rollout import wish
from agent.settings import Settings
from agent.store import Store
from agent.store.tables import DecisionRow, EventRow, OrderRow, RolloutRow
from agent.types import AdapterVersion, Exchange, InvalidInput, Message, Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with traffic; home-v2 is the champion, home-v1 was before it."""
    made = Store.at(tmp_path)
    for number, parent in ((1, None), (2, "home-v1")):
        made.put_adapter(
            AdapterVersion(
                name=f"home-v{number}", alias="home", path=str(tmp_path), digest="d", base_digest="b", parent=parent,
                status="live", created_at=NOW,
            )
        )  # fmt: skip
    made.put_rollout(RolloutRow(alias="home", champion="home-v2", updated_at=NOW))
    yield made
    made.close()


def traffic(store: Store, n: int) -> None:
    """Exchanges to learn from."""
    store.add_exchanges(
        [
            Exchange(
                id=f"x{seq}", worker="w", seq=seq, started_at=NOW, path="/v1/chat/completions", alias="home",
                version="home-v2", status=200, outcome=Outcome.COMPLETE,
                messages=(Message(role="user", text="light"),), answer="on",
            )
            for seq in range(1, n + 1)
        ]
    )  # fmt: skip


def settings(home: Path, **policy: Any) -> Settings:
    """Settings by which an order can be written."""
    known = {"fresh_exchanges": 20, "cooldown_s": 600} | policy
    return Settings.model_validate({"home": home, "policy": known, "retrain": {"base_model_path": home / "base"}})


class House:
    """The policy loop with the wishes of alerts, over a store."""

    def __init__(self, store: Store, home: Path) -> None:
        self.store = store
        self.rolled_back: list[str] = []
        self.asks = Asks(store, "home")
        self.steer = Steer(settings(home), store, self.asks)

    def grant(self) -> None:
        """A wish for a rollback, as the rollout grants it as far as the store is concerned."""
        wished = wish.standing(self.store, "home")
        if wished is None:
            return
        self.rolled_back.append(wished.reason)
        row = RolloutRow(alias="home", champion="home-v1", challenger="home-v2", phase="drain", updated_at=NOW)
        with self.store.transaction() as session:
            self.store.put_rollout(row, session=session)
            wish.clear(session, self.store, "home")

    def fire(self, action: str, at: datetime = NOW, **changes: Any) -> dict[str, Any]:
        """An alert comes in."""
        alert = {
            "status": "firing",
            "labels": {"alertname": "Complaints", "trimtab_action": action},
            "annotations": {"summary": "Many complaints."},
            "startsAt": "2025-12-31T23:59:00Z",
            "fingerprint": "5ef7",
        }
        return self.asks.take({"version": "4", "alerts": [alert | changes]}, at)

    def orders(self) -> list[OrderRow]:
        """Oldest first."""
        return self.store.orders()[::-1]

    def decisions(self) -> list[DecisionRow]:
        """Oldest first."""
        with self.store.transaction() as session:
            return list(session.exec(select(DecisionRow)).all())

    def record(self) -> list[str]:
        """What the record says of alerts."""
        with self.store.transaction() as session:
            return [e.text for e in session.exec(select(EventRow)).all() if e.kind == "alert"]


@pytest.fixture
def house(store: Store, tmp_path: Path) -> House:
    """A quiet one."""
    made = House(store, tmp_path)
    made.steer.tick(NOW)
    return made


def test_an_alert_opens_an_order_once(house: House) -> None:
    """Its words are among the order's reasons; repeated for hours, it is still one order."""
    traffic(house.store, 30)
    assert house.fire("retrain")["alerts"][0]["state"] == "standing"
    house.steer.tick(NOW)
    orders = house.orders()
    assert [o.status for o in orders] == ["open"]
    assert "alert Complaints asks to retrain: Many complaints." in orders[0].reason
    assert [d.action for d in house.decisions()] == ["hold", "retrain"]
    house.store.update_order(orders[0].id, status="done", finished_at=NOW)
    late = NOW + timedelta(hours=5)
    answer = house.fire("retrain", late)["alerts"][0]
    assert (answer["state"], answer["says"]) == ("answered", f"order {orders[0].id} opened: home-v3 is to be trained")
    house.steer.tick(late)
    assert len(house.orders()) == 1
    assert house.asks.figures() == {"alerts": {"retrain": 1}, "alerts_standing": {}}
    assert house.record() == [
        "alert Complaints asks to retrain: Many complaints.",
        f"alert Complaints was answered: order {orders[0].id} opened: home-v3 is to be trained",
    ]


def test_an_alert_waits_for_evidence_and_cooldown_like_every_cause(house: House) -> None:
    """Too few exchanges, then the cooldown: each wait is a decision with its reason; then the order."""
    house.fire("retrain")
    house.steer.tick(NOW)
    traffic(house.store, 30)
    with house.store.transaction() as session:
        session.add(
            OrderRow(id="o", alias="home", status="done", reason="", document={"challenger": "home-v2"},
                     opened_at=NOW, finished_at=NOW)
        )  # fmt: skip
    house.steer.tick(NOW + timedelta(seconds=10))
    assert len(house.orders()) == 1
    house.steer.tick(NOW + timedelta(seconds=601))
    assert len(house.orders()) == 2
    assert [(d.action, d.reasons[0]) for d in house.decisions()[1:]] == [
        ("watch", "waits for exchanges to learn from"),
        ("watch", "waits for the end of the cooldown"),
        ("retrain", "retraining has a cause and the data it needs"),
    ]
    assert all("alert Complaints asks to retrain: Many complaints." in d.reasons for d in house.decisions()[1:])


def test_an_alert_that_ends_in_time_opens_nothing(house: House) -> None:
    """Resolved before the policy could act, it is let go."""
    house.fire("retrain")
    house.steer.tick(NOW)
    house.fire("retrain", status="resolved")
    traffic(house.store, 30)
    house.steer.tick(NOW)
    assert not house.orders()
    assert [d.action for d in house.decisions()] == ["hold", "watch", "hold"]


def test_an_alert_rolls_back_the_version_it_is_about_and_no_other(house: House) -> None:
    """Still firing after the rollback, it must not take the version before down too."""
    house.fire("roll_back")
    for _ in range(3):
        house.steer.tick(NOW)
        house.grant()
        house.fire("roll_back")
    assert len(house.rolled_back) == 1
    assert "alert Complaints asks to roll home-v2 back: Many complaints." in house.rolled_back[0]
    assert [d.action for d in house.decisions()] == ["hold", "roll_back", "hold"]
    assert house.record()[-1] == (
        "alert Complaints was answered: home-v2 is to be rolled back; the record says when it is done"
    )


def test_a_rollback_that_waits_is_wished_for_once_and_holds_everything_else(house: House) -> None:
    """While nobody has granted it, no order is opened beside it; decision, wish and answer are one commit."""
    house.fire("roll_back")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(house.asks, "answer", killed)
        with pytest.raises(KeyboardInterrupt):
            house.steer.tick(NOW)
    assert wish.standing(house.store, "home") is None
    house.steer.tick(NOW)
    traffic(house.store, 30)
    house.fire("retrain", fingerprint="another")
    assert house.steer.tick(NOW) == "waits until home-v2 is rolled back"
    assert not house.orders()
    house.grant()
    house.steer.tick(NOW)
    assert len(house.rolled_back) == 1
    assert [d.action for d in house.decisions()] == ["hold", "roll_back", "watch"]


def test_an_alert_that_asks_to_watch_is_watched_while_it_fires(house: House) -> None:
    """It shows in the decision, and goes with the alert."""
    house.fire("watch")
    house.steer.tick(NOW)
    house.fire("watch", status="resolved")
    house.steer.tick(NOW)
    assert [(d.action, d.reasons[0]) for d in house.decisions()] == [
        ("hold", "nothing calls for action"),
        ("watch", "an alert asks to watch"),
        ("hold", "nothing calls for action"),
    ]


def test_a_crash_between_order_and_answer_leaves_neither(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Order, decision and answer are one commit: a killed agent opens the order once."""
    traffic(house.store, 30)
    house.fire("retrain")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(house.asks, "answer", killed)
        with pytest.raises(KeyboardInterrupt):
            house.steer.tick(NOW)
    assert not house.orders()
    house.steer.tick(NOW)
    house.steer.tick(NOW + timedelta(seconds=1))
    assert len(house.orders()) == 1


def test_what_is_refused_leaves_no_trace(house: House) -> None:
    """An alert about something else changes neither wishes nor record."""
    with pytest.raises(InvalidInput, match="asks for 'reboot'"):
        house.fire("reboot")
    assert not house.record()
    assert house.asks.figures() == {"alerts": {}, "alerts_standing": {}}
