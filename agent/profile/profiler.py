"""Features become standard whylogs profiles, all columns of a batch at once.

Lives here: `Profiler`.
Comes in: batches of `Features`. Goes out: the bytes of a whylogs profile, readable by whylogs itself.
Must never know: windows, versions, the store, the clock.

whylogs's own path takes each value through Python. Here whole columns go into the same sketches (KLL for the
distribution, HLL for cardinality, frequent items for labels), and counts, means and extremes are kept for all columns
in a few arrays until they are asked for. Mean and variance: Chan, Golub, LeVeque (1979), as whylogs merges them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from agent.profile.moments import Moments
from agent.profile.reading import read_view
from agent.profile.table import FEATURES, Feature, Kind
from agent.store.whylogs_light import Whylogs, load_whylogs
from agent.types import Features, InvalidInput

EPOCH = datetime.fromtimestamp(0, UTC)
RANK_ERROR = 0.0261
"""Of a quantile of one column, at 99 % confidence, once it holds more rows than the sketch: KLL with k = 100."""
_KLL = {Kind.AXIS: 8, Kind.FLAG: 16}
_KLL_OTHER = 100
_LG_CARDINALITY = 9
_LG_ITEMS = 7
_ITEM_CHARS = 128
_WHOLE = 2.0**53
_METRICS = {
    Kind.COUNT: ("counts", "types", "distribution", "cardinality", "ints"),
    Kind.NUMBER: ("counts", "types", "distribution"),
    Kind.AXIS: ("counts", "distribution"),
    Kind.FLAG: ("counts", "types", "distribution", "cardinality", "ints", "frequent_items"),
    Kind.LABEL: ("counts", "types", "cardinality", "frequent_items"),
}
_TYPE = {Kind.COUNT: "integral", Kind.NUMBER: "fractional", Kind.FLAG: "boolean"}


class Profiler:
    """Collects one profile. `at` is its time stamp (the window's start); the epoch when nobody says.

    `features` are its columns: all of the table, or those that the data can have.
    """

    def __init__(self, at: datetime = EPOCH, features: Sequence[Feature] = FEATURES) -> None:
        self.rows = 0
        """Rows tracked so far."""
        self._at = at
        self._whylogs = load_whylogs()
        self._numeric = tuple(feature for feature in features if feature.kind is not Kind.LABEL)
        self._names = tuple(feature.name for feature in self._numeric)
        self._absent = np.array([math.nan if f.kind in {Kind.NUMBER, Kind.AXIS} else 0.0 for f in self._numeric])
        self._moments = Moments(len(self._numeric))
        self._metrics = {feature.name: _zero(feature.kind, self._whylogs) for feature in features}
        self._kinds = {feature.name: feature.kind for feature in features}
        self._labels = {feature.name: [0, 0] for feature in features if feature.kind is Kind.LABEL}  # seen, missing

    def track(self, rows: Sequence[Features]) -> None:
        """Add rows. What a row does not have counts as null; a missing count or flag as 0."""
        if not rows:
            return
        self._track_numbers(self._matrix([row.numbers for row in rows]))
        for name in self._labels:
            self._track_labels(name, [row.labels.get(name) for row in rows])
        self.rows += len(rows)

    def track_columns(
        self, numbers: Mapping[str, npt.ArrayLike], labels: Mapping[str, Sequence[str | None]] | None = None
    ) -> None:
        """Add rows that stand in columns already, all of the same length; NaN and None mean absent.

        Raises InvalidInput when a column is missing or of another length than the others.
        """
        given = {**numbers, **(labels or {})}
        missing = [name for name in self._metrics if name not in given]
        lengths = {len(column) for column in given.values()}  # type: ignore[arg-type]
        if missing or len(lengths) != 1:
            raise InvalidInput(
                f"columns must be of one length and all there: {', '.join(missing) or sorted(lengths)} is amiss"
            )
        self._track_numbers(np.array([numbers[name] for name in self._names], np.float64))
        for name in self._labels:
            self._track_labels(name, given[name])  # type: ignore[arg-type]
        self.rows += lengths.pop()

    def serialize(self) -> bytes:
        """The profile so far, in whylogs's own format (20 to 110 kB). May be asked for again and again."""
        for n, (name, kind) in enumerate((f.name, f.kind) for f in self._numeric):
            self._settle(n, name, kind)
        for name, (seen, missing) in self._labels.items():
            counts = self._metrics[name]["counts"]
            counts.n.set(seen)
            counts.null.set(missing)
            self._metrics[name]["types"].string.set(seen - missing)
        columns = {name: self._whylogs.ColumnProfileView(metrics) for name, metrics in self._metrics.items()}
        view = self._whylogs.DatasetProfileView(
            columns=columns, dataset_timestamp=self._at, creation_timestamp=self._at
        )
        return bytes(view.serialize())

    @staticmethod
    def merge(first: bytes, second: bytes) -> bytes:
        """The profile of both rows together; `b""` is the empty profile. Raises InvalidInput for other bytes.

        Counts, means and extremes are exact in any order; quantiles within the sketch's error (`RANK_ERROR`).
        """
        if not first or not second:
            return first or second
        return bytes(read_view(first).merge(read_view(second)).serialize())

    def _matrix(self, rows: Sequence[Mapping[str, float]]) -> npt.NDArray[np.float64]:
        """Shape (columns, rows). Rows with the same keys in the same order go in without a look at each value."""
        names = self._names
        if all(tuple(row) == names for row in rows):
            flat = np.fromiter(chain.from_iterable(row.values() for row in rows), np.float64, len(rows) * len(names))
            return np.ascontiguousarray(flat.reshape(len(rows), len(names)).T)
        absent = self._absent.tolist()
        return np.array(
            [[row.get(name, default) for row in rows] for name, default in zip(names, absent, strict=True)], np.float64
        ).reshape(len(names), len(rows))

    def _track_numbers(self, values: npt.NDArray[np.float64]) -> None:
        """Take numbers, shape (columns, rows), into moments and sketches."""
        kept = self._moments.add(values)
        for n, feature in enumerate(self._numeric):
            column = values[n] if kept is None else values[n][kept[n]]
            if len(column):
                self._sketch(feature, column)

    def _sketch(self, feature: Feature, column: npt.NDArray[np.float64]) -> None:
        metrics = self._metrics[feature.name]
        metrics["distribution"].kll.value.update(column)
        if feature.kind is Kind.COUNT:
            metrics["cardinality"].hll.value.update_np(np.clip(column, -_WHOLE, _WHOLE).astype(np.int64))
        elif feature.kind is Kind.FLAG:
            true = int(np.count_nonzero(column))
            for word, number, times in (("True", 1, true), ("False", 0, len(column) - true)):
                if times:  # booleans as whylogs writes them: integers for one sketch, words for the other
                    metrics["cardinality"].hll.value.update(number)
                    metrics["frequent_items"].frequent_strings.value.update(word, times)

    def _track_labels(self, name: str, labels: Sequence[str | None]) -> None:
        there = [label if label.isascii() and len(label) <= _ITEM_CHARS else _item(label) for label in labels if label]
        tally, metrics = self._labels[name], self._metrics[name]
        tally[0] += len(labels)
        tally[1] += len(labels) - len(there)
        if there:
            metrics["cardinality"].hll.value.update_str_list(there)
            metrics["frequent_items"].frequent_strings.value.update_str_list(there)

    def _settle(self, n: int, name: str, kind: Kind) -> None:
        """Write the counters of a column into its whylogs metrics."""
        metrics, moments = self._metrics[name], self._moments
        counts, distribution = metrics["counts"], metrics["distribution"]
        finite, null, inf = int(moments.n[n]), int(moments.null[n]), int(moments.inf[n])
        counts.n.set(finite + null + inf)
        counts.null.set(null)
        counts.nan.set(null)
        counts.inf.set(inf)
        if kind is Kind.FLAG:
            counts.true.set(round(moments.mean[n] * finite))
        if kind in _TYPE:
            getattr(metrics["types"], _TYPE[kind]).set(finite + inf)
        distribution.mean.set(float(moments.mean[n]))
        distribution.m2.set(float(moments.m2[n]))
        if "ints" in metrics and finite:
            metrics["ints"].min.set(int(moments.low[n]))
            metrics["ints"].max.set(int(moments.high[n]))


def _zero(kind: Kind, whylogs: Whylogs) -> dict[str, Any]:
    config = whylogs.MetricConfig(
        large_kll_k=False,
        kll_k=_KLL.get(kind, _KLL_OTHER),
        hll_lg_k=_LG_CARDINALITY,
        fi_lg_max_k=_LG_ITEMS,
    )
    return {name: whylogs.StandardMetric[name].zero(config) for name in _METRICS[kind]}


def _item(label: str) -> str:
    """Storable: a lone surrogate would stop a sketch half way."""
    return label[:_ITEM_CHARS].encode("utf-8", "replace").decode()
