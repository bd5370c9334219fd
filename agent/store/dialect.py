"""What SQLite and PostgreSQL do differently.

Lives here: addresses, engines, upserts, whose turn it is to write, which errors mean a full disk.
Comes in: an address, an engine, a connection, a table. Goes out: the same thing for either database.
Must never know: what is in the tables.

Writers take turns on both. SQLite has one write lock; on PostgreSQL an advisory lock stands for it, held until the
transaction ends. So numbers of rows come in the order in which rows become visible, on which every cursor relies:
without the lock a reader could pass a number whose transaction has not committed yet, and never see that row.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Dialect, Engine, NullPool, Table, event, make_url, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlmodel import create_engine

from agent.types import InvalidInput

NEW_FILE = "PRAGMA auto_vacuum=INCREMENTAL"
"""Only a new file takes this: it can give pages back without being rewritten. On an old one it waits for the lock."""
PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=NORMAL",
    "busy_timeout=30000",
    "journal_size_limit=67108864",  # a log that grew while someone read is cut back to 64 MiB
)
_READING = ("busy_timeout=30000",)
PATIENCE_S = 30.0
"""How long a connection to SQLite waits for the file's lock."""
SESSION = "SET lock_timeout = '30s'; SET idle_in_transaction_session_timeout = '5min'"
"""Of each PostgreSQL connection: as patient as SQLite's busy timeout, and nobody holds the turn for ever."""
TCP: dict[str, Any] = {
    "connect_timeout": 5,
    "application_name": "trimtab",
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}
"""A server that is gone without a word is noticed within 15 s."""
LOCK_CLASS = 0x7472_6D74
"""First half of every advisory lock of Trimtab's; the second says which."""
TURN = 0
KEPT_CONNECTIONS = 2
"""Connections that stay open between two rounds; the others come and go."""
_SQLITE_FULL = (10, 13)  # IOERR, FULL
_POSTGRES_FULL = ("53100", "53200", "58030")  # disk full, out of memory, I/O error
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode


def address(url: str) -> URL:
    """The address of a database. Raises InvalidInput in one sentence."""
    wanted = "write sqlite:////folder/trimtab.db or postgresql://user@host:5432/database"
    try:
        found = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise InvalidInput(f"store.url is no address of a database: {wanted}") from error
    match found.get_backend_name():
        case "sqlite":
            return found
        case "postgres" | "postgresql":
            return found.set(drivername="postgresql+psycopg")
    raise InvalidInput(f"store.url names {found.get_backend_name()!r}, which Trimtab does not speak: {wanted}")


def engine_of(url: URL, *, read_only: bool, connections: int) -> Engine:
    """An engine that has not connected yet. Errors never show a row's values."""
    common: dict[str, Any] = {"json_serializer": to_json, "hide_parameters": True}
    sqlite_file = url.get_backend_name() == "sqlite"
    if sqlite_file:
        if url.database not in (None, "", ":memory:"):  # each connection keeps pages in hand: as few as will do
            common["pool_use_lifo"] = True
        engine = create_engine(url, connect_args={"timeout": PATIENCE_S}, **common)
        statements = [f"PRAGMA {pragma}" for pragma in (_READING if read_only else PRAGMAS)]
    else:
        kept = min(connections, KEPT_CONNECTIONS)
        engine = create_engine(
            url, connect_args=TCP, pool_size=kept, max_overflow=connections - kept, pool_timeout=30,
            pool_pre_ping=True, pool_recycle=1800, pool_use_lifo=True, **common,
        )  # fmt: skip
        statements = [SESSION + ("; SET default_transaction_read_only = on" if read_only else "")]

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if sqlite_file and cursor.execute("PRAGMA page_count").fetchone()[0] == 0:
            cursor.execute(NEW_FILE)
        for statement in statements:
            if sqlite_file:
                _when_free(cursor, statement)
            else:
                cursor.execute(statement)
        cursor.close()
        if not sqlite_file:
            connection.commit()
            _without_nul(connection)

    return engine


def _when_free(cursor: Any, pragma: str) -> None:
    """Ask again while somebody else has the file: turning one to WAL does not always wait for its lock by itself."""
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            cursor.execute(pragma)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def own_connections(engine: Engine) -> Engine:
    """An engine to the same database whose connections belong to who opens them: no pool takes them back."""
    return create_engine(engine.url, connect_args=TCP, poolclass=NullPool, hide_parameters=True)


def _without_nul(connection: Any) -> None:
    """PostgreSQL has no character 0 in texts: U+FFFD is stored for it."""
    from psycopg.types.string import StrDumperUnknown

    class Dumper(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    connection.adapters.register_dumper(str, Dumper)


def to_json(value: Any) -> str:
    """JSON without spaces, text as it is; the empty list, which most columns hold, costs nothing."""
    return "[]" if value == [] else _encode(value)


def is_sqlite(of: Engine | Connection) -> bool:
    """Whether this is SQLite; otherwise it is PostgreSQL."""
    return of.dialect.name == "sqlite"


def upsert(of: Engine | Connection, table: Table) -> Any:
    """An insert that can say what is to be done about a row that is there already."""
    if is_sqlite(of):
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # a tenth of a second that a start with SQLite needs not

    return postgresql.insert(table)


def positional(dialect: Dialect) -> Dialect:
    """The dialect with parameters in an order instead of with names."""
    if dialect.positional:
        return dialect
    other = type(dialect)(paramstyle="format", json_serializer=to_json)  # type: ignore[call-arg]
    other.dbapi = dialect.dbapi
    return other


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that has the turn to write from its first statement on: what it reads stays true until it ends."""
    with engine.begin() as connection:
        take_turn(connection)
        yield connection


def take_turn(connection: Connection) -> None:
    """Wait until no other transaction writes; the turn ends with the transaction."""
    if is_sqlite(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.execute(_LOCK, {"one": LOCK_CLASS, "two": TURN})


_LOCK = text("SELECT pg_advisory_xact_lock(CAST(:one AS integer), CAST(:two AS integer))")


def is_full(fault: DBAPIError) -> bool:
    """True when the database could not write for want of room, or because the disk failed."""
    code = getattr(fault.orig, "sqlite_errorcode", 0) & 0xFF
    return code in _SQLITE_FULL or getattr(fault.orig, "sqlstate", None) in _POSTGRES_FULL
