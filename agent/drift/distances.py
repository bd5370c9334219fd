"""How far two windows are apart, feature by feature. A measurement, never a verdict.

Lives here: `distances`. Comes in: two serialised whylogs profiles. Goes out: (feature, measure, value) rows.
Must never know: which distance is too far; that a threshold on these alarms falsely is why there is a detector.

Numbers: `ks`, the largest gap between the two distributions, in [0, 1], from the KLL sketches (rank error about 0.01),
and `psi`, the population stability index over the reference's deciles. Labels: `psi` over the 20 commonest labels and
the rest. Shares are at least 0.0001, so psi stays finite. 0 means equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.store.whylogs_light import load_whylogs
from agent.types import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RANKS = 100
_DECILES = np.linspace(0, 1, 11)[1:-1].tolist()
_LABELS = 20
_LEAST_SHARE = 1e-4


def distances(reference_profile: bytes, window_profile: bytes) -> list[tuple[str, str, float]]:
    """Distances of every feature that both profiles hold, by name. Raises InvalidInput for other bytes."""
    reference, window = _columns(reference_profile), _columns(window_profile)
    out: list[tuple[str, str, float]] = []
    for name in sorted(reference.keys() & window.keys()):
        out += [(name, measure, value) for measure, value in _column(reference[name], window[name])]
    return out


def _columns(profile: bytes) -> dict[str, Any]:
    view = load_whylogs().DatasetProfileView
    try:
        columns: dict[str, Any] = view.deserialize(profile).get_columns()
    except Exception as error:  # whylogs and protobuf raise whatever their parsers raise
        raise InvalidInput(f"these bytes are no whylogs profile ({type(error).__name__})") from error
    return columns


def _column(reference: Any, window: Any) -> list[tuple[str, float]]:
    labels = _label_counts(reference), _label_counts(window)
    if labels[0] and labels[1]:
        return [("psi", _psi(*_label_shares(labels[0], labels[1])))]
    sketches = _sketch(reference), _sketch(window)
    if sketches[0] is None or sketches[1] is None:
        return []
    return [("ks", _ks(*sketches)), ("psi", _psi(*_decile_shares(*sketches)))]


def _label_counts(column: Any) -> dict[str, float]:
    """Counts of the common strings of a column; empty for a column of numbers."""
    types, items = column.get_metric("types"), column.get_metric("frequent_items")
    if items is None or types is None or not types.string.value:
        return {}
    return {str(item.value): float(item.est) for item in items.strings}


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


def _sketch(column: Any) -> Any | None:
    metric = column.get_metric("distribution")
    sketch = metric.kll.value if metric is not None else None
    return sketch if sketch is not None and not sketch.is_empty() else None


def _below(sketch: Any, points: list[float]) -> NDArray[np.float64]:
    """Share of values <= each of the sorted distinct points; the sketch itself counts values strictly below."""
    return np.asarray(sketch.get_cdf(np.nextafter(points, np.inf).tolist())[:-1])


def _ks(reference: Any, window: Any) -> float:
    ranks = np.linspace(0, 1, _RANKS + 1).tolist()
    points = sorted({*reference.get_quantiles(ranks), *window.get_quantiles(ranks)})
    return float(np.abs(_below(reference, points) - _below(window, points)).max())


def _decile_shares(reference: Any, window: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    edges = sorted(set(reference.get_quantiles(_DECILES)))
    shares = [np.diff(_below(sketch, edges), prepend=0.0, append=1.0) for sketch in (reference, window)]
    return shares[0], shares[1]


def _psi(reference: NDArray[np.float64], window: NDArray[np.float64]) -> float:
    one, other = np.maximum(reference, _LEAST_SHARE), np.maximum(window, _LEAST_SHARE)
    return float(((other - one) * np.log(other / one)).sum())
