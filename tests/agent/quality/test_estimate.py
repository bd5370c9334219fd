"""Intervals that hold what they promise."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from agent.quality.estimate import Interval, estimate, wilson

shares = st.floats(0, 1)


def draw(r: random.Random, p: float, n: int, extra: int, sharpness: float) -> Interval:
    """One experiment: n labels and `extra` judged answers of mean p; a sharper judge knows right from wrong better."""

    def answer() -> tuple[float, float]:
        truth = float(r.random() < p)
        return truth, 1 / (1 + math.exp(-(sharpness * (2 * truth - 1) + r.gauss(0, 1.5))))

    labels = [answer() for _ in range(n)]
    return estimate(labels, [answer()[1] for _ in range(extra)], 0.95)


@pytest.mark.parametrize("n", [15, 40, 100])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.98])
@pytest.mark.parametrize("sharpness", [0.0, 3.0])
def test_the_interval_covers_the_truth(n: int, p: float, sharpness: float) -> None:
    """Over many experiments at least 92 % of the 95 % intervals hold the true quality, useless judge or good one."""
    r = random.Random(f"{n} {p} {sharpness}")
    runs = [draw(r, p, n, 60, sharpness) for _ in range(500)]
    assert sum(run.low <= p <= run.high for run in runs) / 500 >= 0.92


def test_a_good_judge_narrows_the_interval_and_a_useless_one_does_not() -> None:
    """With 40 labels and 300 judged answers a good judge halves the width; a coin leaves it as it was."""
    r = random.Random(1)
    widths = {}
    for sharpness in (0.0, 3.0):
        runs = [draw(r, 0.5, 40, 300, sharpness) for _ in range(60)]
        widths[sharpness] = sum(run.high - run.low for run in runs) / 60
    low, high = wilson(0.5, 40, 0.95)
    assert widths[3.0] < 0.6 * (high - low)
    assert widths[0.0] == pytest.approx(high - low, rel=0.05)


def test_the_judge_corrects_an_unlucky_sample_of_labels() -> None:
    """When labels happened to fall on worse answers than the rest, a perfect judge pulls the estimate back."""
    labels = [(1.0, 0.9)] * 10 + [(0.0, 0.1)] * 10
    found = estimate(labels, [0.9] * 240 + [0.1] * 60, 0.95)
    assert found.value == pytest.approx(0.8, abs=0.06)
    assert found.n_truth == 20
    assert found.n_judged == 320
    assert found.method != "wilson"


def test_labels_that_all_agree_still_leave_room() -> None:
    """Fifteen right answers of fifteen are no proof of perfection, whatever the judge says."""
    found = estimate([(1.0, 0.99)] * 15, [0.99] * 300, 0.95)
    assert found.value == 1.0
    assert found.low < 0.85
    assert found.high == 1.0


@hypothesis(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0.0, 1.0]), st.none() | shares), min_size=1, max_size=60),
    st.lists(shares, max_size=60),
    st.floats(0.5, 0.999),
)
def test_every_interval_is_sane(labels: list[tuple[float, float | None]], judged: list[float], level: float) -> None:
    """Bounds lie in [0, 1], hold the point, have a width, and claim no more than all opinions together."""
    found = estimate(labels, judged, level)
    assert 0.0 <= found.low <= found.value <= found.high <= 1.0
    assert found.high - found.low > 0.0
    assert len(labels) <= found.n_worth <= len(labels) + len(judged) + 1e-6


@hypothesis(deadline=None)
@given(st.floats(0, 1), st.floats(1, 1e4))
def test_a_higher_level_is_wider(share: float, n: float) -> None:
    """More coverage never costs less width."""
    low, high = wilson(share, n, 0.9)
    lower, higher = wilson(share, n, 0.99)
    assert lower <= low + 1e-12
    assert high <= higher + 1e-12
