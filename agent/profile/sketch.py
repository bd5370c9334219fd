"""A text as a few numbers that move with its topic: hashed runs of four bytes (pure).

Lives here: `sketch`, of a prompt and its answer together, which costs half of two.
Comes in: the bytes of two texts, lower case. Goes out: 8 axes each, and the cosine between the two.
Must never know: references, what counts as far.

Feature hashing with signs (Weinberger et al. 2009): every run of four bytes falls into one of 256 buckets with a sign,
both from a multiplicative hash, so that inner products of texts are kept in expectation. The axes add 32 buckets each
and are brought to length 1. No table to download, no word list, any script, the same numbers everywhere.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

AXES = 8
_BUCKETS = 256
_GRAM = 4
_MULTIPLIER = np.uint32(2654435761)  # Knuth, TAOCP 6.4: 2^32 over the golden ratio
_SHIFT = np.uint32(32 - 9)  # 8 bits of bucket, 1 of sign
_FOLD = np.tile(np.eye(AXES), (_BUCKETS // AXES, 1))
"""Shape (256, 8): which buckets an axis adds."""
_ZERO = (0.0,) * AXES


class Sketch(NamedTuple):
    """Two texts sketched. A text of fewer than four bytes has all axes 0 and no cosine."""

    one: tuple[float, ...]
    """Shape (8,), of length 1."""
    other: tuple[float, ...]
    cosine: float | None
    """Of the angle between the bucket counts, in [-1, 1]."""


def sketch(one: bytes, other: bytes) -> Sketch:
    """The axes of both texts and the cosine between their counts."""
    n, m = max(0, len(one) - _GRAM + 1), max(0, len(other) - _GRAM + 1)
    hashed = np.empty(n + m, np.uint32)
    if n:
        np.multiply(np.ndarray((n,), "<u4", one, 0, (1,)), _MULTIPLIER, out=hashed[:n])
    if m:
        np.multiply(np.ndarray((m,), "<u4", other, 0, (1,)), _MULTIPLIER, out=hashed[n:])
    hashed >>= _SHIFT
    hashed[n:] += np.uint32(2 * _BUCKETS)
    both = np.bincount(hashed, minlength=4 * _BUCKETS).reshape(2, 2, _BUCKETS)
    counts = (both[:, 0] - both[:, 1]).astype(np.float64)
    (one_one, one_other), (_, other_other) = (counts @ counts.T).tolist()
    length = math.sqrt(one_one * other_other)
    first, second = (counts @ _FOLD).tolist()
    return Sketch(_unit(first), _unit(second), max(-1.0, min(1.0, one_other / length)) if length else None)


def _unit(axes: list[float]) -> tuple[float, ...]:
    length = math.hypot(*axes)
    return tuple([axis / length for axis in axes]) if length else _ZERO
