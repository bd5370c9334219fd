"""Calibration: on streams without change every score's p-values are uniform, and their order tells nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agent.drift.bets import _PAYS, Evidence
from agent.drift.conformal import Grid, Pool
from agent.drift.scores import Scorer, pair_of
from tests.agent.drift.streams import stream


def test_p_values_of_every_score_are_uniform_on_null_streams() -> None:
    """Over 40 null streams the mean p-value and the share of small ones vary as uniform ones do, for every score.

    A reference scored against tables that it helped to build fails this: see the README of the package.
    """
    streams, reference, live = 40, 100, 150
    means, tails = [], []
    for seed in range(streams):
        pairs = [pair_of(record) for record in stream(seed, reference + live)]
        records = stream(seed, reference + live)
        scorer = Scorer.build(records[: reference // 2], pairs[: reference // 2])
        rows = range(reference // 2, reference + live)
        scores = np.array([scorer.score(records[i], *pairs[i]) for i in rows])[:, :-3]
        grid, pool, random = Grid.over(scores[:20]), Pool(scores.shape[1]), np.random.default_rng(seed)
        p = []
        for i, row in enumerate(scores):
            levels = grid.levels(row)[None]
            if i >= reference // 2:
                p.append(pool.rank(levels, random.random((1, row.size)))[0])
            else:
                pool.add(levels)
        means.append((np.mean(p, axis=0) - 0.5) * math.sqrt(12 * live))
        tails.append((np.mean(np.array(p) <= 0.05, axis=0) - 0.05) * math.sqrt(live / 0.05 / 0.95))
    varies = ~np.isnan(means).any(axis=0)
    assert varies.sum() > 25
    for z in (np.array(means)[:, varies], np.array(tails)[:, varies]):
        assert np.abs(z.mean(axis=0) * math.sqrt(streams)).max() < 4.2
        assert (z**2).mean(axis=0).max() < 1 + 5 * math.sqrt(2 / streams)
        assert 0.8 < (z**2).mean() < 1.2


def test_what_never_varies_is_no_bet() -> None:
    """While all records stand at one level there is no p-value; the first one elsewhere is the strangest of all."""
    pool, one, other = Pool(1), np.array([[7]]), np.array([[9]])
    ties = np.array([[0.5]])
    assert all(np.isnan(pool.rank(one, ties)).all() for _ in range(5))
    assert pool.rank(other, ties)[0, 0] == pytest.approx(0.5 / 6)
    assert pool.rank(one, ties)[0, 0] == pytest.approx((1 + 0.5 * 6) / 7)


def test_ranks_among_all_earlier_records() -> None:
    """The pool counts every record for ever: its p-value is the rank that sorting all of them would give."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(300, 2))
    grid, pool = Grid(np.zeros(2), np.ones(2)), Pool(2)
    levels = [grid.levels(row) for row in scores]
    for i, row in enumerate(levels):
        p = pool.rank(row[None], np.array([[0.5, 0.5]]))[0]
        before = np.array(levels[:i]).reshape(i, 2)
        expected = ((before > row).sum(axis=0) + 0.5 * ((before == row).sum(axis=0) + 1)) / (i + 1)
        if not (before == row).all():
            assert p == pytest.approx(expected)


def test_ranking_many_is_ranking_one_by_one() -> None:
    """Records ranked at once get the p-values that they get one after another, absent scores included."""
    random = np.random.default_rng(0)
    levels, ties = random.integers(-1, 9, size=(50, 3)), random.random((50, 3))
    one, many = Pool(3), Pool(3)
    expected = np.concatenate([one.rank(levels[i : i + 1], ties[i : i + 1]) for i in range(50)])
    got = np.concatenate([many.rank(levels[:20], ties[:20]), many.rank(levels[20:], ties[20:])])
    assert np.array_equal(got, expected, equal_nan=True)
    assert (one.counts == many.counts).all()


def test_levels_keep_the_order_of_scores() -> None:
    """A higher score never gets a lower level, however far out."""
    grid = Grid(np.zeros(1), np.ones(1))
    levels = [int(grid.levels(np.array([x]))[0]) for x in np.linspace(-80, 80, 4001)]
    assert levels == sorted(levels)
    assert (min(levels), max(levels)) == (0, 510)


def test_every_bet_is_fair() -> None:
    """Every bet pays exactly 1 on average when p is uniform, and never ruins the sum."""
    assert _PAYS.mean(axis=0) == pytest.approx(1.0)
    assert _PAYS.min() > 0


def test_onset_is_where_the_winning_began() -> None:
    """Evidence that starts at a known row is dated to about that row."""
    random, evidence = np.random.default_rng(1), Evidence(np.full(4, 0.25), np.zeros(4, bool))
    for row in range(150):
        p = random.random(4)
        if row >= 100:
            p[0] = random.random() * 0.02
        evidence.update(p, row, 1000.0 + row)
    row, at_s = evidence.onset()
    assert 90 <= row <= 103
    assert at_s == 1000.0 + row
    assert evidence.by_score.argmax() == 0
