"""Counts that never go backwards: of exchanges and of grades, whatever has been deleted since.

Lives here: folding new rows into tallies, and reading tallies plus what is not folded yet.
Comes in: a connection. Goes out: counts. One statement reads both parts, so nothing is counted twice or not at all.
Must never know: why rows are deleted. Only rows up to the cursor of a tally may be.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    case,
    cast,
    func,
    literal,
    select,
    union_all,
    update,
)

from agent.store.dialect import upsert, writing
from agent.store.tables import EXCHANGE, GRADE, ExchangeTallyRow, GradeTallyRow, StateRow

FOLD_ROWS = 20_000
"""Rows that one fold counts at most: keeps the write lock for milliseconds."""
EXCHANGES, GRADES = "tally", "tally:grade"
_STATE: Table = StateRow.__table__  # type: ignore[attr-defined]
_EXCHANGES: Table = ExchangeTallyRow.__table__  # type: ignore[attr-defined]
_GRADES: Table = GradeTallyRow.__table__  # type: ignore[attr-defined]


class ExchangesCounted(NamedTuple):
    """`n` exchanges of one tap, alias, version and outcome."""

    worker: str
    alias: str
    version: str
    outcome: str
    n: int


class GradesCounted(NamedTuple):
    """`n` opinions of one source, the tokens they cost, and when the newest was given."""

    source: str
    truth: bool
    n: int
    cost_tokens: int
    last_at: datetime


def exchanges(connection: Connection) -> list[ExchangesCounted]:
    """Every exchange that was ever stored, by tap, alias, version and outcome."""
    keys, sums = _EXCHANGE_KEYS, [func.count().label("n")]
    tail = _tail(EXCHANGE, keys, sums, cursor=_cursor(EXCHANGES))
    both = union_all(select(_EXCHANGES), tail).subquery()
    by = [both.c[key] for key in keys]
    return [ExchangesCounted._make(row) for row in connection.execute(select(*by, _sum(both.c.n)).group_by(*by))]


def grades(connection: Connection) -> list[GradesCounted]:
    """Every opinion that was ever kept, by source."""
    tail = _tail(GRADE, _GRADE_KEYS, _GRADE_SUMS, cursor=_cursor(GRADES))
    both = union_all(select(_GRADES), tail).subquery()
    by = [both.c[key] for key in _GRADE_KEYS]
    sums = (_sum(both.c.n), _sum(both.c.cost_tokens), func.max(both.c.last_at))
    return [GradesCounted._make(row) for row in connection.execute(select(*by, *sums).group_by(*by).order_by(*by))]


def fold(engine: Engine) -> bool:
    """Count the next rows of both tables into their tallies; True when there may be more."""
    exchanges_more = _fold(engine, EXCHANGES, EXCHANGE, _EXCHANGES, _EXCHANGE_KEYS, [func.count().label("n")])
    grades_more = _fold(engine, GRADES, GRADE, _GRADES, _GRADE_KEYS, _GRADE_SUMS)
    return exchanges_more or grades_more


def folded(connection: Connection, key: str = EXCHANGES) -> int:
    """The last rowid that is counted in the tally; rows behind it must stay."""
    return connection.execute(select(_STATE.c.cursor).where(_STATE.c.key == key)).scalar() or 0


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    """A whole number on every database: PostgreSQL sums 8 bytes to a decimal."""
    return cast(func.sum(column), BigInteger)


_EXCHANGE_KEYS = ("worker", "alias", "version", "outcome")
_GRADE_KEYS = ("source", "truth")
_GRADE_SUMS: list[ColumnElement[Any]] = [
    func.count().label("n"),
    _sum(GRADE.c.cost_tokens).label("cost_tokens"),
    func.max(GRADE.c.at).label("last_at"),
]


def _cursor(key: str) -> ColumnElement[int]:
    reached = select(_STATE.c.cursor).where(_STATE.c.key == key).scalar_subquery()
    return func.coalesce(reached, literal(0))


def _tail(
    table: Table,
    keys: Sequence[str],
    sums: Sequence[ColumnElement[Any]],
    *,
    cursor: Any,
    upto: int | None = None,
) -> Select[Any]:
    by = [table.c[key] for key in keys]
    query = select(*by, *sums).where(table.c.rowid > cursor).group_by(*by)
    return query if upto is None else query.where(table.c.rowid <= upto)


def _fold(
    engine: Engine, key: str, table: Table, into: Table, keys: Sequence[str], sums: Sequence[ColumnElement[Any]]
) -> bool:
    """What lies between the cursor and the newest row never changes, so it is read before the write lock is taken."""
    with engine.connect() as connection:
        start = folded(connection, key)
        newest = connection.execute(select(func.max(table.c.rowid))).scalar() or 0
        upto = min(newest, start + FOLD_ROWS)
        if upto <= start:
            return False
        rows = [row._asdict() for row in connection.execute(_tail(table, keys, sums, cursor=start, upto=upto))]
    with writing(engine) as connection:
        if not _advanced(connection, key, start, upto):
            return True  # somebody else folded these rows
        add = upsert(connection, into)
        set_ = {name: into.c[name] + add.excluded[name] for name in ("n", "cost_tokens") if name in into.c}
        if "last_at" in into.c:
            new = add.excluded.last_at
            set_["last_at"] = case((new > into.c.last_at, new), else_=into.c.last_at)
        if rows:
            connection.execute(add.on_conflict_do_update(index_elements=list(keys), set_=set_), rows)
    return upto < newest


def _advanced(connection: Connection, key: str, start: int, upto: int) -> bool:
    """Move the cursor from `start` to `upto`; False when it is not at `start` any more."""
    first = (
        upsert(connection, _STATE).values(key=key, cursor=0, state=b"").on_conflict_do_nothing(index_elements=["key"])
    )
    connection.execute(first)
    moved = update(_STATE).where(_STATE.c.key == key, _STATE.c.cursor == start).values(cursor=upto)
    return bool(connection.execute(moved).rowcount)
