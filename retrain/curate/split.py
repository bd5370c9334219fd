"""Who learns and who examines: a split by stable hash or by time, a stable choice of rows (pure).

In: rows. Out: rows. Must never know: labels' worth, duplicates, files.

The split comes first, before anything looks at texts, so that no later step can move a row across it. A group
(user, conversation or text) falls on the same side in every order, as long as the share is the same or grows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

from retrain.curate.rows import Row, normal

SALT = "holdout"
HOLDOUT_SHARE = 0.1
MAX_HOLDOUT_SHARE = 0.5


def position(text: str, salt: str) -> float:
    """Where a text falls in [0, 1): the same on every machine and in every year."""
    raw = hashlib.sha256(f"{salt}\0{text}".encode()).digest()
    return int.from_bytes(raw[:8], "big") / 2**64


def share_for(rows: int, wanted: int, least: float = HOLDOUT_SHARE) -> float:
    """Share of the rows to hold out: `least`, more when that is too few to judge by, never over a half."""
    if rows == 0:
        return least
    return min(MAX_HOLDOUT_SHARE, max(least, wanted / rows))


def split(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """(train, holdout); all rows of one group fall on one side."""
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        sides[held(row, share)].append(row)
    return sides


def held(row: Row, share: float) -> bool:
    """True when the row's group is held out at this share."""
    return position(normal(row.group), SALT) < share


def far(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """(rest, set aside): the groups at the other end of the same hash, which a growing holdout reaches last."""
    sides: tuple[list[Row], list[Row]] = ([], [])
    for row in rows:
        sides[position(normal(row.group), SALT) >= 1 - share].append(row)
    return sides


def newest(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """(train, holdout) of rows that come newest first: the newest are held out. A user may be on both sides."""
    count = round(share * len(rows))
    return list(rows[count:]), list(rows[:count])


def talks(rows: Sequence[Row]) -> set[str]:
    """Their conversations."""
    return {row.conversation for row in rows if row.conversation is not None}


def people(rows: Sequence[Row]) -> set[str]:
    """Their users."""
    return {row.user for row in rows if row.user is not None}


def apart(rows: Sequence[Row], talks: Collection[str], people: Collection[str]) -> list[Row]:
    """The rows of none of these conversations and none of these users (several users may share a conversation)."""
    return [row for row in rows if row.conversation not in talks and row.user not in people]


def choose(rows: Sequence[Row], most: int, salt: str = "choice") -> list[Row]:
    """At most so many rows, the same ones every time, in their old order."""
    if len(rows) <= most:
        return list(rows)
    ranked = sorted(range(len(rows)), key=lambda i: (position(rows[i].id + rows[i].text, salt), i))
    return [rows[i] for i in sorted(ranked[:most])]
