"""Nobody and nothing fills the training set: caps per user, per source, per label (pure).

In: rows, the ones to keep first. Out: (kept, dropped), each in the old order. Must never know: why a row is here.

A share is of what is *kept*: a user with 40 % of the rows and a cap of 20 % ends with 20 % of the result.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from retrain.curate.rows import Row

Parts = tuple[list[Row], list[Row]]


def by_user(rows: Sequence[Row], *, share: float, free: int) -> Parts:
    """No user gives more than `share` of the rows kept, or twice an even share where users are few; `free` always."""
    counts = Counter(row.user for row in rows if row.user is not None)
    if not counts:
        return list(rows), []
    nobody = sum(row.user is None for row in rows)
    share = min(1.0, max(share, 2 / (len(counts) + nobody)))
    limit = max(free, level(list(counts.values()), share, nobody))
    return _first(rows, lambda row: row.user, dict.fromkeys(counts, limit))


def level(counts: Sequence[int], share: float, others: int = 0) -> int:
    """The most that one may give so that none gives more than `share` of what all give together.

    With L the level, all give others + sum(min(count, L)); the largest L that is at most `share` of it. A count that
    cannot be helped (one user alone) gives 0.
    """
    low, high = 0, max(counts, default=0)
    while low < high:
        middle = (low + high + 1) // 2
        if middle <= share * (others + sum(min(count, middle) for count in counts)):
            low = middle
        else:
            high = middle - 1
    return low


def by_source(rows: Sequence[Row], shares: Mapping[str, float], *, free: int) -> Parts:
    """No capped source gives more than its share of the rows kept; `free` always, and all where nothing else is."""
    counts = Counter(row.source for row in rows)
    limits: dict[str | None, int] = {}
    for source, share in shares.items():
        others = len(rows) - counts[source]
        if counts[source] and others and share < 1:
            limits[source] = max(free, math.floor(share / (1 - share) * others))
    return _first(rows, lambda row: row.source, limits)


def by_label(rows: Sequence[Row], factor: float | None, *, least: int) -> Parts:
    """No answer has more than `factor` times the rows of the median one; answers of fewer than `least` rows count not.

    Free texts, where hardly an answer comes twice, are left alone.
    """
    counts = Counter(row.answer for row in rows)
    repeated = [count for count in counts.values() if count >= least]
    if factor is None or len(repeated) < 2:
        return list(rows), []
    limit = max(least, math.floor(factor * statistics.median(repeated)))
    return _first(rows, lambda row: row.answer, dict.fromkeys(counts, limit))


def _first(rows: Sequence[Row], key: Callable[[Row], str | None], limits: Mapping[str | None, int]) -> Parts:
    seen: Counter[str | None] = Counter()
    kept: list[Row] = []
    dropped: list[Row] = []
    for row in rows:
        name = key(row)
        seen[name] += 1
        (kept if name not in limits or seen[name] <= limits[name] else dropped).append(row)
    return kept, dropped
