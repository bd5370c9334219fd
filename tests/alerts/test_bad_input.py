"""Whatever is sent to `POST /v1/alerts` that cannot be right comes back as one clear sentence, and leaves no trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from agent.app.asks import Asks
from agent.store import Store
from agent.store.tables import RolloutRow
from agent.types import Exchange, Message, Outcome
from agent.web.alerts import MAX_BODY_BYTES, alerts
from agent.web.api import create_app

NOW = datetime(2026, 11, 24, 9, tzinfo=UTC)
TOKEN = "a-token-of-the-test"
FIRING: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "ComplaintsHigh", "trimtab_action": "retrain"},
    "annotations": {"summary": "Many complaints."},
    "startsAt": "2026-11-24T08:59:00Z",
    "fingerprint": "5ef7",
}


@dataclass
class Door:
    """The agent's HTTP as it is wired, over a store."""

    store: Store
    asks: Asks
    client: TestClient

    def post(self, body: bytes | object, token: str | None = TOKEN) -> Any:
        """One webhook."""
        headers = {} if token is None else {b"authorization": f"Bearer {token}".encode("latin-1")}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post("/v1/alerts", content=content, headers=headers)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """One store for all: nothing of what is refused may change it."""
    home: Path = tmp_path_factory.mktemp("home")
    store = Store.at(home)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    asks = Asks(store, "home")
    app: FastAPI = create_app(
        store, "home", redact=str, render_metrics=bytes, feedback=lambda **_: None, live=dict, reports=home,
        now=lambda: NOW,
    )  # fmt: skip
    alerts(app, lambda document: asks.take(document, NOW), TOKEN)
    with TestClient(app) as client:
        yield Door(store, asks, client)
    store.close()


def payload(**changes: Any) -> dict[str, Any]:
    """A whole webhook of Alertmanager, but for the changes to its one alert."""
    return {"version": "4", "status": "firing", "receiver": "agent", "alerts": [FIRING | changes]}


@pytest.mark.parametrize(
    ("body", "token", "status", "says"),
    [
        (payload(), None, 401, "this needs the header Authorization: Bearer with the agent's TRIMTAB_ALERT_TOKEN"),
        (payload(), "another", 401, "this needs the header Authorization: Bearer"),
        (payload(), "\xfc", 401, "this needs the header Authorization: Bearer"),
        (b"not json", TOKEN, 400, "the body is not JSON: send Alertmanager's webhook payload"),
        (b"", TOKEN, 400, "the body is not JSON"),
        (b"[" * 100_000, TOKEN, 400, "the body is not JSON"),
        ([], TOKEN, 422, "send Alertmanager's webhook payload: a JSON object with version and alerts"),
        ({"version": "3", "alerts": [FIRING]}, TOKEN, 422, 'version must be "4"'),
        ({"version": "4", "alerts": []}, TOKEN, 422, "alerts of the webhook payload: list should have at least 1 item"),
        ({"version": "4", "alerts": [FIRING] * 501}, TOKEN, 422, "list should have at most 500 items"),
        (payload(startsAt="yesterday"), TOKEN, 422, "alerts.0.startsAt of the webhook payload"),
        (payload(labels="none"), TOKEN, 422, "alerts.0.labels of the webhook payload"),
        (b" " * (MAX_BODY_BYTES + 1), TOKEN, 413, "the body is larger than 1024 KiB: set max_alerts in the webhook"),
        (payload(labels={"alertname": "DiskFull"}), TOKEN, 422, "alert DiskFull asks for nothing: give its rule the"),
        (payload(labels={"trimtab_action": "x"}), TOKEN, 422, "alert without a name asks for 'x'"),
        (payload(labels={"alertname": "A" * 5000}), TOKEN, 422, "alert AAAA"),
        (
            payload(labels={"alertname": "B", "trimtab_action": "retrain", "alias": "office"}),
            TOKEN,
            422,
            "alert B is about the alias 'office', this agent steers 'home'",
        ),
    ],
)
def test_one_sentence_and_no_trace(door: Door, body: bytes | object, token: str | None, status: int, says: str) -> None:
    """4xx, so that Alertmanager does not send it for ever; wishes and record stay as they are; capture goes on."""
    answer = door.post(body, token)
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"}
    said = answer.json()["error"]
    assert says in said
    assert "\n" not in said
    assert len(said) < 300
    assert door.asks.figures() == {"alerts": {}, "alerts_standing": {}}
    assert door.store.events() == []


def test_the_same_door_still_takes_what_is_right(door: Door) -> None:
    """After all of that an alert is heard, once, and an exchange is stored."""
    exchange = Exchange(
        id="x1", worker="w", seq=1, started_at=NOW, path="/v1/chat/completions", alias="home", version="home-v1",
        status=200, outcome=Outcome.COMPLETE, messages=(Message(role="user", text="hi"),), answer="a",
    )  # fmt: skip
    assert door.store.add_exchanges([exchange]) == 1
    assert [door.post(payload()).json()["alerts"][0]["state"] for _ in range(2)] == ["standing", "standing"]
    assert door.asks.figures() == {"alerts": {"retrain": 1}, "alerts_standing": {"retrain": 1}}
