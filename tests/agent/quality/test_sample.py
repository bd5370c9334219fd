"""Whom to judge, and how often."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from agent.quality.sample import Budget, chosen

T0 = datetime(2026, 11, 24, tzinfo=UTC)


def test_the_sample_has_the_asked_share() -> None:
    """A quarter of many ids is chosen when a quarter is asked for, all for 1 and none for 0."""
    ids = [f"chatcmpl-{n}" for n in range(8000)]
    assert abs(sum(chosen(i, 0.25) for i in ids) / 8000 - 0.25) < 0.02
    assert all(chosen(i, 1.0) for i in ids)
    assert not any(chosen(i, 0.0) for i in ids)


def test_another_salt_is_an_independent_sample() -> None:
    """Half of what one salt chooses is chosen by another."""
    first = [i for i in map(str, range(8000)) if chosen(i, 0.5)]
    assert abs(sum(chosen(i, 0.5, salt="truth") for i in first) / len(first) - 0.5) < 0.03


@hypothesis(deadline=None)
@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_chooses_a_superset(exchange_id: str, one: float, other: float) -> None:
    """Raising the share never drops an exchange that was chosen."""
    low, high = sorted((one, other))
    assert chosen(exchange_id, high) or not chosen(exchange_id, low)


@hypothesis(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 50)), max_size=40), st.floats(0.5, 600))
def test_no_schedule_beats_the_budget(steps: list[tuple[float, int]], rate: float) -> None:
    """However calls are asked for, no more than capacity plus the flow is ever granted."""
    budget, now, granted = Budget(calls_per_minute=rate), T0, 0
    for wait_s, wanted in steps:
        now += timedelta(seconds=wait_s)
        got, budget = budget.take(wanted, now)
        assert 0 <= got <= wanted
        granted += got
    assert granted <= budget.capacity + (now - T0).total_seconds() * rate / 60 + 1e-3


def test_the_bucket_survives_a_restart_and_a_clock_that_runs_back() -> None:
    """A restored bucket grants what the old one would have, and going back in time fills nothing."""
    got, budget = Budget(calls_per_minute=60).take(100, T0)
    assert got == 10
    restored = Budget.restore(60, json.loads(json.dumps(budget.state())))
    assert restored == budget
    assert restored.take(100, T0 - timedelta(hours=1))[0] == 0
    assert restored.take(100, T0 + timedelta(seconds=3))[0] == 3
    assert Budget.restore(60, {}) == Budget(calls_per_minute=60)
