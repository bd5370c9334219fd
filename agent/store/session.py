"""A session of the ORM that takes the turn to write before it writes, and asks its guard then.

Lives here: `GuardedSession`, `begin_writing`. Comes in: an engine, and who may forbid a write. Goes out: transactions.
Must never know: what is written. Whose turn it is: `dialect.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, event
from sqlmodel import Session

from agent.store.dialect import is_sqlite, take_turn

Guard = Callable[[Connection], None]
"""Raises when whoever writes has lost the office; nothing of the transaction is kept then."""


class GuardedSession(Session):
    """The guard, or None, comes in as `info={"guard": ...}`."""


@event.listens_for(GuardedSession, "before_flush")
def _before_flush(session: Session, _context: object, _instances: object) -> None:
    begin_writing(session)


@event.listens_for(GuardedSession, "do_orm_execute")
def _before_statement(state: Any) -> None:
    if state.is_insert or state.is_update or state.is_delete:
        begin_writing(state.session)


def begin_writing(session: Session) -> None:
    """Once a transaction. SQLite takes its lock by itself at the first write, or here when nothing was written yet."""
    if session.info.get("writes"):
        return
    session.info["writes"] = True
    connection = session.connection()
    if not (is_sqlite(connection) and connection.connection.in_transaction):
        take_turn(connection)
    guard: Guard | None = session.info.get("guard")
    if guard is not None:
        guard(connection)
