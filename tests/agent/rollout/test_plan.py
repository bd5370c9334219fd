"""The rollout's plan: phases, weights, and what never happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rollout.plan import (
    Abort,
    Begin,
    Probe,
    Promote,
    Rules,
    Shift,
    Stand,
    Traffic,
    Unload,
    Wait,
    next_step,
    wanted,
    weights,
)

RULES = Rules(steps=(0.1, 0.5, 1.0), step_exchanges=20, step_max_s=60, max_error_ratio=0.05, drain_s=5)
QUIET = Traffic(answered=0, failed=0, step_age_s=0)
STEADY = Stand(champion="home-v1", challenger=None, phase="steady", step=0)


def at(phase: str, step: int = 0) -> Stand:
    """A stand with a challenger."""
    return Stand(champion="home-v1", challenger="home-v2", phase=phase, step=step)  # type: ignore[arg-type]


def test_an_accepted_version_is_proven_before_it_gets_traffic() -> None:
    """From steady to probe, with all traffic still at the champion."""
    assert next_step(STEADY, "home-v2", QUIET, RULES) == Begin(challenger="home-v2")
    assert next_step(at("probe"), None, QUIET, RULES) == Probe(challenger="home-v2")
    assert weights(at("probe"), RULES) == {"home-v1": 1.0}
    assert wanted(at("probe")) == ("home-v1", "home-v2")


def test_a_step_waits_for_its_exchanges_or_its_time() -> None:
    """Enough answers, or long enough: only then the share grows."""
    assert isinstance(next_step(at("shift"), None, QUIET, RULES), Wait)
    enough = Traffic(answered=20, failed=0, step_age_s=1)
    assert next_step(at("shift"), None, enough, RULES) == Shift(step=1, share=0.5)
    late = Traffic(answered=0, failed=0, step_age_s=60)
    assert next_step(at("shift"), None, late, RULES) == Shift(step=1, share=0.5)
    assert next_step(at("shift", 2), None, enough, RULES) == Promote(champion="home-v2")


def test_a_failing_challenger_is_sent_back() -> None:
    """More failures than allowed abort the rollout, whatever the step."""
    failing = Traffic(answered=30, failed=2, step_age_s=1)
    step = next_step(at("shift", 1), None, failing, RULES)
    assert isinstance(step, Abort)
    assert "2 of 30" in step.reason


def test_the_old_version_leaves_after_its_streams() -> None:
    """Drain waits for quiet before it unloads."""
    leaving = Stand(champion="home-v2", challenger="home-v1", phase="drain", step=0)
    assert isinstance(next_step(leaving, None, QUIET, RULES), Wait)
    quiet = Traffic(answered=0, failed=0, step_age_s=5)
    assert next_step(leaving, None, quiet, RULES) == Unload(version="home-v1")
    assert weights(leaving, RULES) == {"home-v2": 1.0}


@given(
    phase=st.sampled_from(["steady", "probe", "shift", "drain"]),
    step=st.integers(0, 2),
    steps=st.lists(st.floats(0.01, 0.99), min_size=0, max_size=4, unique=True),
)
def test_shares_always_add_up_to_one(phase: str, step: int, steps: list[float]) -> None:
    """Nobody is left without an answer, in any phase of any plan."""
    rules = Rules(steps=(*sorted(steps), 1.0), step_exchanges=1, step_max_s=1, max_error_ratio=0.1, drain_s=1)
    shares = weights(at(phase, min(step, len(steps))), rules)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert all(share > 0 for share in shares.values())
