"""The size of the database file, and giving back what is free in it.

Lives here: the few PRAGMAs that know pages.
Comes in: an engine. Goes out: bytes. On other databases than SQLite everything is 0: they look after themselves.
Must never know: what is in the pages.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any

from sqlalchemy import Engine

STEP_PAGES = 256
"""Pages given back under one lock: about a megabyte, some milliseconds."""
REST_S = 0.005
_INCREMENTAL = 2


def used_bytes(engine: Engine) -> int:
    """Bytes of the pages that hold something."""
    pages, free, size = (_pragma(engine, name) for name in ("page_count", "freelist_count", "page_size"))
    return (pages - free) * size


def file_bytes(engine: Engine) -> int:
    """Bytes of the database file, free pages and all, without the write-ahead log."""
    return _pragma(engine, "page_count") * _pragma(engine, "page_size")


def give_back(engine: Engine, *, slack_bytes: int, at_most_bytes: int) -> int:
    """Cut free pages off the file until `slack_bytes` of them are left; returns the bytes given back.

    A file made before this was in use cannot be cut; its free pages are used again.
    """
    if _pragma(engine, "auto_vacuum") != _INCREMENTAL:
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
    if engine.dialect.name == "sqlite":
        _run(engine, "PRAGMA wal_checkpoint(TRUNCATE)")


def _pragma(engine: Engine, name: str) -> int:
    if engine.dialect.name != "sqlite":
        return 0
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
