"""Who learns and who examines: a split by stable hash, a cap per user, a stable choice of rows (pure).

In: rows. Out: rows. Must never know: labels' worth, duplicates, files.

The split comes first, before anything looks at texts, so that no later step can move a row across it. A group
(user, conversation or text) falls on the same side in every order, as long as the share is the same or grows.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Sequence

from retrain.curate.rows import Row, normal

HOLDOUT_SHARE = 0.2
MAX_HOLDOUT_SHARE = 0.5
USER_SHARE = 0.2
USER_ROWS = 20
"""No user gives more than a fifth of the fresh training rows, but everybody may give 20."""


def position(text: str, salt: str) -> float:
    """Where a text falls in [0, 1): the same on every machine and in every year."""
    raw = hashlib.sha256(f"{salt}\0{text}".encode()).digest()
    return int.from_bytes(raw[:8], "big") / 2**64


def share_for(rows: int, wanted: int) -> float:
    """Share of the rows to hold out: a fifth, more when that is too few to judge by, never over a half."""
    if rows == 0:
        return HOLDOUT_SHARE
    return min(MAX_HOLDOUT_SHARE, max(HOLDOUT_SHARE, wanted / rows))


def split(rows: Sequence[Row], share: float, salt: str = "holdout") -> tuple[list[Row], list[Row]]:
    """(train, holdout); all rows of one group fall on one side."""
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        sides[position(normal(row.group), salt) < share].append(row)
    return sides


def cap_users(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """(kept, dropped): the first rows of every user up to the cap. Rows without a user are all kept."""
    limit = max(USER_ROWS, math.ceil(USER_SHARE * len(rows)))
    seen: Counter[str] = Counter()
    kept: list[Row] = []
    dropped: list[Row] = []
    for row in rows:
        if row.user is not None:
            seen[row.user] += 1
        over = row.user is not None and seen[row.user] > limit
        (dropped if over else kept).append(row)
    return kept, dropped


def choose(rows: Sequence[Row], most: int, salt: str = "choice") -> list[Row]:
    """At most so many rows, the same ones every time, in their old order."""
    if len(rows) <= most:
        return list(rows)
    ranked = sorted(range(len(rows)), key=lambda i: (position(rows[i].id + rows[i].text, salt), i))
    return [rows[i] for i in sorted(ranked[:most])]
