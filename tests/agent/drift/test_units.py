"""Bursts and conversations as single observations: fair whatever happens within them, and worth more than their sum."""

from __future__ import annotations

import numpy as np

from agent.drift.scores import RANKED
from agent.drift.units import GAP, MOST, Units, rows_for_a_tenth

SCORES = len(RANKED)


def _talk(
    random: np.random.Generator, units: int, shift: float = 0.0, share: float = 1.0
) -> tuple[np.ndarray, list[str]]:
    """Levels (n, s) and keys of conversations of 2 to 9 records which are nearly the same number throughout.

    A `share` of the records, whosever they are, is shifted.
    """
    levels, keys = [], []
    for unit in range(units):
        mean = random.normal()
        for _ in range(int(random.integers(2, 10))):
            moved = mean + shift * (random.random() < share)
            levels.append(np.full(SCORES, np.clip(round(255 + 60 * (moved + 0.1 * random.normal())), 0, 510)))
            keys.append(f"c{unit}")
    return np.array(levels, np.intp), keys


def _evidence(seed: int, shift: float, share: float = 1.0) -> tuple[float, float]:
    """The highest sum, and the last one a row."""
    random = np.random.default_rng(seed)
    levels, keys = _talk(random, 60)
    units = Units.build(levels, keys)
    assert units.playing
    live, keys = _talk(random, 60, shift, share)
    most = 0.0
    for row, (level, key) in enumerate(zip(live, keys, strict=True)):
        units.add(level, row, f"live {key}", float(row), random.random(SCORES), quiet=False)
        most = max(most, units.bets.total)
    return most, units.bets.total / len(keys)


def test_units_are_fair_however_alike_their_records_are() -> None:
    """Without change the sums end as large as the rows seen, on average: most of 30 streams below, few far above."""
    found = [_evidence(seed, 0.0) for seed in range(30)]
    assert sum(most > 3_000 for most, _ in found) <= 5
    assert np.median([end for _, end in found]) < 1
    assert np.mean([min(end, 20.0) for _, end in found]) < 2


def test_moved_units_are_found() -> None:
    """Conversations that all moved by three standard deviations raise far more evidence than there are rows."""
    assert min(_evidence(seed, 3.0)[0] for seed in range(3)) > 100_000


def test_a_fault_in_a_few_records_of_everyone_is_found() -> None:
    """One record in four stands out in whichever conversation it comes: its highest record and its spread tell."""
    assert min(_evidence(seed, 4.0, 0.25)[0] for seed in range(3)) > 100_000


def test_how_long_a_reference_must_be_for_whole_units() -> None:
    """The longer the units, the more rows; the more live rows or the larger the risk, the fewer."""
    assert 3_000 < rows_for_a_tenth(11.5, 50_000, 2_000) < 3_600
    assert rows_for_a_tenth(5.0, 50_000, 2_000) < rows_for_a_tenth(11.5, 50_000, 2_000)
    assert rows_for_a_tenth(11.5, 50_000, 4_000) < rows_for_a_tenth(11.5, 50_000, 2_000)
    assert rows_for_a_tenth(11.5, 5_000, 2_000) < rows_for_a_tenth(11.5, 50_000, 2_000)


def test_units_end_after_a_pause_or_when_they_are_long() -> None:
    """A unit is judged once: after so many records, or when its user has been silent for so long."""
    random, level = np.random.default_rng(0), np.full(SCORES, 255, np.intp)
    units = Units(SCORES, playing=True)
    for row in range(MOST + 3):
        units.add(level, row, "one", float(row), random.random(SCORES), quiet=True)
    assert units.pool.counts[0].sum() == 1
    for row in range(MOST + 3, MOST + 5 + GAP):
        units.add(level, row, None if row % 2 else "two", float(row), random.random(SCORES), quiet=True)
    assert set(units.open) == {"two"}
    assert units.pool.counts[0].sum() == 2


def test_single_records_are_no_units() -> None:
    """Where nobody sends two records in a row, or too few people do, there is nothing to judge as a whole."""
    levels = np.full((100, SCORES), 255, np.intp)
    assert not Units.build(levels, [f"u{i}" for i in range(100)]).playing
    assert not Units.build(levels, [f"u{i // 10}" for i in range(100)]).playing
    assert not Units.build(levels, [None] * 100).playing
