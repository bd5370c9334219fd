"""The order document: what the retraining job will accept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from agent.policy.order import next_name, order_document
from agent.settings import QualitySettings, RetrainSettings, Settings
from agent.types import Action, AdapterVersion, Decision, InvalidInput
from retrain import order

T0 = datetime(2026, 11, 24, tzinfo=UTC)
DECISION = Decision(at=T0, alias="home", action=Action.RETRAIN, reasons=("quality fell", "enough data"))
CHAMPION = AdapterVersion(
    name="home-v1", alias="home", path="/h/adapters/home-v1", digest="ab", base_digest="cd", parent=None,
    status="live", created_at=T0,
)  # fmt: skip
SETTINGS = Settings(
    home=Path("/h"),
    quality=QualitySettings(judge_model="home-judge"),
    retrain=RetrainSettings(
        base_model_path=Path("/m"), replay=Path("/r.jsonl"), labeller="l.py:label", recipe={"steps": 5}
    ),
)


def document(settings: Settings = SETTINGS, challenger: str = "home-v2") -> dict[str, object]:
    """An order of the champion's successor."""
    return order_document(
        DECISION, settings, alias="home", order_id="order-1", store_url="sqlite:////h/trimtab.db",
        champion=CHAMPION, challenger=challenger, since_rowid=10, until_rowid=300,
    )  # fmt: skip


def test_the_retraining_job_accepts_the_order() -> None:
    """The document passes the job's own check, also after a trip through JSON, and says what was decided."""
    read = order.parse(json.loads(json.dumps(document())))
    assert (read.id, read.reason) == ("order-1", "quality fell; enough data")
    assert (read.champion and read.champion.name, read.challenger) == ("home-v1", "home-v2")
    assert (read.data.since_rowid, read.data.until_rowid, read.recipe.steps) == (10, 300, 5)
    assert read.judge is not None
    assert (read.judge.model, read.judge.url) == ("home-judge", "http://127.0.0.1:8000")


def test_a_plain_setup_makes_an_order_too() -> None:
    """Without judge, replay, labeller or recipe the order is still accepted."""
    read = order.parse(document(Settings(retrain=RetrainSettings(base_model_path=Path("m")))))
    assert read.judge is None
    assert read.data.replay is None


def test_what_cannot_be_ordered_is_refused() -> None:
    """Without the base model's folder, or under the champion's own name, nothing is ordered."""
    with pytest.raises(InvalidInput, match="base_model_path"):
        document(Settings())
    with pytest.raises(InvalidInput, match="own name"):
        document(challenger="home-v1")


@hypothesis(deadline=None)
@given(st.sets(st.builds("{}{}".format, st.sampled_from(["home-v", "hxme-v", "home"]), st.integers(0, 999))))
def test_the_next_name_was_never_used(taken: set[str]) -> None:
    """A new version never takes the name of an old one."""
    name = next_name("home", taken)
    assert name not in taken
    assert next_name("home", {*taken, name}) != name


def test_names_count_up() -> None:
    """The successor has the next number, whatever the order of the others."""
    assert next_name("home", []) == "home-v1"
    assert next_name("home", ["home-v10", "home-v2", "home-judge", "home-v3-old"]) == "home-v11"
