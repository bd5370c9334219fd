"""From mean log-probability to a score."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from agent.quality.calibrate import auc, calibrate, score
from agent.types import InvalidInput


def test_the_curve_that_made_the_data_is_found() -> None:
    """With many answers drawn from a known curve, its midpoint and slope come back."""
    r = random.Random(3)
    values = [r.uniform(-3, 0) for _ in range(6000)]
    truths = [r.random() < score(v, -1.2, 4.0) for v in values]
    found = calibrate(values, truths)
    assert found.midpoint == pytest.approx(-1.2, abs=0.05)
    assert found.slope == pytest.approx(4.0, rel=0.1)
    assert found.auc > 0.85


def test_separated_answers_give_a_finite_curve_between_them() -> None:
    """Perfectly separated answers neither diverge nor move the midpoint out of the gap."""
    found = calibrate([-0.1, -0.2, -0.15, -2.0, -2.5, -3.0], [True, True, True, False, False, False])
    assert -2.0 < found.midpoint < -0.2
    assert 0.5 < found.slope < 100
    assert found.auc == 1.0


def test_a_judge_that_knows_nothing_gets_a_flat_finite_curve() -> None:
    """Without any relation the slope is near 0, the AUC one half, and every figure finite."""
    found = calibrate([-1.0, -2.0, -1.0, -2.0], [True, True, False, False])
    assert found.auc == 0.5
    assert abs(found.slope) < 1e-3
    assert math.isfinite(found.midpoint)


@pytest.mark.parametrize(
    ("values", "truths"),
    [([], []), ([-1.0, -2.0], [True, True]), ([-1.0, -1.0], [True, False]), ([-1.0], [True, False])],
)
def test_what_cannot_be_fitted_is_refused(values: list[float], truths: list[bool]) -> None:
    """One kind of answer only, equal values, or missing truths are the caller's fault."""
    with pytest.raises(InvalidInput):
        calibrate(values, truths)


@hypothesis(deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.booleans()), min_size=2, max_size=40))
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    """The rank formula equals counting all pairs of a right and a wrong answer, ties half."""
    rights = [v for v, t in rows if t]
    wrongs = [v for v, t in rows if not t]
    if rights and wrongs:
        pairs = [(r > w) + 0.5 * (r == w) for r in rights for w in wrongs]
        assert auc([v for v, _ in rows], [t for _, t in rows]) == pytest.approx(sum(pairs) / len(pairs))


@hypothesis(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(-1e3, 1e3), st.floats(-1e6, 1e6))
def test_every_score_is_a_share(value: float, midpoint: float, slope: float) -> None:
    """No log-probability overflows the curve."""
    assert 0.0 <= score(value, midpoint, slope) <= 1.0
