"""Profiles are whylogs's own: it reads them, merges them, and finds in them what went in."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.profile.profiler import RANK_ERROR, Profiler
from agent.profile.table import FEATURES, Kind
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
    chars = column(data, "prompt_chars")
    assert chars["cardinality/est"] == pytest.approx(2000, rel=0.15)
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
    assert column(profile([row(), bare]), "outcome")["counts/null"] == 1


def test_numbers_of_any_size_do_no_harm() -> None:
    """Constant columns, huge counts and numbers whose squares overflow leave means finite and extremes right."""
    data = profile([row(3.0, total_s=1e200, prompt_chars=1e300), row(3.0, total_s=5.0, prompt_chars=1e17)] * 20)
    constant, total, chars = (column(data, name) for name in ("prompt_words", "total_s", "prompt_chars"))
    assert (constant["distribution/mean"], constant["distribution/stddev"]) == (3.0, 0.0)
    assert (total["distribution/mean"], total["counts/inf"], total["distribution/max"]) == (5.0, 20, 5.0)
    assert (chars["counts/inf"], chars["ints/max"]) == (20, 10**17)


def test_columns_and_rows_are_the_same() -> None:
    """What stands in columns already makes the same profile as its rows; columns that do not fit are refused."""
    values = [1.0, 2.5, math.nan]
    profiler = Profiler(features=FEW)
    profiler.track_columns(
        {"total_s": values, "answer_topic_00": values, "prompt_chars": [3, 3, 3]}, {"outcome": [None, None, None]}
    )
    for name in ("total_s", "outcome", "prompt_chars"):
        assert str(column(profiler.serialize(), name)) == str(column(few(values), name))
    assert profiler.rows == 3
    with pytest.raises(InvalidInput, match="total_s"):
        profiler.track_columns({"answer_topic_00": values, "prompt_chars": values}, {"outcome": ["a"] * 3})
    with pytest.raises(InvalidInput, match="one length"):
        profiler.track_columns({"total_s": [1.0], "answer_topic_00": values, "prompt_chars": values}, {"outcome": []})


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


MEASURES = ("counts/n", "counts/null", "distribution/n", "distribution/min", "distribution/max")
FEW = tuple(
    feature for feature in FEATURES if feature.name in {"total_s", "answer_topic_00", "outcome", "prompt_chars"}
)
NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=400)


def few(values: list[float]) -> bytes:
    """A profile of few columns."""
    profiler = Profiler(features=FEW)
    profiler.track(
        [
            Features(exchange_id="x", numbers={"total_s": v, "answer_topic_00": v, "prompt_chars": 3.0}, labels={})
            for v in values
        ]
    )
    return profiler.serialize()


@settings(max_examples=10, deadline=None)
@given(NUMBERS, NUMBERS, NUMBERS)
def test_merging_is_associative_and_commutative_and_the_same_as_tracking_all(
    a: list[float], b: list[float], c: list[float]
) -> None:
    """(a + b) + c, a + (b + c), c + (b + a) and all rows in one profile say the same, quantiles within their error."""
    p, q, r = few(a), few(b), few(c)
    merge = Profiler.merge
    there = np.sort([v for v in (*a, *b, *c) if not math.isnan(v)])
    whole = column(few([*a, *b, *c]), "total_s")
    for merged in (merge(merge(p, q), r), merge(p, merge(q, r)), merge(r, merge(q, p))):
        got = column(merged, "total_s")
        for name in MEASURES:
            assert got[name] == pytest.approx(whole[name], nan_ok=True)
        for name in ("distribution/mean", "distribution/stddev"):
            assert got[name] == pytest.approx(whole[name], rel=1e-6, abs=1e-6)
        if len(there):
            below, upto = (
                np.searchsorted(there, got["distribution/median"], "left"),
                np.searchsorted(there, got["distribution/median"], "right"),
            )
            slack = 2 * RANK_ERROR * len(there) + 1
            assert below - slack <= len(there) / 2 <= upto + slack


def test_the_empty_profile_is_neutral_and_other_bytes_are_refused() -> None:
    """Merging with nothing changes nothing; bytes that are no profile are the caller's fault."""
    some = profile([row()])
    assert Profiler.merge(b"", some) == Profiler.merge(some, b"") == some
    with pytest.raises(InvalidInput, match="damaged"):
        Profiler.merge(some, some[: len(some) // 2])
    with pytest.raises(InvalidInput, match="version"):
        Profiler.merge(some, b"WHY2" + some[4:])
    with pytest.raises(InvalidInput, match="no whylogs profile"):
        Profiler.merge(b"PK", some)


def test_plain_whylogs_opens_and_merges_it(tmp_path: Path) -> None:
    """In a process that imports whylogs as anybody would, `read`, `merge` and the summary of every column work."""
    for name in ("one.bin", "two.bin"):
        (tmp_path / name).write_bytes(profile([row(), row(total_s=2.0)]))
    script = (
        "import sys, whylogs\n"
        "one, two = (whylogs.DatasetProfileView.read(f) for f in sys.argv[1:3])\n"
        "both = one.merge(two)\n"
        "[column.to_summary_dict() for column in both.get_columns().values()]\n"
        "total = both.get_column('total_s').to_summary_dict()\n"
        "print(len(both.get_columns()), total['counts/n'], total['distribution/mean'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "one.bin", tmp_path / "two.bin"],
        capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path,
        env={**os.environ, "WHYLOGS_NO_ANALYTICS": "1"},
    )  # fmt: skip
    assert done.stdout.split() == [str(len(FEATURES)), "4", "1.5"], done.stderr


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
