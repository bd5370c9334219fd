"""Intervals of distances hold the truth about as often as they say."""

from __future__ import annotations

import numpy as np
import pytest

from agent.drift.spread import apart, binned, gap, measures, rows_of

EVEN = np.full(10, 0.1)
TILTED = EVEN * np.linspace(0.4, 1.6, 10)


def test_intervals_of_binned_measures_hold_the_truth() -> None:
    """Over many samples of two known distributions, at least 88 % of the 95 % intervals hold the true distance."""
    rng, truth = np.random.default_rng(0), measures(EVEN, TILTED, 10**9, 10**9)
    held = dict.fromkeys(truth, 0)
    for _ in range(150):
        one, other = rng.multinomial(600, EVEN) / 600, rng.multinomial(300, TILTED) / 300
        for name, (value, low, high) in binned(one, other, 600, 300, 0.95).items():
            assert low <= value <= high
            held[name] += low <= truth[name] <= high
    assert min(held.values()) >= 0.88 * 150


def test_without_a_difference_intervals_reach_down_to_nothing() -> None:
    """Two samples of one distribution: 0 lies in nearly every interval."""
    rng = np.random.default_rng(1)
    lows = []
    for _ in range(60):
        one, other = rng.multinomial(200, EVEN) / 200, rng.multinomial(200, EVEN) / 200
        lows += [low for _, low, _ in binned(one, other, 200, 200, 0.95).values()]
    assert np.mean(np.array(lows) > 0) < 0.05


def test_the_same_input_gives_the_same_interval() -> None:
    """The resampling has a fixed seed; equal shares are at distance 0, disjoint ones at most 1."""
    assert binned(EVEN, TILTED, 500, 100, 0.95) == binned(EVEN, TILTED, 500, 100, 0.95)
    assert set(measures(EVEN, EVEN, 50, 70).values()) == {0.0}
    disjoint = measures(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 100, 100)
    assert (disjoint["js"], disjoint["hellinger"], disjoint["chi2"]) == pytest.approx((1, 1, 1))
    assert disjoint["psi"] == pytest.approx(2 * 0.995 * np.log(0.995 / 0.005), rel=0.02)


def test_a_gap_is_banded_by_rows_and_by_the_sketch() -> None:
    """More rows narrow the band, a coarser sketch widens it, and it stays within [0, 1]."""
    value, low, high = gap(0.3, 1000, 1000, 0.0, 0.0, 0.95)
    assert low < value < high
    assert gap(0.3, 10_000, 10_000, 0.0, 0.0, 0.95)[1] > low
    assert gap(0.3, 1000, 1000, 0.02, 0.02, 0.95)[1] == pytest.approx(low - 0.04)
    assert gap(0.99, 10, 10, 0.0, 0.0, 0.95)[1:] == (0.0, 1.0) or gap(0.99, 10, 10, 0.0, 0.0, 0.95)[2] == 1.0
    assert rows_of(500, 0.0) == 500
    assert rows_of(10_000, 0.0261) < 2500


def test_the_distance_of_means_is_nothing_by_chance_alone() -> None:
    """Samples of one cloud have 0 in their interval; of clouds apart, the true distance mostly."""
    rng, axes = np.random.default_rng(2), 8
    for shift, share in ((0.0, 0.97), (0.4, 0.88)):
        held = 0
        for _ in range(200):
            one, other = rng.normal(0, 1, (300, axes)), rng.normal(shift, 1, (100, axes))
            _, low, high = apart(one.mean(0) - other.mean(0), one.var(0, ddof=1), other.var(0, ddof=1), 300, 100, 0.95)
            held += low <= shift * axes**0.5 <= high
        assert held >= share * 200
    assert apart(np.zeros(2), np.zeros(2), np.zeros(2), 5, 5, 0.95)[0] == 0
