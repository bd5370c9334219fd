"""Many rows by one prepared statement, at the speed of the driver.

Lives here: `Bulk`, an insert that SQLAlchemy compiles once and the driver repeats.
Comes in: a Core insert and rows as sequences in the order of their columns. Goes out: rows in the table.
Must never know: which table, sessions, what a row means.

SQLAlchemy's own executemany spends more time on each row's parameters than SQLite does on storing it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.sql.dml import Insert


class Bulk:
    """`insert` compiled for `dialect`; rows are sequences in the order of `names`. For positional drivers (SQLite)."""

    def __init__(self, insert: Insert, table: Table, names: Sequence[str], dialect: Dialect) -> None:
        compiled = insert.compile(dialect=dialect, column_keys=list(names))
        self._sql = str(compiled)
        order = [names.index(name) for name in compiled.positiontup or ()]
        self._ordered = itemgetter(*order)
        types = [table.c[names[at]].type.dialect_impl(dialect) for at in order]
        found = [kind.bind_processor(dialect) for kind in types]
        self._processes = [(at, process) for at, process in enumerate(found) if process is not None]

    def run(self, connection: Connection, rows: Iterable[Sequence[Any]]) -> None:
        """Insert all rows; the caller's transaction decides when they last."""
        connection.exec_driver_sql(self._sql, [self._values(row) for row in rows])

    def _values(self, row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(self._ordered(row))
        for at, process in self._processes:
            value = values[at]
            if value is not None:
                values[at] = process(value)
        return tuple(values)
