"""Opening a database: how SQLite is set up, and how an older file gets the columns that came later.

Lives here: `opened`, the engine behind a store.
Comes in: an SQLAlchemy URL. Goes out: an engine whose tables are there.
Must never know: what is in the tables.
"""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Engine, event, inspect
from sqlalchemy.schema import CreateColumn
from sqlmodel import SQLModel, create_engine

from agent.store import tables

PRAGMAS = (
    "auto_vacuum=INCREMENTAL",  # only a new file takes this: it can give pages back without being rewritten
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "busy_timeout=30000",
    "journal_size_limit=67108864",  # a log that grew while someone read is cut back to 64 MiB
)
_READING = ("busy_timeout=30000",)
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


def opened(url: str, *, read_only: bool = False) -> Engine:
    """The engine of a database that has every table and column. Raises sqlalchemy's OperationalError.

    With `read_only` nothing is made or set, so an older file may lack a column. Errors never show a row's values.
    """
    arguments = {"timeout": 30} if url.startswith("sqlite") else {}
    engine = create_engine(url, connect_args=arguments, json_serializer=to_json, hide_parameters=True)
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _record: Any) -> None:
            cursor = connection.cursor()
            for pragma in _READING if read_only else PRAGMAS:
                cursor.execute(f"PRAGMA {pragma}")
            cursor.close()

    if read_only:
        return engine
    SQLModel.metadata.create_all(engine, tables=tables.ALL)
    _add_columns(engine)
    return engine


def to_json(value: Any) -> str:
    """JSON without spaces, text as it is; the empty list, which most columns hold, costs nothing."""
    return "[]" if value == [] else _encode(value)


def _add_columns(engine: Engine) -> None:
    """Columns that are declared and not there; each is nullable or has a default of the server."""
    there = inspect(engine)
    for table in tables.ALL:
        known = {column["name"] for column in there.get_columns(table.name)}
        missing = [column for column in table.columns if column.name not in known]
        with engine.begin() as connection:
            for column in missing:
                spec = CreateColumn(column).compile(dialect=engine.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {spec}")
