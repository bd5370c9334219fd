"""How often the gate errs, over simulated contests with a known truth: a seeded part of the table in README.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.types import VerdictKind
from retrain.gate import simulation
from retrain.gate.simulation import Scenario, Truth, kept
from retrain.gate.verdict import Bounds

CONTESTS = 600
NOISE = 0.02
"""Two standard errors of a share near 5 or 95 % in so many contests."""


@pytest.mark.parametrize("number", range(len(simulation.scenarios())))
def test_the_promises_hold(number: int) -> None:
    """Equal is accepted in at most 5 %, +5 in at least 90 %, -3 on one slice in at most 5 % of contests."""
    scenario = simulation.scenarios()[number]
    shares = scenario.verdicts(CONTESTS, seed=number, bounds=Bounds())
    assert kept(scenario, shares, NOISE), shares
    assert sum(shares.values()) == pytest.approx(1.0)


def test_the_published_table_is_this_one() -> None:
    """README.md shows every scenario, and the table says of each promise whether it was kept."""
    lines = simulation.table(contests=20)
    readme = (Path(__file__).parents[2] / "retrain" / "README.md").read_text(encoding="utf-8")
    assert len(lines) == len(simulation.scenarios()) + 2
    for scenario in simulation.scenarios():
        assert f"| {scenario.says}" in readme


def test_a_clear_gain_passes_with_few_rows_and_a_wide_bound() -> None:
    """Eighty pairs a slice, 35 points gained, and 15 points of loss let pass: accepted in most contests."""
    scenario = Scenario("few", Truth(0.35, 0.40, 80), [Truth(0, 0.06, 80)])
    assert scenario.verdicts(300, 1, Bounds(max_loss=0.15))[VerdictKind.ACCEPTED] >= 0.95
