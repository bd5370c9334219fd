"""Distances between two whylogs profiles."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.drift.distances import distances
from agent.profile.profiler import Profiler
from agent.profile.table import FEATURES, Kind
from agent.store.whylogs_light import load_whylogs
from agent.types import Features, InvalidInput

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


def _ks(one: list[float], other: list[float]) -> float:
    places = np.sort([*one, *other])
    below = [np.searchsorted(np.sort(sample), places, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(below[0] - below[1]).max())


def _psi(one: list[float], other: list[float]) -> float:
    edges = np.quantile(one, np.linspace(0, 1, 11)[1:-1])
    a, b = (np.bincount(np.searchsorted(edges, sample), minlength=10) / len(sample) for sample in (one, other))
    return float(((b - a) * np.log(b / a)).sum())


def _sample(seed: int, shift: float, share: float) -> tuple[list[float], list[str]]:
    r = random.Random(seed)
    return [r.gauss(shift, 1) for _ in range(900)], ["stop" if r.random() < share else "length" for _ in range(900)]


def test_equal_profiles_are_at_distance_zero() -> None:
    """A profile is at distance 0 from itself, in every measure, and both kinds of feature are measured."""
    one = _profile(*_sample(1, 0, 0.9))
    found = {(d.feature, d.measure): d.value for d in distances(one, one)}
    numbers, labels = ("ks", "psi", "js", "hellinger"), ("ks", "psi", "js", "hellinger", "chi2")
    expected = {("length", m): 0.0 for m in numbers} | {("reason", m): 0.0 for m in labels}
    assert found == expected


@given(
    rows=st.sampled_from([2, 30, 150, 600]),
    decimals=st.integers(0, 15),
    present=st.floats(0.1, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=10, deadline=None)
def test_no_column_is_away_from_itself(rows: int, decimals: int, present: float, seed: int) -> None:
    """Every column of a profile is at exactly 0 from itself in every measure: many ties or none, values absent."""
    r = np.random.default_rng(seed)
    numbers = {f.name: r.normal(size=rows).round(decimals) for f in FEATURES if f.kind is not Kind.LABEL}
    for flag in (f.name for f in FEATURES if f.kind is Kind.FLAG):
        numbers[flag] = (numbers[flag] > 0).astype(float)
    labels = {f.name: r.integers(40, size=rows) for f in FEATURES if f.kind is Kind.LABEL}
    profiler = Profiler()
    profiler.track(
        [
            Features(
                exchange_id=str(n),
                numbers={name: float(column[n]) for name, column in numbers.items() if n < 2 or r.random() < present},
                labels={name: f"label {column[n]}" for name, column in labels.items()},
            )
            for n in range(rows)
        ]
    )
    whole = profiler.serialize()
    found = distances(whole, whole)
    seen = {d.feature for d in found}
    assert len([f for f in FEATURES if f.name in seen or f.name.rpartition("_")[0] in seen]) == len(FEATURES)
    assert [d for d in found if d.value or d.low] == []


def test_sketches_agree_with_the_samples() -> None:
    """From the sketches come the distances of the samples themselves, to within the sketches' rank error."""
    (x, labels), (y, others) = _sample(1, 0, 0.9), _sample(2, 1.0, 0.5)
    found = {(d.feature, d.measure): d.value for d in distances(_profile(x, labels), _profile(y, others))}
    assert found["length", "ks"] == pytest.approx(_ks(x, y), abs=0.03)
    assert found["length", "psi"] == pytest.approx(_psi(x, y), rel=0.1)
    a, b = labels.count("stop") / 900, others.count("stop") / 900
    expected = (b - a) * np.log(b / a) + (a - b) * np.log((1 - b) / (1 - a))
    assert found["reason", "psi"] == pytest.approx(expected)
    assert found["reason", "ks"] == pytest.approx(abs(a - b))


def test_every_distance_has_an_interval_and_its_rows() -> None:
    """The value lies within its interval; without a level there is none, and the values are the same."""
    one, other = _profile(*_sample(1, 0, 0.9)), _profile(*_sample(2, 0.5, 0.6))
    found, bare = distances(one, other), distances(one, other, level=None)
    for distance in found:
        assert distance.low is not None
        assert distance.high is not None
        assert 0 <= distance.low <= distance.value <= distance.high
        assert distance.low > 0
        assert (distance.n, distance.n_reference) == (900, 900)
    assert all(distance.low is distance.high is None for distance in bare)
    assert [d.value for d in bare] == pytest.approx([d.value for d in found])


def test_the_axes_of_a_text_are_one_distance() -> None:
    """Columns that end in two digits are measured together, and flags as labels of two values."""
    rows = 400
    r = np.random.default_rng(0)

    def made(shift: float, share: float) -> bytes:
        whylogs = load_whylogs()
        config = whylogs.MetricConfig(kll_k=8, large_kll_k=False)
        columns = {}
        for axis in range(3):
            values = r.normal(shift, 1, rows)
            metric = whylogs.StandardMetric["distribution"].zero(config)
            metric.kll.value.update(values)
            metric.mean.set(float(values.mean()))
            metric.m2.set(float(((values - values.mean()) ** 2).sum()))
            columns[f"topic_{axis:02}"] = whylogs.ColumnProfileView({"distribution": metric})
        flag = {name: whylogs.StandardMetric[name].zero(config) for name in ("types", "frequent_items", "distribution")}
        true = round(share * rows)
        flag["types"].boolean.set(rows)
        for word, times in (("True", true), ("False", rows - true)):
            flag["frequent_items"].frequent_strings.value.update(word, times)
        columns["refusal"] = whylogs.ColumnProfileView(flag)
        view = whylogs.DatasetProfileView(columns=columns, dataset_timestamp=AT, creation_timestamp=AT)
        return bytes(view.serialize())

    found = {(d.feature, d.measure): d for d in distances(made(0.0, 0.1), made(1.0, 0.4))}
    assert {feature for feature, _ in found} == {"topic", "refusal"}
    assert found["topic", "mmd"].value == pytest.approx(3**0.5, abs=0.2)
    assert found["refusal", "ks"].value == pytest.approx(0.3)


def test_other_bytes_are_refused() -> None:
    """Bytes that are no profile are the caller's fault."""
    with pytest.raises(InvalidInput, match="no whylogs profile"):
        distances(b"junk", b"junk")
