"""One leader for each office among the processes that share a database.

Lives here: `Leader`, who takes and keeps an office, and the proof of it inside every transaction of who holds it.
Comes in: a store, the alias, the name of this process, the office. Goes out: whether this process holds it now.
Must never know: what is done in an office.

There are two offices: who DECIDES and who MOVES versions. One process may hold both, and no other ever holds the same.
On PostgreSQL an office is a session's advisory lock, held by a connection of its own: when the process or its machine
dies, the server ends the session and the lock is free. Whoever takes it raises the term in the store; a leader that was
only asleep finds another term in its next transaction, and nothing of that is kept. On SQLite it is a lock on a file
beside the database, which the kernel frees when the process dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import IO

from sqlalchemy import Connection, Engine, Table, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from agent.store.dialect import LOCK_CLASS, is_sqlite, own_connections
from agent.store.store import Store
from agent.store.tables import StateRow
from agent.types import RemoteFault

DECIDES, MOVES = "leader", "mover"
"""The offices, as they stand in keys and file names."""
SAYS = {DECIDES: "leads", MOVES: "moves versions"}
LOOK_S = 1.0
"""Seconds for which an answer holds: so often the connection that holds the lock is asked whether it is alive."""
NOTICED_S = 9
"""Seconds after which the server gives up a leader whose machine vanished without a word."""
_STATE: Table = StateRow.__table__  # type: ignore[attr-defined]
_SESSION = (
    f"SET tcp_keepalives_idle = 3; SET tcp_keepalives_interval = 3; SET tcp_keepalives_count = 2; "
    f"SET tcp_user_timeout = '{NOTICED_S}s'"
)

log = logging.getLogger(__name__)


class NotLeading(RemoteFault):
    """Another process holds the office by now, so this transaction is not kept."""


class Leader:
    """One office of one alias. Safe to ask from several threads."""

    def __init__(self, store: Store, alias: str, me: str, office: str = DECIDES) -> None:
        """`me` names this process in the record."""
        self._store, self._me, self._office = store, me, office
        self._key = f"{office}:{alias}"
        self._term: int | None = None
        self._asked = float("-inf")
        self._lock = Lock()
        self._file: IO[str] | None = None
        self._engine: Engine | None = None if is_sqlite(store.engine) else own_connections(store.engine)
        self._connection: Connection | None = None
        self._complained = False

    @property
    def leading(self) -> bool:
        """What the last answer was."""
        return self._term is not None

    def lead(self) -> bool:
        """Whether this process holds the office; takes it when it is free."""
        with self._lock:
            moment = time.monotonic()
            if self._term is not None and (self._engine is None or moment - self._asked < LOOK_S):
                return True
            if self._term is None and moment - self._asked < LOOK_S:
                return False
            self._asked = moment
            if self._engine is None:
                self._term = 0 if self._file_is_ours() else None
            elif self._term is None or not self._alive():
                self._term = self._taken(self._engine)
            return self._term is not None

    def who(self) -> str:
        """Who holds it by the record of the store; empty before anybody did, and on SQLite."""
        return self._store.load_state(self._key)[1].decode()

    def guard(self, connection: Connection) -> None:
        """For `Store.guarded`: raises NotLeading unless this process is the last that took the office."""
        if self._engine is None and self._term is not None:
            return
        found = connection.execute(select(_STATE.c.cursor).where(_STATE.c.key == self._key)).scalar()
        if self._term is None or found != self._term:
            self._term = None
            raise NotLeading(f"another process {SAYS[self._office]} by now: what was done here is not kept")

    def resign(self) -> None:
        """Give the office up, so that another need not wait; whoever asks again may get it again."""
        with self._lock:
            self._term, self._asked = None, time.monotonic()
            if self._connection is not None:
                with suppress(SQLAlchemyError):  # what does not answer has ended the session already
                    self._connection.execute(select(func.pg_advisory_unlock_all()))
            self._drop()
            if self._engine is not None:
                self._engine.dispose()
            if self._file is not None:
                self._file.close()
                self._file = None

    # -- PostgreSQL -------------------------------------------------------------------------------

    def _alive(self) -> bool:
        """A session that answers still holds its lock: only its end gives it back."""
        try:
            if self._connection is not None:
                self._connection.execute(text("SELECT 1"))
        except SQLAlchemyError as fault:
            log.warning("this process %s no more: %s", SAYS[self._office], type(fault).__name__)
            self._drop()
        return self._connection is not None

    def _taken(self, engine: Engine) -> int | None:
        """The new term, when the lock was free."""
        try:
            if self._connection is None:
                self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self._connection.exec_driver_sql(_SESSION)
            self._complained = False
            mine = select(func.pg_try_advisory_lock(LOCK_CLASS, _number(self._key)))
            if not self._connection.execute(mine).scalar():
                return None
            return self._next_term()
        except SQLAlchemyError as fault:
            if not self._complained:
                log.warning("this process cannot ask who %s: %s", SAYS[self._office], type(fault).__name__)
            self._complained = True
            self._drop()
            return None

    def _next_term(self) -> int:
        with self._store.exclusive() as session:
            row = session.get(StateRow, self._key) or StateRow(key=self._key, cursor=0, state=b"")
            row.cursor += 1
            row.state = self._me.encode()
            session.add(row)
            term = row.cursor
        said = f"{self._me} {SAYS[self._office]}"
        self._store.record("leader", said, datetime.now(UTC), term=term, office=self._office)
        return term

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    # -- SQLite -----------------------------------------------------------------------------------

    def _file_is_ours(self) -> bool:
        database = self._store.engine.url.database
        if not database or database == ":memory:":
            return True
        if self._file is None:
            self._file = Path(f"{database}.{self._office}").open("a", encoding="utf-8")  # noqa: SIM115 - held until `resign`
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _number(key: str) -> int:
    """31 bits that stand for a name."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest(), "big") >> 1
