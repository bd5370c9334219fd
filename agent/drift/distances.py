"""How far two windows are apart, feature by feature, with intervals. A measurement, never a verdict.

Lives here: `distances`. Comes in: two serialised whylogs profiles. Goes out: `Distance` rows.
Must never know: which distance is too far; that a threshold on these alarms falsely is why there is a detector.

Numbers: `ks`, the largest gap between the two distributions, and over the reference's deciles `psi`, `js` and
`hellinger`. Labels and flags: the same and `chi2` over the 20 commonest labels and the rest; their `ks` is the largest
gap of one share. The axes of a text's sketch together: `mmd`. 0 means equal; all but psi and mmd lie in [0, 1].
How the measures and their intervals are made: `agent/drift/spread.py`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.drift.spread import apart, binned, gap, measures, rows_of
from agent.store.whylogs_light import load_whylogs
from agent.types import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from agent.drift.spread import Interval

_POINTS = 256
_DECILES = np.linspace(0, 1, 11)[1:-1].tolist()
_LABELS = 20
_ANY = 0.95
_AXIS = re.compile(r"(.+)_\d\d")


@dataclass(frozen=True, slots=True)
class Distance:
    """One measure of one feature: `value`, and where the truth lies at the level asked for; None when none was.

    `n` rows of the window and `n_reference` of the reference had the feature. The interval takes rows as independent:
    bursts of one user make the truth wider.
    """

    feature: str
    measure: str
    value: float
    low: float | None
    high: float | None
    n: int
    n_reference: int


def distances(reference_profile: bytes, window_profile: bytes, *, level: float | None = 0.95) -> list[Distance]:
    """Distances of every feature that both profiles hold, by name.

    Without a level there are no intervals, which cost a millisecond a feature. Raises InvalidInput for other bytes.
    """
    reference, window = _columns(reference_profile), _columns(window_profile)
    out: list[Distance] = []
    axes: dict[str, list[str]] = {}
    for name in sorted(reference.keys() & window.keys()):
        axis = _AXIS.fullmatch(name)
        if axis:
            axes.setdefault(axis[1], []).append(name)
        else:
            out += _column(name, reference[name], window[name], level)
    for text, names in axes.items():
        out += _axes(text, [reference[name] for name in names], [window[name] for name in names], level)
    return out


@dataclass(frozen=True, slots=True, eq=False)
class _Column:
    """What is asked of a column: counts of its labels (none of numbers), sketch (None when empty), moments."""

    labels: dict[str, float]
    sketch: Any | None
    mean: float
    m2: float

    @classmethod
    def of(cls, column: Any) -> _Column:
        """Of a column of whylogs's, whose own objects take a megabyte and a half a profile."""
        metric = column.get_metric("distribution")
        if metric is None:
            return cls(_label_counts(column), None, math.nan, math.nan)
        sketch = metric.kll.value
        return cls(_label_counts(column), None if sketch.is_empty() else sketch, metric.mean.value, metric.m2.value)


@lru_cache(maxsize=4)
def _columns(profile: bytes) -> Mapping[str, _Column]:
    """The columns of a profile; a reference is asked for again and again."""
    view = load_whylogs().DatasetProfileView
    try:
        columns: dict[str, Any] = view.deserialize(profile).get_columns()
    except Exception as error:  # whylogs and protobuf raise whatever their parsers raise
        raise InvalidInput(f"these bytes are no whylogs profile ({type(error).__name__})") from error
    return {name: _Column.of(column) for name, column in columns.items()}


def _rows(name: str, found: Mapping[str, Interval], n_reference: int, n: int, level: float | None) -> list[Distance]:
    return [
        Distance(name, measure, value, low if level else None, high if level else None, n, n_reference)
        for measure, (value, low, high) in found.items()
    ]


def _binned(
    shares: tuple[NDArray[np.float64], NDArray[np.float64]], n_reference: int, n: int, level: float | None
) -> dict[str, Interval]:
    if level is not None:
        return binned(*shares, n_reference, n, level)
    return {name: (value, value, value) for name, value in measures(*shares, n_reference, n).items()}


def _column(name: str, reference: _Column, window: _Column, level: float | None) -> list[Distance]:
    if reference.labels and window.labels:
        return _of_labels(name, reference.labels, window.labels, level)
    one, other = reference.sketch, window.sketch
    if reference.labels or window.labels or one is None or other is None:
        return []
    n_reference, n = one.get_n(), other.get_n()
    found = {"ks": gap(_largest_gap(one, other), n_reference, n, _error(one), _error(other), level or _ANY)}
    effective = rows_of(n_reference, _error(one)), rows_of(n, _error(other))
    found |= _binned(_decile_shares(one, other), *effective, level)
    del found["chi2"]
    return _rows(name, found, n_reference, n, level)


# -- labels and flags -----------------------------------------------------------------------------


def _label_counts(column: Any) -> dict[str, float]:
    """Counts of the common strings, or of True and False; empty for a column of numbers."""
    types, items = column.get_metric("types"), column.get_metric("frequent_items")
    if items is None or types is None or not (types.string.value or types.boolean.value):
        return {}
    return {str(item.value): float(item.est) for item in items.strings}


def _of_labels(name: str, reference: dict[str, float], window: dict[str, float], level: float | None) -> list[Distance]:
    n_reference, n = round(sum(reference.values())), round(sum(window.values()))
    shares = _label_shares(reference, window)
    largest = float(np.abs(shares[0] - shares[1]).max())
    found = {"ks": gap(largest, n_reference, n, 0.0, 0.0, level or _ANY), **_binned(shares, n_reference, n, level)}
    return _rows(name, found, n_reference, n, level)


def _label_shares(
    reference: dict[str, float], window: dict[str, float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    either = {label: reference.get(label, 0.0) + window.get(label, 0.0) for label in reference | window}
    common = sorted(either, key=lambda label: (-either[label], label))[:_LABELS]
    shares = []
    for counts in (reference, window):
        total = sum(counts.values())
        known = [counts.get(label, 0.0) / total for label in common]
        shares.append(np.array([*known, max(0.0, 1 - sum(known))]))
    return shares[0], shares[1]


# -- numbers --------------------------------------------------------------------------------------


def _error(sketch: Any) -> float:
    """Rank error at 99 %; none while the sketch still holds every row."""
    return float(sketch.normalized_rank_error(False)) if sketch.is_estimation_mode() else 0.0


def _below(sketch: Any, points: list[float]) -> NDArray[np.float64]:
    """Share of values <= each of the sorted distinct points; the sketch itself counts values strictly below."""
    return np.asarray(sketch.get_cdf(np.nextafter(points, np.inf).tolist())[:-1])


def _largest_gap(reference: Any, window: Any) -> float:
    points: set[float] = set()
    for sketch in (reference, window):
        ranks = np.linspace(0, 1, min(_POINTS, sketch.get_n()) + 1)
        points.update(sketch.get_quantiles(ranks.tolist()))
    places = sorted(points)
    return float(np.abs(_below(reference, places) - _below(window, places)).max())


def _decile_shares(reference: Any, window: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    edges = sorted(set(reference.get_quantiles(_DECILES)))
    shares = [np.diff(_below(sketch, edges), prepend=0.0, append=1.0) for sketch in (reference, window)]
    return shares[0], shares[1]


# -- the axes of a text ---------------------------------------------------------------------------


def _axes(name: str, reference: list[_Column], window: list[_Column], level: float | None) -> list[Distance]:
    """One distance of all axes, from their means and variances."""
    sizes, means, variances = [], [], []
    for columns in (reference, window):
        n = min(0 if column.sketch is None else column.sketch.get_n() for column in columns)
        sizes.append(n)
        means.append(np.array([column.mean for column in columns]))
        variances.append(np.array([column.m2 for column in columns]) / max(1, n - 1))
    if min(sizes) < 2:
        return []
    mmd = apart(means[0] - means[1], variances[0], variances[1], sizes[0], sizes[1], level or _ANY)
    return _rows(name, {"mmd": mmd}, sizes[0], sizes[1], level)
