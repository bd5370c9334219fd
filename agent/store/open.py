"""Opening a database: an engine, and a schema that is the program's.

Lives here: `opened`; looking at the revision, making a new database, having an older one brought up.
Comes in: an address. Goes out: an engine whose tables are there, or one sentence.
Must never know: what is in the tables, how a migration is done.

A new database is made from the models at once; a test holds this against the migrations run from nothing.
"""

from __future__ import annotations

import logging

from sqlalchemy import URL, Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError
from sqlmodel import SQLModel

from agent.store import dialect, tables
from agent.types import InvalidInput, RemoteFault

HEAD = "0002"
"""The revision that the models are at: the newest in `migrations/versions`."""
RETRY_AFTER_S = 5.0
_VERSION_TABLE = (
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)

log = logging.getLogger(__name__)


def opened(url: str, *, read_only: bool = False, connections: int = 8) -> Engine:
    """The engine of a database that has every table and column. Errors never show a row's values.

    With `read_only` nothing is made or set. Raises InvalidInput for an address or a schema that cannot be used,
    RemoteFault when PostgreSQL does not answer, sqlalchemy's OperationalError for a file that cannot be opened.
    """
    where = dialect.address(url)
    try:
        engine = dialect.engine_of(where, read_only=read_only, connections=connections)
        _look(engine, read_only=read_only)
    except ModuleNotFoundError as error:
        raise InvalidInput(f"PostgreSQL needs the module {error.name}: pip install 'trimtab[agent]'") from error
    except OperationalError as error:
        if where.get_backend_name() == "sqlite":
            raise
        said = " ".join(str(error.orig).split())
        msg = f"the database {shown(url)} cannot be used ({said}): start it, or correct store.url"
        raise RemoteFault(msg, retry_after_s=RETRY_AFTER_S) from error
    return engine


def shown(url: str) -> str:
    """The address without its password, for records and messages."""
    where = dialect.address(url)
    if where.get_backend_name() == "sqlite":
        return url
    query = {name: value for name, value in where.query.items() if "password" not in name}
    bare = URL.create("postgresql", where.username, None, where.host, where.port, where.database, query)
    return bare.render_as_string(hide_password=False)


def revision(connection: Connection) -> str | None:
    """The revision of the schema; None for a new database, and for one made before there were revisions."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def make(connection: Connection) -> None:
    """Every table as the models say, in the caller's transaction."""
    SQLModel.metadata.create_all(connection, tables=tables.ALL)
    connection.execute(text(_VERSION_TABLE))
    connection.execute(text("INSERT INTO alembic_version (version_num) VALUES (:head)"), {"head": HEAD})


def _look(engine: Engine, *, read_only: bool) -> None:
    """Compare the revision, which costs one query; do what is missing, one process at a time, whole or not at all."""
    with engine.connect() as connection:
        there = revision(connection)
    if there == HEAD:
        return
    _refuse_unknown(engine, there)
    if read_only:
        raise InvalidInput(
            f"the database {_named(engine)} is of an earlier version: "
            "start `trimtab agent` once, which brings it up to date"
        )
    with dialect.writing(engine) as connection:
        there = revision(connection)  # somebody may have done it while we waited
        _refuse_unknown(engine, there)
        if there == HEAD:
            return
        if there is None and not inspect(connection).has_table("exchange"):
            make(connection)
            return
        from agent.store.migrations import upgrade

        log.warning("the database is brought from schema %s to %s", there or "before 0001", HEAD)
        upgrade(connection)


def _refuse_unknown(engine: Engine, there: str | None) -> None:
    if there is None or (there.isdecimal() and int(there) <= int(HEAD)):
        return
    what = f"is newer than this program (schema {there}, known up to {HEAD})"
    if not there.isdecimal():
        what = f"has schema {there!r}, which this program does not know (it knows up to {HEAD})"
    raise InvalidInput(
        f"the database {_named(engine)} {what}: run the version of Trimtab that wrote it, or restore a backup"
    )


def _named(engine: Engine) -> str:
    return shown(engine.url.render_as_string(hide_password=False))
