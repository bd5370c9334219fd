"""Thinning: of each window of exchanges only some keep their text; all keep their numbers.

Lives here: the walk over whole windows behind a cursor of its own, and the update that takes texts away.
Comes in: an engine, the size of a window, how many stay, how far the readers have come. Goes out: rows thinned.
Must never know: who the readers are.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, Table, bindparam, exists, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from agent.store.reservoir import kept
from agent.store.tables import EXCHANGE, GRADE, AlarmRow, StateRow

STATE = "thin"
THINNED = "thinned"
_STATE: Table = StateRow.__table__  # type: ignore[attr-defined]
_ALARM: Table = AlarmRow.__table__  # type: ignore[attr-defined]


def thin(engine: Engine, *, window_rows: int, keep: int, upto: int, windows: int = 200) -> int:
    """Thin the next whole windows whose rows all have a number <= `upto`, at most `windows` of them.

    What anybody graded, and what an alarm shows as its examples, keeps its text beside the `keep` chosen by chance.
    One window is one transaction with its cursor.
    """
    thinned = 0
    with engine.connect() as connection:
        start = connection.execute(select(_STATE.c.cursor).where(_STATE.c.key == STATE)).scalar() or 0
        oldest = connection.execute(select(func.min(EXCHANGE.c.rowid))).scalar() or 0
        shown = {one for row in connection.execute(select(_ALARM.c.examples)) for one in row[0]}
    if oldest > start + window_rows:  # what lies between is deleted
        start = (oldest - 1) // window_rows * window_rows
    for first in range(start, start + windows * window_rows, window_rows):
        last = first + window_rows
        if last > upto:
            break
        with engine.connect() as connection:
            rows = _losers(connection, first, last, keep, shown)
        with engine.begin() as connection:
            if rows:
                connection.execute(_TAKE, rows)
            connection.execute(_MOVE, {"at": last})
        thinned += len(rows)
    return thinned


def _losers(connection: Connection, first: int, last: int, keep: int, shown: set[str]) -> list[dict[str, Any]]:
    """Rows of first < rowid <= last that lose their text, as parameters of `_TAKE`."""
    c = EXCHANGE.c
    query = select(c.rowid, c.id, c.tool_calls).where(c.rowid > first, c.rowid <= last)
    found = connection.execute(query.where(c.text_gone.is_(None), c.features.is_(None), c.messages != [])).all()
    ids = [row.id for row in found]
    graded = connection.execute(select(GRADE.c.exchange_id).where(GRADE.c.exchange_id.in_(ids))).scalars()
    stay = kept(ids, keep, shown | set(graded))
    return [
        {"at": rowid, "calls": [{**call, "arguments": ""} for call in calls]}
        for rowid, exchange_id, calls in found
        if exchange_id not in stay
    ]


_TAKE = (
    update(EXCHANGE)
    .where(EXCHANGE.c.rowid == bindparam("at"), ~exists().where(GRADE.c.exchange_id == EXCHANGE.c.id))
    .values(messages=[], answer="", reasoning="", tool_calls=bindparam("calls"), text_gone=THINNED)
)
_MOVE = (
    upsert(_STATE)
    .values(key=STATE, cursor=bindparam("at"), state=b"")
    .on_conflict_do_update(index_elements=["key"], set_={"cursor": bindparam("at")})
)
