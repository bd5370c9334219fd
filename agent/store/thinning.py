"""Thinning: of each window of exchanges only some keep their text; all keep their numbers.

Lives here: the walk over whole windows behind a cursor of its own, and the rewriting that takes texts away.
Comes in: an engine, the size of a window, how many stay, how far the readers have come. Goes out: rows thinned.
Must never know: who the readers are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from sqlalchemy import Connection, Engine, Table, delete, exists, func, insert, select

from agent.store import convert
from agent.store.dialect import upsert, writing
from agent.store.reservoir import kept
from agent.store.store import EXCHANGE_COLUMNS
from agent.store.tables import EXCHANGE, GRADE, AlarmRow, StateRow
from agent.types import Exchange

STATE = "thin"
REST_S = 0.005
"""Between two windows: others who wait for the write lock get it."""
THINNED = "thinned"
_STATE: Table = StateRow.__table__  # type: ignore[attr-defined]
_ALARM: Table = AlarmRow.__table__  # type: ignore[attr-defined]


def thin(engine: Engine, *, window_rows: int, keep: int, upto: int, windows: int = 500) -> int:
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
        with writing(engine) as connection:
            thinned += _take(connection, rows)
            move = upsert(connection, _STATE).values(key=STATE, cursor=last, state=b"")
            connection.execute(move.on_conflict_do_update(index_elements=["key"], set_={"cursor": last}))
        if rows:
            time.sleep(REST_S)
    return thinned


def _losers(connection: Connection, first: int, last: int, keep: int, shown: set[str]) -> dict[int, Exchange]:
    """Exchanges of first < rowid <= last that lose their text, by rowid."""
    c = EXCHANGE.c
    query = select(c.rowid, *EXCHANGE_COLUMNS).where(c.rowid > first, c.rowid <= last)
    found = {row[0]: convert.exchange(row[1:]) for row in connection.execute(query)}
    worded = {rowid: exchange for rowid, exchange in found.items() if exchange.has_text and exchange.messages}
    ids = [exchange.id for exchange in worded.values()]
    graded = connection.execute(select(GRADE.c.exchange_id).where(GRADE.c.exchange_id.in_(ids))).scalars()
    stay = kept(ids, keep, shown | set(graded))
    return {rowid: exchange for rowid, exchange in worded.items() if exchange.id not in stay}


def _take(connection: Connection, losers: Mapping[int, Exchange]) -> int:
    """Take the texts away, but for what was graded a moment ago.

    Rows are deleted and written again under their numbers: SQLite frees no page when a row merely shrinks.
    """
    ungraded = ~exists().where(GRADE.c.exchange_id == EXCHANGE.c.id)
    gone = delete(EXCHANGE).where(EXCHANGE.c.rowid.in_(list(losers)), ungraded).returning(EXCHANGE.c.rowid)
    rowids = sorted(connection.execute(gone).scalars()) if losers else []
    bare = (convert.exchange_values(convert.without_text(losers[rowid], THINNED)) for rowid in rowids)
    rows = [
        {"rowid": rowid, **dict(zip(convert.EXCHANGE_FIELDS, values, strict=True))}
        for rowid, values in zip(rowids, bare, strict=True)
    ]
    if rows:
        connection.execute(insert(EXCHANGE), rows)
    return len(rows)
