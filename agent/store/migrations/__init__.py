"""Alembic's migrations of the store; imported only when a database is older than the program.

Lives here: `upgrade`. Comes in: a connection in a transaction that has the turn to write. Goes out: the newest schema.
Must never know: the models: a migration says in its own words what it changes, and is never edited once released.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade(connection: Connection, to: str = "head") -> None:
    """Run every migration up to a revision, all in the caller's transaction."""
    command.upgrade(config(connection), to)


def config(connection: Connection) -> Config:
    """What alembic's own functions ask for."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    found.set_main_option("path_separator", "os")
    found.attributes["connection"] = connection
    return found
