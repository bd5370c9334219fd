"""The size of the database, and giving back what is free in it.

Lives here: the few PRAGMAs that know pages; the estimate that stands for them on PostgreSQL.
Comes in: an engine. Goes out: bytes. PostgreSQL uses free room again by itself (autovacuum); nothing is given back.
Must never know: what is in the pages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, String, func, literal, select, text, union_all
from sqlalchemy import cast as as_type

from agent.store.dialect import is_sqlite
from agent.store.tables import ALL, EXCHANGE

STEP_PAGES = 256
"""Pages given back under one lock: about a megabyte, some milliseconds."""
REST_S = 0.005
SAMPLE_ROWS = 1000
"""Oldest and newest exchanges of which the size of a row is taken, where only an estimate can be had."""
OVERHEAD = 1.25
"""Indexes, headers and half-filled pages, beside the bytes of the rows."""
_INCREMENTAL = 2


def meter(engine: Engine, enough: int) -> Callable[[int], int]:
    """Says how many bytes hold something, given how many exchanges were deleted since `meter` was called.

    PostgreSQL's files do not shrink when rows go, so there the rows are counted and their size is estimated; not even
    that while the whole database is smaller than `enough`.
    """
    if is_sqlite(engine):
        return lambda _deleted: _used_bytes(engine)
    whole = file_bytes(engine)
    if whole <= enough:
        return lambda _deleted: whole
    with engine.connect() as connection:
        n, each, rest = _sizes(connection)
    return lambda deleted: min(whole, rest + int(max(0, n - deleted) * each))


def file_bytes(engine: Engine) -> int:
    """Bytes of the database's files, what is free in them and all, without the write-ahead log."""
    if is_sqlite(engine):
        return _pragma(engine, "page_count") * _pragma(engine, "page_size")
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def give_back(engine: Engine, *, slack_bytes: int, at_most_bytes: int) -> int:
    """Cut free pages off the file until `slack_bytes` of them are left; returns the bytes given back.

    A file made before this was in use cannot be cut; its free pages are used again.
    """
    if not is_sqlite(engine) or _pragma(engine, "auto_vacuum") != _INCREMENTAL:
        return 0
    size, before = _pragma(engine, "page_size"), _pragma(engine, "page_count")
    spare = min(_pragma(engine, "freelist_count") * size - slack_bytes, at_most_bytes) // size
    for _ in range(0, spare, STEP_PAGES):
        _script(engine, f"PRAGMA incremental_vacuum({STEP_PAGES})")
        time.sleep(REST_S)
    if spare > 0:
        _run(engine, "PRAGMA wal_checkpoint(PASSIVE)")
    return max(0, before - _pragma(engine, "page_count")) * size


def cut_log(engine: Engine) -> None:
    """Move the write-ahead log into the database and give its room back; waits for those who read or write."""
    if is_sqlite(engine):
        _run(engine, "PRAGMA wal_checkpoint(TRUNCATE)")


def _sizes(connection: Connection) -> tuple[int, float, int]:
    """How many exchanges there are, bytes of one, and bytes of all other tables."""
    c = EXCHANGE.c
    ends = [select(EXCHANGE).order_by(order).limit(SAMPLE_ROWS).subquery() for order in (c.rowid, c.rowid.desc())]
    bytes_of = [select(_row_bytes(end.c).label("n")) for end in ends]
    both = union_all(*bytes_of).subquery()
    each = connection.execute(select(func.avg(both.c.n))).scalar() or 0
    n = connection.execute(select(func.count()).select_from(EXCHANGE)).scalar_one()
    others = [func.pg_total_relation_size(as_type(table.name, String)) for table in ALL if table is not EXCHANGE]
    return n, float(each) * OVERHEAD, sum(connection.execute(select(*others)).one())


def _row_bytes(parts: Iterable[ColumnElement[Any]]) -> ColumnElement[int]:
    found: ColumnElement[int] = literal(0)
    for part in parts:
        found = found + func.coalesce(func.pg_column_size(part), 0)
    return found


def _used_bytes(engine: Engine) -> int:
    pages, free, size = (_pragma(engine, name) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


def _pragma(engine: Engine, name: str) -> int:
    return int(_run(engine, f"PRAGMA {name}")[0][0])


def _run(engine: Engine, statement: str) -> list[Any]:
    """One statement outside any transaction, and what it says."""
    with engine.connect() as connection, closing(connection.connection.cursor()) as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


def _script(engine: Engine, statement: str) -> None:
    """One statement run to its end: `execute` would free a single page, and leave the statement waiting."""
    with engine.connect() as connection, closing(connection.connection.cursor()) as cursor:
        cursor.executescript(statement)
