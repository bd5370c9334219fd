"""Many rows by one prepared statement, at the speed of the driver.

Lives here: `Bulk`, an insert that SQLAlchemy compiles once and the driver repeats.
Comes in: a Core insert and rows as mappings of column names. Goes out: rows in the table.
Must never know: which table, sessions, what a row means.

SQLAlchemy's own executemany spends more time on each row's parameters than SQLite does on storing it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.sql.dml import Insert

Process = Callable[[Any], Any]


class Bulk:
    """`insert` compiled for `dialect` with exactly `names` as its columns. Only for positional drivers (SQLite)."""

    def __init__(self, insert: Insert, table: Table, names: Sequence[str], dialect: Dialect) -> None:
        compiled = insert.compile(dialect=dialect, column_keys=list(names))
        self._sql = str(compiled)
        self._names: Sequence[str] = compiled.positiontup or ()  # type: ignore[attr-defined]
        types = {name: table.c[name].type.dialect_impl(dialect) for name in self._names}
        found = {name: kind.bind_processor(dialect) for name, kind in types.items()}
        self._processes: dict[str, Process] = {name: process for name, process in found.items() if process is not None}

    def run(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert all rows; the caller's transaction decides when they last."""
        connection.exec_driver_sql(self._sql, [self._values(row) for row in rows])

    def _values(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        values = dict(row)
        for name, process in self._processes.items():
            values[name] = process(values[name])
        return tuple(map(values.__getitem__, self._names))
