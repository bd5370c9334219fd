"""Deleting old measurements: readings, window profiles, estimates.

Lives here: what of them may go, in short transactions.
Comes in: an engine, a moment. Goes out: nothing.
Must never know: exchanges, why the moment was chosen.

What somebody still asks for stays however old it is: the newest reading of each measure and version, the newest
estimate of each version, and the newest one before the onset of each alarm. Alarms, decisions, orders and the
record are few, and stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import datetime

from sqlalchemy import Engine, Table, delete, func, select

from agent.store.tables import AlarmRow, EstimateRow, ProfileRow, ReadingRow

BATCH_ROWS = 2000
REST_S = 0.005
_READING: Table = ReadingRow.__table__  # type: ignore[attr-defined]
_ESTIMATE: Table = EstimateRow.__table__  # type: ignore[attr-defined]
_PROFILE: Table = ProfileRow.__table__  # type: ignore[attr-defined]
_ALARM: Table = AlarmRow.__table__  # type: ignore[attr-defined]


def expire(engine: Engine, before: datetime) -> None:
    """Delete what was measured before a moment. A walk ends at the first page of rows without anything to delete."""
    _walk(engine, _READING, before, lambda: _newest_readings(engine))
    _walk(engine, _ESTIMATE, before, lambda: _needed_estimates(engine))
    with engine.begin() as connection:
        connection.execute(delete(_PROFILE).where(_PROFILE.c.end_at < before))


def _walk(engine: Engine, table: Table, before: datetime, needed: Callable[[], Collection[int]]) -> None:
    after, stay = 0, None
    while True:
        query = select(table.c.rowid, table.c.at).where(table.c.rowid > after).order_by(table.c.rowid)
        with engine.connect() as connection:
            page = connection.execute(query.limit(BATCH_ROWS)).all()
        old = [row.rowid for row in page if row.at < before]
        if not old:
            return
        stay = set(needed()) if stay is None else stay
        after = page[-1].rowid
        gone = [rowid for rowid in old if rowid not in stay]
        if gone:
            with engine.begin() as connection:
                connection.execute(delete(table).where(table.c.rowid.in_(gone)))
            time.sleep(REST_S)


def _newest_readings(engine: Engine) -> Collection[int]:
    c = _READING.c
    newest = select(func.max(c.rowid)).where(c.feature == "detector").group_by(c.measure, c.version)
    with engine.connect() as connection:
        return connection.execute(newest).scalars().all()


def _needed_estimates(engine: Engine) -> Collection[int]:
    c, alarm = _ESTIMATE.c, _ALARM.c
    newest = select(func.max(c.rowid)).group_by(c.version)
    onset = alarm.exchange_rowid - (alarm.row - alarm.onset_row) - 1
    before = (
        select(func.max(c.rowid))
        .join(_ALARM, (alarm.version == c.version) & (c.exchange_rowid <= onset))
        .group_by(alarm.rowid)
    )
    with engine.connect() as connection:
        return {*connection.execute(newest).scalars(), *connection.execute(before).scalars()}
