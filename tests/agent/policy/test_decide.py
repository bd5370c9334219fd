"""The policy's state table: every combination of facts, and what must never happen."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from agent.policy.decide import FACTS, TABLE, Seen, decide, facts_of, is_news, row_for
from agent.settings import PolicySettings, Settings
from agent.types import Action, Estimate

T0 = datetime(2026, 11, 24, tzinfo=UTC)
SETTINGS = Settings()
EAGER = Settings(policy=PolicySettings(retrain_on_drift_alone=True))
RANK = {Action.HOLD: 0, Action.WATCH: 1, Action.RETRAIN: 2, Action.ROLL_BACK: 3}


def quality(value: float, half: float = 0.05, version: str = "home-v1") -> Estimate:
    """An estimate with a symmetric interval."""
    return Estimate(
        version=version, value=value, low=max(0.0, value - half), high=min(1.0, value + half), level=0.95,
        n_truth=30, n_judged=200, since=T0, until=T0, method="wilson",
    )  # fmt: skip


def seen(**changes: object) -> Seen:
    """All is well, but for the changes."""
    return Seen(at=T0, alias="home", version="home-v1", **{"estimate": quality(0.9), **changes})  # type: ignore[arg-type]


estimates = st.none() | st.builds(quality, st.floats(0, 1), st.floats(0.01, 0.3))
everything = st.builds(
    seen,
    alarm_kind=st.none() | st.sampled_from(["input", "output"]),
    alarm_age_s=st.none() | st.floats(0, 1e5),
    estimate=estimates,
    reference=estimates,
    former=estimates,
    fresh_exchanges=st.integers(0, 500),
    order_running=st.booleans(),
    order_finished_age_s=st.none() | st.floats(0, 2000),
    order_outcome=st.none() | st.sampled_from(["done", "failed"]),
    phase=st.sampled_from(["steady", "probe", "shift", "drain"]),
    challenger_failing=st.none() | st.just("too many errors"),
    frozen=st.booleans(),
    asked=st.lists(st.sampled_from([(action, "an alert") for action in (*RANK, Action.RETRAIN)]), max_size=2).map(
        tuple
    ),
)
either = st.sampled_from([SETTINGS, EAGER])


def test_every_combination_of_facts_has_the_action_the_rules_ask_for() -> None:
    """Over all facts, the table agrees with the rules written down a second time, and every row is used."""
    used = set()
    for values in itertools.product([False, True], repeat=len(FACTS)):
        f = dict(zip(FACTS, values, strict=True))
        row = row_for(f)
        used.add(row)
        if f["frozen"]:
            asked = Action.WATCH if any(f[name] for name in ("worse", "cause", "drift", "back", "asked")) else None
        elif f["worse"] or f["back"]:
            asked = Action.ROLL_BACK
        elif f["cause"] and f["fresh"] and not (f["running"] or f["moving"] or f["cooling"]):
            asked = Action.RETRAIN
        else:
            asked = Action.WATCH if f["cause"] or f["drift"] or f["asked"] else None
        assert row.action is (asked or Action.HOLD), f
    assert used == set(TABLE)


def test_rows_name_only_known_facts() -> None:
    """A row that asks for a fact nobody states would never fit."""
    assert {name for row in TABLE for name in row.when | row.unless} <= set(FACTS)
    assert set(facts_of(seen(), SETTINGS)) == set(FACTS)


@pytest.mark.parametrize(
    ("changes", "action", "words"),
    [
        ({}, Action.HOLD, "nothing calls for action"),
        ({"estimate": None}, Action.HOLD, "quality is not known"),
        ({"alarm_kind": "input", "alarm_reason": "timers"}, Action.WATCH, "drift alarm (input): timers"),
        ({"alarm_kind": "input", "estimate": None}, Action.WATCH, "waits for labels"),
        ({"estimate": quality(0.4)}, Action.WATCH, "0 fresh exchanges of the 200"),
        ({"estimate": quality(0.66), "fresh_exchanges": 500}, Action.HOLD, "not clearly below"),
        ({"estimate": quality(0.4), "fresh_exchanges": 200}, Action.RETRAIN, "0.40 (0.35 to 0.45 at 95%)"),
        (
            {"estimate": quality(0.8), "reference": quality(0.95), "fresh_exchanges": 200},
            Action.WATCH,
            "clearly below its reference",
        ),
        (
            {"estimate": quality(0.4), "fresh_exchanges": 200, "order_running": True},
            Action.WATCH,
            "waits for the order",
        ),
        (
            {"estimate": quality(0.4), "fresh_exchanges": 200, "order_finished_age_s": 100.0},
            Action.WATCH,
            "500 s to wait",
        ),
        (
            {"estimate": quality(0.4), "fresh_exchanges": 200, "order_finished_age_s": 601.0},
            Action.RETRAIN,
            "has a cause",
        ),
        ({"estimate": quality(0.4), "fresh_exchanges": 200, "phase": "shift"}, Action.WATCH, "phase shift"),
        ({"estimate": quality(0.4), "fresh_exchanges": 200, "frozen": True}, Action.WATCH, "frozen"),
        ({"phase": "shift", "challenger_failing": "too many errors"}, Action.ROLL_BACK, "too many errors"),
        ({"former": quality(0.99, 0.01, "home-v0")}, Action.ROLL_BACK, "home-v0"),
        ({"asked": ((Action.WATCH, "alert A asks"),)}, Action.WATCH, "alert A asks"),
        ({"asked": ((Action.RETRAIN, "alert A asks"),)}, Action.WATCH, "0 fresh exchanges of the 200"),
        ({"asked": ((Action.RETRAIN, "alert A asks"),), "fresh_exchanges": 200}, Action.RETRAIN, "alert A asks"),
        (
            {"asked": ((Action.RETRAIN, "alert A asks"),), "fresh_exchanges": 200, "order_finished_age_s": 1.0},
            Action.WATCH,
            "599 s to wait",
        ),
        ({"asked": ((Action.ROLL_BACK, "alert A asks"),)}, Action.ROLL_BACK, "alert A asks"),
        ({"asked": ((Action.ROLL_BACK, "alert A asks"),), "frozen": True}, Action.WATCH, "in vain"),
    ],
)
def test_stories(changes: dict[str, object], action: Action, words: str) -> None:
    """What one would say in words comes out, with its reasons."""
    if "reference" in changes:
        changes = {**changes, "estimate": quality(0.8, 0.04), "reference": quality(0.95, 0.02)}
        action = Action.RETRAIN
    decision = decide(seen(**changes), SETTINGS)
    assert decision.action is action
    assert any(words in reason for reason in decision.reasons), decision.reasons


@hypothesis(deadline=None)
@given(everything, either)
def test_never_retrain_while_it_must_not(case: Seen, settings: Settings) -> None:
    """No order while one runs, during the cooldown, while versions move, or when a person froze the automation."""
    if decide(case, settings).action is Action.RETRAIN:
        assert not case.order_running
        assert not case.frozen
        assert case.phase == "steady"
        assert case.order_finished_age_s is None or case.order_finished_age_s >= settings.policy.cooldown_s
        assert case.fresh_exchanges >= settings.policy.fresh_exchanges


@hypothesis(deadline=None)
@given(everything, either, st.floats(0, 1), st.integers(0, 500), st.booleans(), st.booleans())
def test_more_bad_evidence_never_calms_down(
    case: Seen, settings: Settings, drop: float, more: int, alarm: bool, failing: bool
) -> None:
    """Lower quality, more exchanges, another alarm or a failing version never make the action milder."""
    estimate = case.estimate
    if estimate is not None:
        low, value, high = (max(0.0, x - drop) for x in (estimate.low, estimate.value, estimate.high))
        estimate = replace(estimate, low=low, value=value, high=high)
    worse = replace(
        case,
        estimate=estimate,
        fresh_exchanges=case.fresh_exchanges + more,
        alarm_kind="input" if alarm else case.alarm_kind,
        challenger_failing="errors" if failing else case.challenger_failing,
    )
    assert RANK[decide(worse, settings).action] >= RANK[decide(case, settings).action]


@hypothesis(deadline=None)
@given(everything, either)
def test_every_decision_can_be_kept_and_read(case: Seen, settings: Settings) -> None:
    """What was seen is plain JSON, and there is always a reason in words."""
    decision = decide(case, settings)
    assert json.loads(json.dumps(dict(decision.seen))) == decision.seen
    assert all(decision.reasons)
    assert not is_news(decision, decision.action.value, decision.seen)


def test_only_what_matters_is_news() -> None:
    """Another figure is no news; another fact, row, action or version is."""
    last = decide(seen(alarm_kind="input", fresh_exchanges=10), SETTINGS)
    kept = json.loads(json.dumps(dict(last.seen)))

    def news(**changes: object) -> bool:
        now = decide(seen(**{"alarm_kind": "input", "fresh_exchanges": 10, **changes}), SETTINGS)
        return is_news(now, last.action.value, kept)

    assert not news(fresh_exchanges=11, estimate=quality(0.91))
    assert news(fresh_exchanges=200)
    assert news(alarm_kind=None)
    assert news(estimate=None)
    assert is_news(last, None, {})
