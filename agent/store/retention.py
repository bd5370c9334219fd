"""Deleting what is old, by age and by the size of the database.

Lives here: the walk from the oldest row on, in short transactions that never hold the write lock for long.
Comes in: an engine and `Limits`. Goes out: how many exchanges were deleted.
Must never know: settings, the clock.

Counts survive: only rows that a tally has counted are deleted (`tally.py`). The newest row always stays, because
SQLite would give its number again, and every cursor counts in these numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, Select, delete, exists, func, or_, select, tuple_

from agent.store import history, tally
from agent.store.dialect import writing
from agent.store.pages import meter
from agent.store.tables import EXCHANGE, GRADE

BATCH_ROWS = 200
REST_S = 0.005
"""Between two batches: others who wait for the write lock get it."""
LOW_WATER = 0.95
"""Once the database is too big, it is brought down to this share of its limit: room for a while."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """`before`: exchanges that began earlier may go. `labelled_before`: the same for those that a person labelled.

    `now` is the present: what is dated later than that says nothing about the age of measurements.
    `held`: ranges (after, upto] of row numbers that an order in hand may still read.
    `deadline`: moment of `time.monotonic()` at which to stop; the next call goes on.
    """

    now: datetime
    before: datetime
    labelled_before: datetime
    most_bytes: int
    held: Sequence[tuple[int, int]] = ()
    deadline: float = float("inf")


def expire(engine: Engine, limits: Limits) -> int:
    """Delete exchanges, readings, profiles and estimates that are too old."""
    key = (EXCHANGE.c.started_at, EXCHANGE.c.rowid)
    deleted, after = 0, None
    while time.monotonic() < limits.deadline:
        query = _oldest(engine).where(EXCHANGE.c.started_at < limits.before).order_by(*key)
        rows = _page(engine, query if after is None else query.where(tuple_(*key) > after))
        if not rows:
            break
        after = (rows[-1].started_at, rows[-1].rowid)
        deleted += _delete(engine, rows, limits)
    history.expire(engine, limits.before)
    return deleted


def shrink(engine: Engine, limits: Limits) -> tuple[int, int]:
    """Delete from the oldest row on until the database fits; returns (deleted, bytes that are still too many).

    Readings, profiles and estimates go with the exchanges of their time. What remains too big is what must stay.
    """
    used = meter(engine, limits.most_bytes)
    if used(0) <= limits.most_bytes:
        return 0, 0
    target = int(limits.most_bytes * LOW_WATER)
    deleted, after = 0, 0
    while used(deleted) > target and time.monotonic() < limits.deadline:
        query = _oldest(engine).where(EXCHANGE.c.rowid > after).order_by(EXCHANGE.c.rowid)
        rows = _page(engine, query)
        if not rows:
            break
        after = rows[-1].rowid
        deleted += _delete(engine, rows, limits)
        history.expire(engine, min(limits.now, *(row.started_at for row in rows)))
    return deleted, max(0, used(deleted) - limits.most_bytes)


def _oldest(engine: Engine) -> Select[Any]:
    """What may be deleted at all: counted, and not the newest."""
    with engine.connect() as connection:
        newest = connection.execute(select(func.max(EXCHANGE.c.rowid))).scalar() or 0
        upto = min(tally.folded(connection), newest - 1)
    c = EXCHANGE.c
    return select(c.rowid, c.id, c.started_at).where(c.rowid <= upto)


def _page(engine: Engine, query: Select[Any]) -> Sequence[Row[Any]]:
    with engine.connect() as connection:
        return connection.execute(query.limit(BATCH_ROWS)).all()


def _delete(engine: Engine, rows: Sequence[Row[Any]], limits: Limits) -> int:
    """Delete those of a page that may go, with their grades, in one transaction.

    What has a grade that may not go stays with it: one that is not counted, or the newest, whose number SQLite would
    give again. Grades that another row of the same id has too (older files hold such) stay.
    """
    c, mark = EXCHANGE.c, GRADE.c
    free = [row.rowid for row in rows if not any(after < row.rowid <= upto for after, upto in limits.held)]
    labelled = exists().where(mark.exchange_id == c.id, mark.truth)
    with writing(engine) as connection:
        newest = connection.execute(select(func.max(mark.rowid))).scalar() or 0
        upto = min(tally.folded(connection, tally.GRADES), newest - 1)
        pinned = exists().where(mark.exchange_id == c.id, mark.rowid > upto)
        may_go = (c.rowid.in_(free), ~pinned, or_(c.started_at < limits.labelled_before, ~labelled))
        gone = connection.execute(delete(EXCHANGE).where(*may_go).returning(c.id)).scalars().all()
        if gone:
            twin = exists().where(c.id == mark.exchange_id)
            connection.execute(delete(GRADE).where(mark.exchange_id.in_(gone), mark.rowid <= upto, ~twin))
    time.sleep(REST_S)
    return len(gone)
