"""Scores that are composed of others: what they see, and that they treat every record alike."""

from __future__ import annotations

import numpy as np

from agent.drift.conformal import Grid
from agent.drift.core import ALL, PRIOR, SHARES, shares
from agent.drift.records import Record
from agent.drift.scores import NAMES, RANKED, Scorer, composed, pairs_of

KNOWN = [f"word{n}" for n in range(40)]


def _scores(records: list[Record], grid: Grid | None = None) -> dict[str, np.ndarray]:
    counted = [Record(id="c", prompt=" ".join(KNOWN), answer=" ".join(KNOWN) + ".")] * 5
    scorer = Scorer.build(counted, pairs_of(counted))
    grid = grid or Grid(np.full(len(NAMES), 0.1), np.ones(len(NAMES)))
    found = composed(scorer.score_many(records, pairs_of(records)), grid)
    return dict(zip(RANKED, found.T, strict=True))


def test_new_words_in_a_long_text_are_more_than_one_in_a_short_text() -> None:
    """By its share of new words the short text would rank first, though one new word of two is soon said."""
    new = [f"strange{n}" for n in range(12)]
    short, long = " ".join([KNOWN[0], new[0]]), " ".join(KNOWN[:28] + new)
    found = _scores([Record(id="s", prompt=short, answer=KNOWN[1]), Record(id="l", prompt=long, answer=KNOWN[1])])
    assert found["prompt.unseen_words"][0] > found["prompt.unseen_words"][1]
    assert found["words.excess"][0] < found["words.excess"][1]


def test_an_answer_that_breaks_off_is_cut_and_no_reference_is_asked() -> None:
    """Short for its prompt and without a full stop: above the whole answer; the same number whatever the reference."""
    whole = " ".join(KNOWN) + "."
    records = [Record(id=str(n), prompt=KNOWN[0] * 5, answer=text) for n, text in enumerate((whole, whole[:90], ""))]
    cut = _scores(records)["answer.cut"]
    assert cut[0] < cut[1] < cut[2]
    other = Grid(np.full(len(NAMES), 3.0), np.full(len(NAMES), 7.0))
    assert _scores(records, other)["answer.cut"].tolist() == cut.tolist()


def test_weights_are_one_in_all_and_as_they_were_fixed() -> None:
    """An average keeps the promise only if its weights are 1 in all; those of units are in the same proportion."""
    assert abs(SHARES.sum() - 1) < 1e-12
    assert abs(shares(RANKED).sum() - 1) < 1e-12
    assert np.allclose([SHARES[ALL.index(name)] for name in PRIOR], list(PRIOR.values()))
    assert (SHARES > 0.008).all()
