"""Faults planted in a support desk's traffic are caught; how many, is printed."""

from __future__ import annotations

import pytest

from tests.retrain.curate.measure import caught, curated, planted


def test_planted_faults_are_caught(capsys: pytest.CaptureFixture[str]) -> None:
    """Most wrong labels (dropped, or told where examined), copies across the split, secrets and a loud user."""
    made = planted(2000)
    result = curated(made)
    found = caught(made, result)
    with capsys.disabled():
        print(f"\n{found.says}")  # noqa: T201
    wrong, of = found.wrong_labels
    assert wrong >= 0.8 * of
    dropped, right = found.right_labels_dropped
    assert dropped <= 0.02 * right
    told, wrong_seen = found.wrong_examined_told
    assert told >= 0.7 * wrong_seen > 5
    assert found.right_examined_told[0] <= 0.03 * found.right_examined_told[1]
    assert {row.id for row in result.fresh} & made.wrong, "what is examined keeps its labels, the wrong ones too"
    copies, planted_copies = found.copies
    assert planted_copies - copies == found.copies_relabelled <= 0.02 * planted_copies
    assert found.secrets == (3, 3)
    assert found.loud_share_before > 0.38
    assert found.loud_share_after <= 0.25
    assert {row.group for row in result.train}.isdisjoint({row.group for row in [*result.fresh, *result.validation]})
