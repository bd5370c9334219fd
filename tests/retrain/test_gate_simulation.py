"""How often the gate errs, over thousands of simulated contests with a known truth."""

from __future__ import annotations

import random

from agent.types import VerdictKind
from retrain.gate import Bounds, Evidence, Paired, judge

CONTESTS = 1000
BOUNDS = Bounds(min_gain=0.05, max_loss=0.1)


def contest(dice: random.Random, n: int, mine: float, theirs: float, agree: float) -> Paired:
    """Draw n pairs with these accuracies; a share `agree` of examples is decided by one draw for both."""
    challenger, other = [], []
    for _ in range(n):
        one, two = dice.random(), dice.random()
        second = one if dice.random() < agree else two
        challenger.append(one < mine)
        other.append(second < theirs)
    return Paired(challenger=challenger, other=other)


def share_of(kind: VerdictKind, fresh: tuple[float, float], old: tuple[float, float], n: int = 100) -> float:
    """Give how often a verdict falls, at true accuracies (challenger, champion) of both slices."""
    dice = random.Random(1)
    hits = 0
    for _ in range(CONTESTS):
        one, two = contest(dice, n, *fresh, agree=0.7), contest(dice, n, *old, agree=0.7)
        base = Paired(challenger=[*one.challenger, *two.challenger], other=[False] * (2 * n))
        evidence = Evidence(fresh=one, old=two, base=base, well_formed=[True] * n, slowdowns=[1.0] * n)
        hits += judge(evidence, BOUNDS).kind is kind
    return hits / CONTESTS


def test_no_gain_is_rarely_accepted() -> None:
    """A challenger no better than the champion is accepted in at most 5 % of contests."""
    assert share_of(VerdictKind.ACCEPTED, (0.6, 0.6), (0.85, 0.85)) <= 0.05


def test_a_real_loss_is_rarely_accepted() -> None:
    """A challenger that loses just more than allowed on old rows is accepted in at most 5 % of contests."""
    assert share_of(VerdictKind.ACCEPTED, (0.9, 0.5), (0.75, 0.85)) <= 0.05


def test_a_real_gain_is_mostly_accepted() -> None:
    """Thirty points gained and none lost are accepted in most contests of 100 examples."""
    assert share_of(VerdictKind.ACCEPTED, (0.85, 0.55), (0.87, 0.87)) >= 0.7


def test_a_good_challenger_is_rarely_rejected() -> None:
    """A challenger that is truly as good as asked is rejected for sure in at most 5 % of contests."""
    assert share_of(VerdictKind.REJECTED, (0.65, 0.6), (0.85, 0.85), n=40) <= 0.05


def test_a_bad_challenger_is_rejected() -> None:
    """A challenger that lost thirty points on old rows is rejected, not merely undecided."""
    assert share_of(VerdictKind.REJECTED, (0.85, 0.55), (0.55, 0.85)) >= 0.7
