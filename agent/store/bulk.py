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

from agent.store.dialect import positional

COUNTED: dict[str, Any] = {"preserve_rowcount": True}


class Bulk:
    """`insert` compiled for `dialect`; rows are sequences in the order of `names`."""

    def __init__(self, insert: Insert, table: Table, names: Sequence[str], dialect: Dialect) -> None:
        dialect = positional(dialect)
        compiled = insert.compile(dialect=dialect, column_keys=list(names))
        self._sql = str(compiled)
        order = [names.index(name) for name in compiled.positiontup or ()]
        self._ordered = itemgetter(*order)
        types = [table.c[names[at]].type.dialect_impl(dialect) for at in order]
        found = [kind.bind_processor(dialect) for kind in types]
        self._processes = [(at, process) for at, process in enumerate(found) if process is not None]

    def run(self, connection: Connection, rows: Iterable[Sequence[Any]]) -> int:
        """Insert all rows and say how many were new; the caller's transaction decides when they last."""
        values = [self._values(row) for row in rows]
        return connection.exec_driver_sql(self._sql, values, execution_options=COUNTED).rowcount

    def _values(self, row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(self._ordered(row))
        for at, process in self._processes:
            value = values[at]
            if value is not None:
                values[at] = process(value)
        return tuple(values)
