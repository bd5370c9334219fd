"""The store: one SQLite (WAL) or PostgreSQL database and the questions Trimtab asks of it.

Lives here: opening, and the queries that more than one room needs.
Comes in: nouns of `agent.types`. Goes out: nouns, or rows where a room owns their fields.
Must never know: what a row means for a decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Table, func, insert, update
from sqlalchemy import select as columns
from sqlmodel import Session, col, select

from agent.store import convert, tally
from agent.store.bulk import COUNTED, Bulk
from agent.store.dialect import upsert, writing
from agent.store.ids import apart, owners
from agent.store.open import opened, shown
from agent.store.session import Guard, GuardedSession, begin_writing
from agent.store.tables import (
    EXCHANGE,
    GRADE,
    AdapterRow,
    AlarmRow,
    DecisionRow,
    EstimateRow,
    EventRow,
    OrderRow,
    ReadingRow,
    RolloutRow,
    StateRow,
    WorkerRow,
)
from agent.types import AdapterVersion, Decision, Estimate, Exchange, Grade, InvalidInput

EXCHANGE_COLUMNS = [EXCHANGE.c[name] for name in convert.EXCHANGE_FIELDS]
"""What `convert.exchange` reads, in its order: hot loops read tuples, never objects of the ORM."""

_EVENT: Table = EventRow.__table__  # type: ignore[attr-defined]
_WORKER: Table = WorkerRow.__table__  # type: ignore[attr-defined]
_TOLD = [_WORKER.c[name] for name in ("worker", "assigned", "dropped")]
_READING: Table = ReadingRow.__table__  # type: ignore[attr-defined]
_STATE: Table = StateRow.__table__  # type: ignore[attr-defined]


class Store:
    """All durable state. Every method is one transaction unless it is given a session.

    Safe to use from several threads and processes; writers take turns and wait up to 30 s (`dialect.py`).
    """

    def __init__(self, url: str, *, read_only: bool = False, connections: int = 8) -> None:
        """Open (and create) the database at an SQLAlchemy URL, e.g. `sqlite:////var/lib/trimtab/trimtab.db`.

        At most `connections` are open at once (PostgreSQL). Raises as `open.opened` says.
        """
        self.url = shown(url)
        """The address without its password."""
        self.engine = opened(url, read_only=read_only, connections=connections)
        self._guard: Guard | None = None
        statement = upsert(self.engine, EXCHANGE).on_conflict_do_nothing(index_elements=["worker", "seq"])
        self._bulk = Bulk(statement, EXCHANGE, convert.EXCHANGE_FIELDS, self.engine.dialect)

    def guarded(self, guard: Guard | None) -> Store:
        """The same store for somebody who may lose his office: `guard` is asked in each of his writing transactions.

        It raises when the office is lost, and nothing of that transaction is kept.
        """
        other = copy(self)
        other._guard = guard  # noqa: SLF001 - a copy of ours
        return other

    @classmethod
    def at(cls, home: Path) -> Store:
        """The default store of a home folder, `<home>/trimtab.db`."""
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(f"sqlite:///{home.resolve() / 'trimtab.db'}")

    @classmethod
    def reading(cls, home: Path) -> Store:
        """The same, only to be read: nothing is made or changed, so a full disk does no harm. Raises InvalidInput."""
        file = home.resolve() / "trimtab.db"
        if not file.exists():
            raise InvalidInput(f"home {home} holds no database: name the agent's settings with --settings")
        return cls(f"sqlite:///file:{quote(str(file))}?mode=ro&uri=true", read_only=True)

    def close(self) -> None:
        """Give every connection back."""
        self.engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits when the block ends and rolls back when it raises.

        What it has read may have changed when it writes; `exclusive` is for those who mind.
        """
        with (
            GuardedSession(self.engine, expire_on_commit=False, info={"guard": self._guard}) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def exclusive(self) -> Iterator[Session]:
        """A session that has the turn to write from the beginning: what is read stays true until the block ends."""
        with self.transaction() as session:
            begin_writing(session)
            yield session

    # -- exchanges --------------------------------------------------------------------------------

    def add_exchanges(self, exchanges: Sequence[Exchange]) -> int:
        """Store a batch; a (worker, seq) that is already there is left alone. Returns how many were new.

        An id names one exchange. One that another exchange has (clients use a request id again when they try again)
        gets `-<seq>` behind it, so that a label, or the end of its days, concerns one of them and never both.
        """
        if not exchanges:
            return 0
        with writing(self.engine) as connection:
            return self._insert(connection, apart(connection, exchanges))

    def restore(self, exchanges: Sequence[Exchange], grades: Sequence[Grade]) -> tuple[int, int]:
        """Store what was exported before, and its grades, in one transaction; returns how many of each were new.

        An exchange whose id is stored already is left alone, and gets the grades that it lacks.
        """
        with writing(self.engine) as connection:
            there = owners(connection, [exchange.id for exchange in exchanges])
            fresh = {exchange.id: exchange for exchange in reversed(exchanges) if exchange.id not in there}
            new = self._insert(connection, list(reversed(fresh.values())))
            return new, _insert_grades(connection, grades)

    def _insert(self, connection: Connection, exchanges: Sequence[Exchange]) -> int:
        if not exchanges:
            return 0
        return self._bulk.run(connection, map(convert.exchange_values, exchanges))

    def exchanges_after(self, cursor: int, limit: int) -> list[tuple[int, Exchange]]:
        """The next exchanges in durable order as (rowid, exchange)."""
        rowid = EXCHANGE.c.rowid
        query = columns(rowid, *EXCHANGE_COLUMNS).where(rowid > cursor).order_by(rowid).limit(limit)
        with self.engine.connect() as connection:
            return [(row[0], convert.exchange(row[1:])) for row in connection.execute(query)]

    def exchange(self, exchange_id: str) -> Exchange | None:
        """One exchange by its id (the response id that the client saw)."""
        query = columns(*EXCHANGE_COLUMNS).where(EXCHANGE.c.id == exchange_id).limit(1)
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
            return convert.exchange(row) if row else None

    def last_rowid(self) -> int:
        """The rowid of the newest exchange, 0 when there is none."""
        with self.engine.connect() as connection:
            return connection.execute(columns(func.max(EXCHANGE.c.rowid))).scalar() or 0

    # -- taps -------------------------------------------------------------------------------------

    def note_worker(
        self, worker: str, pid: int, seen_at: datetime, assigned: int, dropped: int, *, pod: str | None = None
    ) -> None:
        """Remember the highest numbers a tap told us, the sidecar of `pod`."""
        told = {"pid": pid, "pod": pod, "seen_at": seen_at, "assigned": assigned, "dropped": dropped}
        with writing(self.engine) as connection:
            if self._guard is not None:
                self._guard(connection)
            known = connection.execute(columns(_WORKER).where(_WORKER.c.worker == worker)).first()
            if known is None:
                connection.execute(insert(_WORKER), [{"worker": worker, **told}])
                return
            told |= {"pid": pid or known.pid, "pod": pod or known.pod}
            told |= {"assigned": max(known.assigned, assigned), "dropped": max(known.dropped, dropped)}
            connection.execute(update(_WORKER).where(_WORKER.c.worker == worker), told)

    def capture_counts(self) -> dict[str, int]:
        """Exact capture accounting over all taps: assigned, stored, dropped, unreadable, lost.

        stored counts every exchange that ever landed, also after it was deleted; lost = numbered by a tap but never
        stored (an unreadable exchange is stored, without text). A row proves that its tap had numbered so many.
        What a tap still holds and has not been acknowledged counts as lost until it lands.
        """
        with self.engine.connect() as connection:
            told = {worker: (n, dropped) for worker, n, dropped in connection.execute(columns(*_TOLD))}
            stored, unreadable = Counter[str](), 0
            for counted in tally.exchanges(connection):
                stored[counted.worker] += counted.n
                unreadable += counted.n if counted.outcome == "unreadable" else 0
        assigned = sum(max(told.get(worker, (0, 0))[0], stored[worker]) for worker in {*told, *stored})
        return {
            "assigned": assigned,
            "stored": stored.total(),
            "dropped": sum(dropped for _, dropped in told.values()),
            "unreadable": unreadable,
            "lost": assigned - stored.total(),
        }

    # -- loops ------------------------------------------------------------------------------------

    def load_state(self, key: str) -> tuple[int, bytes]:
        """(cursor, opaque state) of a loop; (0, b"") when it never ran."""
        query = columns(_STATE.c.cursor, _STATE.c.state).where(_STATE.c.key == key)
        with self.engine.connect() as connection:
            row = connection.execute(query).first()
            return (row.cursor, bytes(row.state)) if row else (0, b"")

    @staticmethod
    def save_state(session: Session, key: str, cursor: int, state: bytes) -> None:
        """Write a loop's state inside the caller's transaction, beside what it produced."""
        begin_writing(session)
        connection = session.connection()
        new = upsert(connection, _STATE)
        new = new.on_conflict_do_update(index_elements=["key"], set_={n: new.excluded[n] for n in ("cursor", "state")})
        connection.execute(new, [{"key": key, "cursor": cursor, "state": state}])

    @staticmethod
    def put_readings(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add readings, as columns of their table, inside the caller's transaction, all in one statement."""
        if rows:
            begin_writing(session)
            session.connection().execute(insert(_READING), rows)

    # -- grades and estimates ---------------------------------------------------------------------

    def add_grades(self, grades: Sequence[Grade]) -> int:
        """Store opinions; a second one of the same source on the same exchange is left alone. Returns new ones."""
        with writing(self.engine) as connection:
            return _insert_grades(connection, grades)

    @staticmethod
    def put_grades(session: Session, grades: Sequence[Grade]) -> int:
        """The same inside the caller's transaction."""
        begin_writing(session)
        return _insert_grades(session.connection(), grades)

    def graded(self, after: int, version: str | None = None) -> list[tuple[int, Exchange, list[Grade]]]:
        """Exchanges with rowid > after that somebody graded, oldest first: (rowid, exchange, its grades)."""
        rowid, mark = EXCHANGE.c.rowid, GRADE.c
        query = (
            columns(rowid, *EXCHANGE_COLUMNS, *(mark[name] for name in Grade.__dataclass_fields__))
            .join(GRADE, mark.exchange_id == EXCHANGE.c.id)
            .where(rowid > after)
            .order_by(rowid)
        )
        if version is not None:
            query = query.where(EXCHANGE.c.version == version)
        found: dict[int, tuple[int, Exchange, list[Grade]]] = {}
        split = 1 + len(EXCHANGE_COLUMNS)
        with self.engine.connect() as connection:
            for row in connection.execute(query):
                if row[0] not in found:
                    found[row[0]] = (row[0], convert.exchange(row[1:split]), [])
                found[row[0]][2].append(Grade(**dict(zip(Grade.__dataclass_fields__, row[split:], strict=True))))
        return list(found.values())

    def last_estimate(self, version: str | None = None) -> Estimate | None:
        """The newest quality estimate, of one version or of any."""
        query = select(EstimateRow).order_by(col(EstimateRow.rowid).desc()).limit(1)
        if version is not None:
            query = query.where(EstimateRow.version == version)
        with self.transaction() as session:
            row = session.exec(query).first()
            return convert.estimate(row) if row else None

    # -- decisions, orders, adapters, rollout -----------------------------------------------------

    def last_alarm(self, alias: str) -> AlarmRow | None:
        """The newest drift alarm of an alias."""
        query = select(AlarmRow).where(AlarmRow.alias == alias).order_by(col(AlarmRow.rowid).desc()).limit(1)
        with self.transaction() as session:
            return session.exec(query).first()

    def last_decision(self, alias: str) -> DecisionRow | None:
        """The newest decision on an alias."""
        query = select(DecisionRow).where(DecisionRow.alias == alias)
        with self.transaction() as session:
            return session.exec(query.order_by(col(DecisionRow.rowid).desc()).limit(1)).first()

    def orders(self, *, alias: str | None = None, status: Sequence[str] = ()) -> list[OrderRow]:
        """Retraining orders, newest first."""
        query = select(OrderRow).order_by(col(OrderRow.opened_at).desc())
        if alias is not None:
            query = query.where(OrderRow.alias == alias)
        if status:
            query = query.where(col(OrderRow.status).in_(status))
        with self.transaction() as session:
            return list(session.exec(query).all())

    def order(self, order_id: str) -> OrderRow:
        """One order. Raises InvalidInput when nobody opened it."""
        with self.transaction() as session:
            row = session.get(OrderRow, order_id)
        if row is None:
            msg = f"there is no retraining order {order_id!r} in {self.url}: list them with `trimtab status`"
            raise InvalidInput(msg)
        return row

    def update_order(self, order_id: str, **changes: Any) -> None:
        """Set fields of an order."""
        with self.transaction() as session:
            row = session.get(OrderRow, order_id)
            if row is None:
                return
            for name, value in changes.items():
                setattr(row, name, value)
            session.add(row)

    def put_adapter(self, version: AdapterVersion, session: Session | None = None) -> None:
        """Insert or update one adapter version."""
        row = AdapterRow(**convert.adapter_values(version))
        if session is not None:
            session.merge(row)
            return
        with self.transaction() as own:
            own.merge(row)

    def adapters(self, alias: str | None = None) -> list[AdapterVersion]:
        """Adapter versions, oldest first."""
        query = select(AdapterRow).order_by(col(AdapterRow.created_at))
        if alias is not None:
            query = query.where(AdapterRow.alias == alias)
        with self.transaction() as session:
            return [convert.adapter(row) for row in session.exec(query)]

    def rollout(self, alias: str) -> RolloutRow | None:
        """Where the move of an alias stands; None before its first version is set."""
        with self.transaction() as session:
            return session.get(RolloutRow, alias)

    def put_rollout(
        self,
        row: RolloutRow,
        statuses: Mapping[str, str] | None = None,
        event: EventRow | None = None,
        session: Session | None = None,
    ) -> None:
        """Persist a step of a rollout, what it makes of adapters, and its line of the record, in one commit.

        That of `session`, where one is given.
        """
        with nullcontext(session) if session is not None else self.transaction() as own:
            own.merge(row)
            for name, status in (statuses or {}).items():
                adapter = own.get(AdapterRow, name)
                if adapter is not None:
                    adapter.status = status
            if event is not None:
                own.add(event)

    # -- the record -------------------------------------------------------------------------------

    def record(self, kind: str, text: str, at: datetime, **data: Any) -> None:
        """Add one line to the record that people read."""
        with writing(self.engine) as connection:
            connection.execute(insert(_EVENT), [{"kind": kind, "text": text, "at": at, "data": data}])

    def events(self, after: int = 0, limit: int = 200) -> list[EventRow]:
        """Lines of the record after a rowid, oldest first."""
        query = select(EventRow).where(col(EventRow.rowid) > after).order_by(col(EventRow.rowid)).limit(limit)
        with self.transaction() as session:
            return list(session.exec(query).all())

    def put_decision(self, decision: Decision) -> None:
        """Keep a decision with its reasons."""
        with self.transaction() as session:
            session.add(convert.decision_row(decision))


def _insert_grades(connection: Connection, grades: Sequence[Grade]) -> int:
    if not grades:
        return 0
    rows = [{name: getattr(g, name) for name in g.__dataclass_fields__} for g in grades]
    statement = upsert(connection, GRADE).on_conflict_do_nothing(index_elements=["exchange_id", "source"])
    return connection.execute(statement, rows, execution_options=COUNTED).rowcount
