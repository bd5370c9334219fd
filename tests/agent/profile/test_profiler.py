"""Profiles are whylogs's own: it reads them, merges them, and finds in them what went in."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.profile.features import FEATURES, Kind
from agent.profile.profiler import Profiler
from agent.store.whylogs_light import load_whylogs
from agent.types import Features, InvalidInput


def row(value: float = 1.0, label: str = "a", **numbers: float) -> Features:
    """A row with the same value in every number."""
    names = [feature.name for feature in FEATURES if feature.kind is not Kind.LABEL]
    labels = {feature.name: label for feature in FEATURES if feature.kind is Kind.LABEL}
    return Features(exchange_id="x", numbers={**dict.fromkeys(names, value), **numbers}, labels=labels)


def profile(rows: list[Features], batch: int = 64) -> bytes:
    """The profile of rows, tracked in batches."""
    profiler = Profiler()
    for at in range(0, len(rows), batch):
        profiler.track(rows[at : at + batch])
    return profiler.serialize()


def column(data: bytes, name: str) -> Any:
    """One column's summary, as whylogs reads it."""
    return load_whylogs().DatasetProfileView.deserialize(data).get_column(name).to_summary_dict()


def test_whylogs_finds_what_went_in() -> None:
    """Counts, types, mean, deviation, extremes, cardinality and quantiles of each kind of column are right."""
    values = np.random.default_rng(0).normal(5, 2, 2000)
    rows = [row(float(n % 2), label="ab"[n % 2], total_s=float(v), prompt_chars=float(n)) for n, v in enumerate(values)]
    data = profile(rows)
    total = column(data, "total_s")
    assert (total["counts/n"], total["types/fractional"], total["counts/null"]) == (2000, 2000, 0)
    assert total["distribution/mean"] == pytest.approx(values.mean())
    assert total["distribution/stddev"] == pytest.approx(values.std(ddof=1))
    assert (total["distribution/min"], total["distribution/max"]) == (values.min(), values.max())
    assert np.mean(values <= total["distribution/median"]) == pytest.approx(0.5, abs=0.02)
    assert total["cardinality/est"] == pytest.approx(2000, rel=0.1)
    chars = column(data, "prompt_chars")
    assert (chars["ints/min"], chars["ints/max"], chars["types/integral"]) == (0, 1999, 2000)
    flag = column(data, "answer_refusal")
    assert (flag["counts/n"], flag["types/boolean"], flag["distribution/mean"]) == (2000, 2000, 0.5)
    label = column(data, "outcome")
    assert label["types/string"] == 2000
    assert {(item.value, item.est) for item in label["frequent_items/frequent_strings"]} == {("a", 1000), ("b", 1000)}


def test_absent_and_impossible_numbers_are_counted_apart() -> None:
    """Absent numbers are null, infinite ones are counted, and neither touches the mean."""
    bare = Features(exchange_id="x", numbers={}, labels={})
    total = column(profile([row(2.0), row(4.0, total_s=math.inf), bare, row(total_s=math.nan)]), "total_s")
    assert (total["counts/n"], total["counts/null"], total["counts/inf"]) == (4, 2, 1)
    assert total["distribution/mean"] == 2.0


def test_labels_that_cannot_be_stored_are_mended() -> None:
    """A lone surrogate does not stop a batch half way."""
    data = profile([row(label="a\ud800"), row(label="x" * 1000)])
    assert column(data, "outcome")["counts/n"] == column(data, "total_s")["counts/n"] == 2


def test_batching_does_not_matter() -> None:
    """One by one or all at once, the counters agree and the quantiles are close."""
    rows = [row(float(n), total_s=n / 7) for n in range(300)]
    one, all_ = column(profile(rows, 1), "total_s"), column(profile(rows, 300), "total_s")
    for name in ("counts/n", "distribution/mean", "distribution/stddev", "distribution/min", "distribution/max"):
        assert one[name] == pytest.approx(all_[name])


def test_a_profile_may_be_taken_again_and_again() -> None:
    """Serialising changes nothing: the same bytes' content comes again, and more rows may follow."""
    profiler = Profiler(datetime(2026, 1, 1, tzinfo=UTC))
    assert column(profiler.serialize(), "total_s")["counts/n"] == 0
    profiler.track([row(), row()])
    first, second = profiler.serialize(), profiler.serialize()
    profiler.track([row()])
    counts = [column(data, "total_s")["counts/n"] for data in (first, second, profiler.serialize())]
    assert (counts, profiler.rows) == ([2, 2, 3], 3)
    view = load_whylogs().DatasetProfileView.deserialize(first)
    assert view.dataset_timestamp == datetime(2026, 1, 1, tzinfo=UTC)


NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=0, max_size=30)


@settings(max_examples=8, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_merging_is_associative_and_the_same_as_tracking_all(a: list[float], b: list[float], c: list[float]) -> None:
    """(a + b) + c, a + (b + c) and all rows in one profile say the same."""
    p, q, r = (profile([row(total_s=v) for v in part]) for part in (a, b, c))
    whole = profile([row(total_s=v) for v in [*a, *b, *c]])
    merged = Profiler.merge(Profiler.merge(p, q), r), Profiler.merge(p, Profiler.merge(q, r))
    left, right, expected = (column(data, "total_s") for data in (*merged, whole))
    for name in ("counts/n", "distribution/n", "distribution/min", "distribution/max", "distribution/median"):
        assert left[name] == pytest.approx(expected[name], nan_ok=True)
        assert right[name] == pytest.approx(expected[name], nan_ok=True)
    for name in ("distribution/mean", "distribution/stddev"):
        assert left[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-6)
        assert right[name] == pytest.approx(expected[name], rel=1e-6, abs=1e-6)


def test_the_empty_profile_is_neutral_and_other_bytes_are_refused() -> None:
    """Merging with nothing changes nothing; bytes that are no profile are the caller's fault."""
    some = profile([row()])
    assert Profiler.merge(b"", some) == Profiler.merge(some, b"") == some
    with pytest.raises(InvalidInput, match="whylogs profile"):
        Profiler.merge(some, b"WHY1 not really")


def test_whylogs_brings_nothing_heavy_and_breaks_nobody() -> None:
    """In a fresh process pandas, scipy and scikit-learn stay out, and whoever wants one can still have it."""
    script = (
        "import sys\n"
        "from agent.profile import Profiler\n"
        "p = Profiler(); Profiler.merge(p.serialize(), p.serialize())\n"
        "print(sorted({'pandas', 'scipy', 'sklearn', 'torch', 'evidently'} & set(sys.modules)))\n"
        "import importlib.util\n"
        "if importlib.util.find_spec('pandas'):\n"
        "    import pandas\n"
        "    print(len(pandas.DataFrame({'a': [1, 2]})))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout.split("\n")[0] == "[]", done.stderr
    assert done.returncode == 0, done.stderr
