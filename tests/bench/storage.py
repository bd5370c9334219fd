"""How many exchanges a second one core stores, in the batches of the intake.

In: the scale. Out: rows per CPU second, against a bare `sqlite3` writing the very same values into the same tables.
Must never know: the schema; it is read from the database that the store makes.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from agent.intake.assemble import assemble
from agent.intake.redact import Redactor
from agent.store import Store
from agent.types import Exchange
from tests.bench import texts
from tests.bench.figures import Figure, say
from tests.bench.scale import Scale

BOUND_PER_S = 40_000
BATCH = 256


def measure(scale: Scale) -> list[Figure]:
    """Rows per CPU second."""
    many = exchanges(scale.of(40, 4) * BATCH)
    ours, wall, bare = [], [], []
    for _ in range(scale.of(5, 1)):
        with tempfile.TemporaryDirectory() as folder:
            cpu_s, wall_s, columns, rows = _store(Path(folder) / "ours", many)
            ours.append(cpu_s)
            wall.append(wall_s)
            bare.append(_bare(Path(folder) / "bare", columns, rows))
        say(f"    {len(many)} rows: {ours[-1]:.2f} s CPU, bare sqlite3 {bare[-1]:.2f} s")
    n = len(many)
    return [
        Figure(
            name="rows_per_s", says=f"stored in batches of {BATCH}", value=n / min(ours), unit="rows/s",
            bound=BOUND_PER_S, at_most=False, baseline=n / min(bare), against="bare sqlite3, same values",
        ),
        Figure(name="rows_per_s_wall", says="the same by the clock on the wall", value=n / min(wall), unit="rows/s"),
    ]  # fmt: skip


def exchanges(n: int) -> list[Exchange]:
    """`n` exchanges, redacted, each with a number of its own; a few hundred different texts."""
    redactor, talks = Redactor(), texts.talks(min(n, 400), seed=7)
    made = [
        redactor.exchange(assemble(texts.capture(i + 1, texts.request(talk), [texts.whole(talk, i)])))
        for i, talk in enumerate(talks)
    ]
    return [replace(made[i % len(made)], id=f"chatcmpl-{i:032x}", seq=i + 1) for i in range(n)]


def _store(home: Path, exchanges: list[Exchange]) -> tuple[float, float, list[str], list[tuple[object, ...]]]:
    """CPU and wall seconds of the store, and what it wrote."""
    store = Store.at(home)
    store.add_exchanges([replace(exchanges[0], worker="warm")])
    begun, begun_cpu = time.perf_counter(), time.process_time()
    new = sum(store.add_exchanges(exchanges[at : at + BATCH]) for at in range(0, len(exchanges), BATCH))
    cpu_s, wall_s = time.process_time() - begun_cpu, time.perf_counter() - begun
    store.close()
    if new != len(exchanges):
        raise RuntimeError(f"{new} of {len(exchanges)} rows were stored")
    with contextlib.closing(sqlite3.connect(home / "trimtab.db")) as connection:
        cursor = connection.execute("select * from exchange where worker <> 'warm'")
        columns = [str(column[0]) for column in cursor.description]
        return cpu_s, wall_s, columns, cursor.fetchall()


def _bare(home: Path, columns: list[str], rows: list[tuple[object, ...]]) -> float:
    """CPU seconds of `executemany`, a commit a batch, into tables and indexes as the store makes them."""
    Store.at(home).close()
    marks = ", ".join("?" * len(columns))
    statement = f"insert into exchange ({', '.join(columns)}) values ({marks}) on conflict do nothing"  # noqa: S608
    with contextlib.closing(sqlite3.connect(home / "trimtab.db")) as connection:
        connection.execute("pragma synchronous=normal")
        begun = time.process_time()
        for at in range(0, len(rows), BATCH):
            with connection:
                connection.executemany(statement, rows[at : at + BATCH])
        return time.process_time() - begun
