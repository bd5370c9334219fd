"""What a person, the hours or the money forbid must hold in the running agent, and be seen wherever it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.app.deciding import Deciding
from agent.app.main import Agent
from agent.app.main import now as clock
from agent.settings import Settings
from agent.store.tables import RolloutRow
from agent.types import AdapterVersion, Exchange, Grade, InvalidInput, Message, Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Judge:
    """One that counts how often it is asked."""

    source = "judge"

    def __init__(self) -> None:
        self.asked = 0

    def grade(self, exchange: Exchange, now: datetime) -> Grade:
        """It costs a million tokens."""
        self.asked += 1
        return Grade(exchange_id=exchange.id, source="judge", score=1, truth=False, at=now, cost_tokens=1_000_000)

    def close(self) -> None:
        """Nothing to close."""


def tree(home: Path, **policy: Any) -> Settings:
    """Settings with a judge that costs money."""
    money = {"judge_money": 3, "judge_price": 1, "gpu_hours": 10, "time_zone": "UTC"}
    return Settings.model_validate(
        {
            "home": home,
            "http": {"port": 0},
            "quality": {"judge_model": "j", "sample_share": 1, "calls_per_minute": 6000},
            "policy": money | policy,
        }
    )


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """A whole agent, at rest: its loops are called by hand."""
    made = Agent(tree(tmp_path), "")
    for name, status in (("home-v1", "live"), ("home-v2", "accepted")):
        version = AdapterVersion(
            name=name, alias="home", path=str(tmp_path), digest="d", base_digest="b", parent=None, status=status,
            created_at=NOW,
        )  # fmt: skip
        made.store.put_adapter(version)
    made.store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    yield made
    made.engine.close()
    made.store.close()


def deciding(agent: Agent) -> Deciding:
    """What of it decides."""
    assert agent.deciding is not None
    return agent.deciding


def traffic(agent: Agent, first: int) -> None:
    """Four exchanges."""
    agent.store.add_exchanges(
        [
            Exchange(
                id=f"x{seq}", worker="w", seq=seq, started_at=NOW, path="/v1/chat/completions", alias="home",
                version="home-v1", status=200, outcome=Outcome.COMPLETE,
                messages=(Message(role="user", text="light"),), answer="on",
            )
            for seq in range(first, first + 4)
        ]
    )  # fmt: skip


def test_a_judge_whose_money_is_spent_is_not_asked_and_nothing_queues_up(agent: Agent) -> None:
    """It is seen in the decision, the status and the metrics; what passes meanwhile stays unjudged for good."""
    judge = Judge()
    mind = deciding(agent)
    mind._means = replace(mind._means, judge=judge)
    traffic(agent, 1)
    assert mind.judge(clock()) == "graded 4, 0 over budget"
    agent.spending._looked = None  # a minute later
    traffic(agent, 5)
    assert mind.judge(clock()) == "rests: the money of policy.judge_money is spent"
    assert judge.asked == 4
    assert agent.store.load_state("judge")[0] == 8
    deciding(agent).steer.tick(clock())
    assert agent.live.status()["policy"]["judge_money"] == {"spent": 4.0, "budget": 3.0}
    text = agent.monitors.text().decode()
    assert 'trimtab_decision_fact{alias="home",fact="unpaid"} 1.0' in text
    assert 'trimtab_policy_budget_used_ratio{budget="judge_money"} 1.3333333333333333' in text
    assert 'trimtab_policy_budget_used_ratio{budget="gpu_hours"} 0.0' in text


def test_while_frozen_no_canary_begins(agent: Agent) -> None:
    """The rollout says what it waits for; the decision names who froze it and why; a thaw lets both go on."""
    assert agent._held(clock()) is None
    assert "deploy of [EMAIL]" in agent._freeze("ann", "deploy of ann@example.com", 2)
    assert "frozen by ann" in str(agent._held(clock()))
    assert "deploy of [EMAIL]" in agent.live.status()["policy"]["frozen"]["reason"]
    deciding(agent).steer.tick(clock())
    decision = agent.store.last_decision("home")
    assert decision is not None
    assert (decision.action, decision.reasons[0]) == (
        "frozen",
        "stopped by a person: the version on trial stays where it is",
    )
    assert 'trimtab_policy_frozen_timestamp_seconds{alias="home"}' in agent.monitors.text().decode()
    agent._thaw("bob")
    assert agent._held(clock()) is None
    deciding(agent).steer.tick(clock())
    after = agent.store.last_decision("home")
    assert after is not None
    assert after.action == "canary"
    assert "frozen_timestamp_seconds{" not in agent.monitors.text().decode()


def test_settings_that_contradict_each_other_start_no_agent(tmp_path: Path) -> None:
    """Nothing is made before they are refused."""
    with pytest.raises(InvalidInput, match=r"quality\.floor 0\.7 and policy\.recovery 0\.5"):
        Agent(tree(tmp_path / "home", recovery=0.5), "")
    assert not (tmp_path / "home").exists()
