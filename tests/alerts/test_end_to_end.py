"""An alert of a real Prometheus, sent by a real Alertmanager, opens a retraining order in a real agent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlmodel import select

from agent.app.main import Agent
from agent.store import Store
from agent.store.tables import AlarmRow, DecisionRow, RolloutRow
from tests.estate import monitors, story
from tests.needs import need

EXAMPLE = Path(__file__).resolve().parents[2] / "alerts" / "alertmanager.example.yaml"
TOKEN = "a-token-of-the-test"
RULE = {
    "alert": "ComplaintsHigh",
    "expr": "sum by (alias) (max_over_time(trimtab_exchanges_total[1m])) > 1000",
    "for": "1s",
    "labels": {"severity": "warning", "trimtab_action": "retrain"},
    "annotations": {"summary": "Support gets many complaints about answers."},
}


def config(port: int) -> dict[str, Any]:
    """The example of the repository, with short waits, the agent's port and its token; nobody else is told."""
    document: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))
    document["route"] |= {"group_wait": "1s", "group_interval": "1s", "repeat_interval": "2s"}
    for receiver in document["receivers"]:
        if receiver["name"] != "agent":
            receiver.pop("slack_configs", None)
            receiver.pop("pagerduty_configs", None)
    hook = next(r for r in document["receivers"] if r["name"] == "agent")["webhook_configs"][0]
    hook["url"] = f"http://127.0.0.1:{port}/v1/alerts"
    hook["http_config"]["authorization"]["credentials"] = TOKEN
    return document


def quiet(home: Path) -> None:
    """A home where all is well: no alarm, no order, no rollout under way, and traffic to learn from."""
    store = Store.at(home)
    story.tell(store)
    end = story.at(story.ROWS)
    store.put_rollout(
        RolloutRow(alias="home", champion="home-v1", phase="steady", updated_at=end), {"home-v2": "retired"}
    )
    store.update_order("order-20261124-1", document={"challenger": "home-v2"})
    with store.transaction() as session:
        for alarm in session.exec(select(AlarmRow)):
            session.delete(alarm)
    store.close()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """A whole agent over that home, which takes alerts."""
    need("prometheus", monitors.PROMETHEUS)
    need("prometheus-alertmanager", monitors.ALERTMANAGER)
    home = tmp_path / "home"
    quiet(home)
    settings = {
        "home": home,
        "retrain": {"base_model_path": home},
        "quality": {"floor": 0.01, "min_truth": 1000},
        "policy": {"cooldown_s": 0},
    }
    resting = ("launch", "watch", "report", "keep")  # nothing but the alert moves the policy
    with monitors.agent_running(settings, resting=resting, alert_token=TOKEN) as running:
        yield running


def decisions(store: Store) -> list[DecisionRow]:
    """Oldest first."""
    with store.transaction() as session:
        return list(session.exec(select(DecisionRow)).all())


def test_an_alert_of_your_own_retrains_the_model(agent: Agent, tmp_path: Path) -> None:
    """From the rule to the order with its reason; repeated every few seconds, it stays one order."""
    before = {order.id for order in agent.store.orders()}
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "own", "interval": "1s", "rules": [RULE]}]}))
    port = agent.settings.http.port
    with (
        monitors.alertmanager(tmp_path, config(port)) as alertmanager,
        monitors.prometheus(tmp_path, port, rules=rules, alertmanager=alertmanager) as prometheus,
    ):
        monitors.until(lambda: {order.id for order in agent.store.orders()} - before)
        standing = 'trimtab_alerts_total{action="retrain"} == 1 unless trimtab_alerts_standing{action="retrain"} != 0'
        monitors.until(lambda: monitors.series(prometheus, standing))
        monitors.until(lambda: _sent(alertmanager) >= 3)
    opened = [order for order in agent.store.orders() if order.id not in before]
    assert len(opened) == 1
    assert "alert ComplaintsHigh asks to retrain: Support gets many complaints about answers." in opened[0].reason
    assert opened[0].document["champion"]["name"] == "home-v1"
    made = [d for d in decisions(agent.store) if d.action == "retrain" and d.at > story.at(story.ROWS)]
    assert len(made) == 1
    assert "alert ComplaintsHigh asks" in " ".join(made[0].reasons)


def _sent(alertmanager: str) -> float:
    """Webhooks that Alertmanager has sent, by its own count."""
    text = httpx.get(f"{alertmanager}/metrics").text
    lines = [line for line in text.splitlines() if line.startswith('alertmanager_notifications_total{integration="web')]
    return float(lines[0].split()[-1]) if lines else 0.0
