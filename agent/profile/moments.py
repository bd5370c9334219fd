"""Counts, means, squared deviations and extremes of many columns at once (pure but for its own sums).

Lives here: `Moments`. Comes in: batches, shape (columns, rows). Goes out: one array a quantity, shape (columns,).
Must never know: sketches, names, whylogs.

NaN is absent; infinite numbers, and those whose square no float holds, are counted apart and kept out of the sums.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_MOST = 1e150


class Moments:
    """Sums of `columns` columns. `n` counts finite values, `m2` is the sum of squared deviations from `mean`."""

    def __init__(self, columns: int) -> None:
        self.n, self.null, self.inf = (np.zeros(columns, np.int64) for _ in range(3))
        self.mean, self.m2 = np.zeros(columns), np.zeros(columns)
        self.low, self.high = np.full(columns, np.inf), np.full(columns, -np.inf)

    def add(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_] | None:
        """Add a batch. Returns which values are finite, shape (columns, rows); None when all are."""
        rows = values.shape[1]
        low, high = values.min(1, initial=np.inf), values.max(1, initial=-np.inf)  # NaN passes through both
        if bool((low > -_MOST).all()) and bool((high < _MOST).all()):
            mean = values.mean(1)
            away = values - mean[:, None]
            self._join(np.full(len(values), rows), mean, np.einsum("ij,ij->i", away, away), low, high)
            return None
        kept = np.abs(values) < _MOST
        absent = np.isnan(values)
        n = kept.sum(1)
        self.null += absent.sum(1)
        self.inf += rows - n - absent.sum(1)
        clean = np.where(kept, values, 0.0)
        mean = clean.sum(1) / np.maximum(n, 1)
        away = np.where(kept, clean - mean[:, None], 0.0)
        low, high = np.where(kept, values, np.inf).min(1), np.where(kept, values, -np.inf).max(1)
        self._join(n, mean, np.einsum("ij,ij->i", away, away), low, high)
        return kept

    def _join(
        self,
        n: npt.NDArray[np.int64],
        mean: npt.NDArray[np.float64],
        m2: npt.NDArray[np.float64],
        low: npt.NDArray[np.float64],
        high: npt.NDArray[np.float64],
    ) -> None:
        total = np.maximum(self.n + n, 1)
        step = mean - self.mean
        self.m2 += m2 + step * step * self.n * n / total
        self.mean += step * n / total
        self.n += n
        np.minimum(self.low, low, out=self.low)
        np.maximum(self.high, high, out=self.high)
