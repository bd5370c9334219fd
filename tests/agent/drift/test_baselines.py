"""The plain detectors: what they measure, what they say, and what they need."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from agent.drift.baselines import COST, FALSE_ALARMS_PER_WINDOW, fit_plain, ks, ks_limit, psi, warning_of
from agent.drift.descriptors import NAMES, Descriptors
from agent.drift.records import Record
from agent.types import InvalidInput
from tests.agent.drift.streams import stream
from tests.needs import need_module


def test_distances_are_those_of_the_books() -> None:
    """KS is the largest gap of the two distributions, PSI the sum over the reference's deciles; equal samples: 0."""
    reference = np.arange(1_000, dtype=np.float64)
    assert ks(reference, reference) == psi(reference, reference) == 0
    assert ks(reference, reference + 250) == pytest.approx(0.25)
    assert ks(np.zeros(10), np.ones(10)) == 1
    shares = np.array([0.2, 0.2, *([0.075] * 8)])
    assert psi(
        reference, np.repeat(np.arange(50, 1_000, 100, dtype=np.float64), (shares * 1_000).astype(int))
    ) == pytest.approx(float(((shares - 0.1) * np.log(shares / 0.1)).sum()), abs=1e-9)
    assert psi(np.zeros(100), np.zeros(100)) == 0


def test_the_ks_bound_holds_its_level() -> None:
    """One look at one feature exceeds the bound about as often as the level says: here 5 % of 2,000 looks."""
    random = np.random.default_rng(1)
    limit = ks_limit(500, 0.05)
    over = sum(ks(np.sort(random.random(500)), np.sort(random.random(100))) > limit for _ in range(2_000))
    assert 60 <= over <= 120


def test_descriptors_take_any_text() -> None:
    """Empty, huge, foreign and broken texts give finite numbers, and unknown words count as new."""
    texts = ["", "x" * 100_000, "Grüße, 漢字!", "half \ud83d", "\x00\n\n", "1 2 3"]
    descriptors = Descriptors([Record(id="0", prompt="turn on the light", answer="light on")])
    for text in texts:
        row = descriptors.row(Record(id="1", prompt=text, answer=text))
        assert row.shape == (len(NAMES),)
        assert np.isfinite(row).all()
    new = NAMES.index("prompt.new_words")
    assert descriptors.row(Record(id="2", prompt="turn on the fan", answer=""))[new] == pytest.approx(1 / 4)


@pytest.mark.parametrize("name", sorted(COST))
def test_an_alarm_names_what_moved(name: str) -> None:
    """Each plain detector finds shouted prompts, names the prompt's side, and counts rows from 0."""
    if name in ("page-hinkley", "adwin"):
        need_module("river", "pip install 'trimtab[river]'")
    reference = stream(1, 400)
    live = stream(2, 300)
    shouted = [Record(id=r.id, prompt=r.prompt.upper(), answer=r.answer, at=r.at) for r in stream(3, 300)]
    detector = fit_plain(name, reference)
    alarms = [alarm for record in live + shouted if (alarm := detector.update(record))]
    found = [alarm for alarm in alarms if alarm.row >= 300]
    assert found
    assert found[0].kind == "input"
    assert found[0].features[0][0].startswith("prompt.")
    assert found[0].row < 600
    assert all(name in alarm.reason for alarm in alarms)


def test_every_plain_detector_says_what_it_costs() -> None:
    """The warning holds the measured rate of false alarms, and the detector to compare with."""
    assert COST.keys() == FALSE_ALARMS_PER_WINDOW.keys()
    for name in COST:
        alone, in_bursts = FALSE_ALARMS_PER_WINDOW[name]
        assert f"raised {alone:.3g} a window of 100, and {in_bursts:.3g} where users come in bursts" in warning_of(name)
        assert "--detector sequential" in warning_of(name)


def test_without_river_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where river is not installed, its detectors are refused with the command that brings it."""
    monkeypatch.setitem(sys.modules, "river.drift", None)
    with pytest.raises(InvalidInput, match=r"needs river: pip install 'trimtab\[river\]'"):
        fit_plain("adwin", stream(1, 60))
    with pytest.raises(InvalidInput, match="50 or more"):
        fit_plain("ks", stream(1, 10))
