"""The policy's state table: every combination of facts, and what must never happen."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from agent.policy.budget import Spent
from agent.policy.decide import (
    FACTS,
    TABLE,
    decide,
    facts_of,
    held,
    is_news,
    low_since,
    row_for,
    would_be_no_news,
)
from agent.policy.hours import quiet
from agent.policy.seen import Seen
from agent.policy.words import span
from agent.settings import PolicySettings, Settings
from agent.types import Action, Estimate

T0 = datetime(2026, 11, 24, tzinfo=UTC)
SETTINGS = Settings()
EAGER = Settings(policy=PolicySettings(retrain_on_drift_alone=True))
STRICT = Settings.model_validate(
    {
        "policy": {
            "confirm_s": 60, "truth_labels": 25, "gpu_hours": 3, "judge_money": 5, "judge_price": 1,
            "quiet_hours": ["mon 22:00-06:00"], "time_zone": "Europe/Berlin",
        }
    }
)  # fmt: skip
QUIET, LOUD = datetime(2026, 11, 23, 23, tzinfo=UTC), datetime(2026, 11, 24, 12, tzinfo=UTC)
RANK = {Action.HOLD: 0, Action.WATCH: 1, Action.CANARY: 1, Action.FROZEN: 1, Action.RETRAIN: 2, Action.ROLL_BACK: 3}


def quality(value: float, half: float = 0.05, version: str = "home-v1") -> Estimate:
    """An estimate with a symmetric interval."""
    return Estimate(
        version=version, value=value, low=max(0.0, value - half), high=min(1.0, value + half), level=0.95,
        n_truth=30, n_judged=200, since=T0, until=T0, method="wilson",
    )  # fmt: skip


def seen(**changes: object) -> Seen:
    """All is well, but for the changes."""
    return Seen(**{"at": T0, "alias": "home", "version": "home-v1", "estimate": quality(0.9), **changes})  # type: ignore[arg-type]


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
    frozen=st.none() | st.just("by ann: a deploy week"),
    at=st.sampled_from([QUIET, LOUD]),
    low_since=st.none() | st.sampled_from([QUIET - timedelta(days=1), LOUD - timedelta(seconds=10)]),
    spent=st.builds(
        Spent, gpu_hours=st.floats(0, 5), next_gpu_hours=st.floats(0, 1), judge_money=st.none() | st.floats(0, 9)
    ),
    asked=st.lists(st.sampled_from([(action, "an alert") for action in (*RANK, Action.RETRAIN)]), max_size=2).map(
        tuple
    ),
)
either = st.sampled_from([SETTINGS, EAGER, STRICT])


def test_every_combination_of_facts_has_the_action_the_rules_ask_for() -> None:
    """Over all facts, the table agrees with the rules written down a second time, and every row is used."""
    used = set()
    free = {name for row in TABLE for name in row.when | row.unless}
    assert set(FACTS) - free == {"breach"}  # which alone weighs through `cause`
    for values in itertools.product([False, True], repeat=len(FACTS) - 1):
        f = dict(zip((name for name in FACTS if name != "breach"), values, strict=True))
        row = row_for(f)
        used.add(row)
        stopped = any(f[name] for name in ("running", "moving", "cooling", "quiet", "spent"))
        if f["worse"] or f["back"]:
            asked: Action | None = Action.ROLL_BACK
        elif f["frozen"]:
            asked = Action.FROZEN
        elif f["trial"]:
            asked = Action.CANARY
        elif f["cause"] and f["fresh"] and not stopped:
            asked = Action.RETRAIN
        else:
            noted = any(f[name] for name in ("cause", "low", "drift", "asked", "unpaid"))
            asked = Action.WATCH if noted else None
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
            "8 min to wait",
        ),
        (
            {"estimate": quality(0.4), "fresh_exchanges": 200, "order_finished_age_s": 601.0},
            Action.RETRAIN,
            "has a cause",
        ),
        ({"estimate": quality(0.4), "fresh_exchanges": 200, "phase": "shift"}, Action.CANARY, "phase shift"),
        ({"estimate": quality(0.4), "fresh_exchanges": 200, "phase": "drain"}, Action.WATCH, "phase drain"),
        ({"phase": "accepted"}, Action.CANARY, "a new version is on trial"),
        ({"estimate": quality(0.4), "fresh_exchanges": 200, "frozen": "by ann: why"}, Action.FROZEN, "by ann: why"),
        ({"frozen": "by ann: why"}, Action.FROZEN, "nothing new begins by itself"),
        ({"phase": "shift", "challenger_failing": "too many errors"}, Action.ROLL_BACK, "too many errors"),
        ({"former": quality(0.99, 0.01, "home-v0")}, Action.ROLL_BACK, "home-v0"),
        ({"asked": ((Action.WATCH, "alert A asks"),)}, Action.WATCH, "alert A asks"),
        ({"asked": ((Action.RETRAIN, "alert A asks"),)}, Action.WATCH, "0 fresh exchanges of the 200"),
        ({"asked": ((Action.RETRAIN, "alert A asks"),), "fresh_exchanges": 200}, Action.RETRAIN, "alert A asks"),
        (
            {"asked": ((Action.RETRAIN, "alert A asks"),), "fresh_exchanges": 200, "order_finished_age_s": 1.0},
            Action.WATCH,
            "9 min to wait",
        ),
        ({"asked": ((Action.ROLL_BACK, "alert A asks"),)}, Action.ROLL_BACK, "alert A asks"),
        ({"asked": ((Action.ROLL_BACK, "alert A asks"),), "frozen": "by ann"}, Action.ROLL_BACK, "frozen by ann"),
        ({"challenger_failing": "errors", "phase": "shift", "frozen": "by ann"}, Action.ROLL_BACK, "fails: errors"),
        ({"phase": "shift", "frozen": "by ann"}, Action.FROZEN, "stays where it is"),
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
        policy = settings.policy
        assert not case.order_running
        assert case.frozen is None
        assert not quiet(policy.quiet_hours, policy.time_zone, case.at)
        assert policy.gpu_hours is None or case.spent.gpu_hours <= policy.gpu_hours
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
    assert would_be_no_news(case, settings, decision)


LOW = {"estimate": quality(0.4), "fresh_exchanges": 200}


@pytest.mark.parametrize(
    ("changes", "action", "words"),
    [
        ({"at": LOUD}, Action.WATCH, "quality has been low for 0 s of the 1 min that are waited for"),
        ({"at": LOUD, "low_since": LOUD - timedelta(seconds=59)}, Action.WATCH, "for 59 s of the 1 min"),
        ({"at": LOUD, "low_since": LOUD - timedelta(seconds=60)}, Action.RETRAIN, "has a cause"),
        (
            {"at": LOUD, "low_since": LOUD - timedelta(days=1), "estimate": replace(quality(0.4), n_truth=24)},
            Action.WATCH,
            "24 truth labels of the 25 that count as evidence",
        ),
        ({"at": QUIET, "low_since": T0 - timedelta(days=1)}, Action.WATCH, "until 2026-11-24 05:00 UTC"),
        (
            {"at": LOUD, "low_since": T0, "spent": Spent(gpu_hours=2.1, next_gpu_hours=1)},
            Action.WATCH,
            "2.10 of 3 GPU-hours of 30 days are used, and an order takes about 1.00",
        ),
        ({"at": LOUD, "low_since": T0, "spent": Spent(gpu_hours=2, next_gpu_hours=1)}, Action.RETRAIN, "2.00 of 3"),
        (
            {"at": LOUD, "estimate": quality(0.9), "spent": Spent(judge_money=5.0)},
            Action.WATCH,
            "the judge has cost 5.00 of 5 within 30 days",
        ),
        ({"at": QUIET, "former": quality(0.99, 0.01, "home-v0")}, Action.ROLL_BACK, "home-v0"),
    ],
)
def test_stories_of_evidence_hours_and_budgets(changes: dict[str, object], action: Action, words: str) -> None:
    """What holds an order back is named with its figures, and nothing of it holds a rollback."""
    decision = decide(seen(**{**LOW, **changes}), STRICT)
    assert decision.action is action, decision.reasons
    assert any(words in reason for reason in decision.reasons), decision.reasons


def test_quality_must_rise_clearly_before_it_is_no_longer_low() -> None:
    """Between the floor and the recovery above it the last decision decides; another version begins anew."""
    floor = SETTINGS.quality.floor
    between = replace(quality(0.6), high=floor + 0.01)
    assert not facts_of(seen(estimate=between), SETTINGS)["low"]
    kept = json.loads(json.dumps(dict(decide(seen(estimate=replace(between, high=floor - 0.01)), SETTINGS).seen)))
    assert low_since(kept, "home-v1") == T0
    assert low_since(kept, "home-v2") is None
    assert low_since(None, "home-v1") is None
    later = seen(estimate=between, low_since=low_since(kept, "home-v1"), at=T0 + timedelta(hours=1))
    assert facts_of(later, SETTINGS)["low"]
    assert decide(later, SETTINGS).seen["low_since"] == T0.isoformat()
    well = replace(later, estimate=replace(between, high=floor + 0.03))
    assert decide(well, SETTINGS).seen["low_since"] is None


def test_a_rollout_is_held_in_quiet_hours_and_while_frozen() -> None:
    """The rollout asks the same rules, and is told until when."""
    assert held(STRICT, None, LOUD) is None
    assert held(STRICT, None, QUIET) == "quiet hours until 2026-11-24 05:00 UTC"
    assert held(STRICT, "by ann: why", QUIET) == "frozen by ann: why"
    assert held(SETTINGS, None, QUIET) is None


def test_only_what_matters_is_news() -> None:
    """Another figure is no news; another fact, row, action or version is."""
    last = decide(seen(alarm_kind="input", fresh_exchanges=10), SETTINGS)
    kept = json.loads(json.dumps(dict(last.seen)))

    def news(**changes: object) -> bool:
        now = decide(seen(**{"alarm_kind": "input", "fresh_exchanges": 10, **changes}), SETTINGS)
        found = is_news(now, last.action.value, kept)
        changed = seen(**{"alarm_kind": "input", "fresh_exchanges": 10, **changes})
        assert would_be_no_news(changed, SETTINGS, last) is not found
        return found

    assert not news(fresh_exchanges=11, estimate=quality(0.91))
    assert news(fresh_exchanges=200)
    assert news(alarm_kind=None)
    assert news(estimate=None)
    assert is_news(last, None, {})


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3599, "59 min"), (3600, "1 h"), (11_100, "3 h 5 min"),
        (86_400, "1 d"), (187_200, "2 d 4 h"),
    ],
)  # fmt: skip
def test_times_are_said_as_people_say_them(seconds: float, said: str) -> None:
    """Nobody reads 187200 s as two days."""
    assert span(seconds) == said
