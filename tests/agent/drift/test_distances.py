"""Distances between two whylogs profiles."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from agent.drift.baselines import ks, psi
from agent.drift.distances import distances
from agent.store.whylogs_light import load_whylogs
from agent.types import InvalidInput

AT = datetime(2026, 11, 1, tzinfo=UTC)


def _profile(numbers: list[float], labels: list[str]) -> bytes:
    """A real profile of one numeric and one label column."""
    whylogs = load_whylogs()
    from whylogs.core.preprocessing import ListView, NumpyView, PreprocessedColumn

    def column(names: list[str], rows: int, **data: Any) -> Any:
        pre = PreprocessedColumn()
        pre.len = rows
        for key, value in data.items():
            setattr(pre, key, value)
        metrics = {name: whylogs.StandardMetric[name].zero(whylogs.MetricConfig()) for name in names}
        for metric in metrics.values():
            metric.columnar_update(pre)
        return whylogs.ColumnProfileView(metrics)

    columns = {
        "length": column(
            ["counts", "types", "distribution"], len(numbers), numpy=NumpyView(floats=np.array(numbers, float))
        ),
        "reason": column(["counts", "types", "frequent_items"], len(labels), list=ListView(strings=labels)),
    }
    serialised: bytes = whylogs.DatasetProfileView(
        columns=columns, dataset_timestamp=AT, creation_timestamp=AT
    ).serialize()
    return serialised


def _sample(seed: int, shift: float, share: float) -> tuple[list[float], list[str]]:
    r = random.Random(seed)
    return [r.gauss(shift, 1) for _ in range(900)], ["stop" if r.random() < share else "length" for _ in range(900)]


def test_equal_profiles_are_at_distance_zero() -> None:
    """A profile is at distance 0 from itself, in every measure, and both kinds of feature are measured."""
    one = _profile(*_sample(1, 0, 0.9))
    assert {(feature, measure): value for feature, measure, value in distances(one, one)} == {
        ("length", "ks"): 0,
        ("length", "psi"): 0,
        ("reason", "psi"): 0,
    }


def test_sketches_agree_with_the_samples() -> None:
    """From the sketches come the distances of the samples themselves, to within the sketches' rank error."""
    (x, labels), (y, others) = _sample(1, 0, 0.9), _sample(2, 1.0, 0.5)
    found = {(f, m): v for f, m, v in distances(_profile(x, labels), _profile(y, others))}
    assert found["length", "ks"] == pytest.approx(ks(np.array(x), np.array(y)), abs=0.03)
    assert found["length", "psi"] == pytest.approx(psi(np.array(x), np.array(y)), rel=0.1)
    a, b = labels.count("stop") / 900, others.count("stop") / 900
    expected = (b - a) * np.log(b / a) + (a - b) * np.log((1 - b) / (1 - a))
    assert found["reason", "psi"] == pytest.approx(expected)


def test_other_bytes_are_refused() -> None:
    """Bytes that are no profile are the caller's fault."""
    with pytest.raises(InvalidInput, match="no whylogs profile"):
        distances(b"junk", b"junk")
