"""`trimtab export`: what the store holds as JSON lines that anybody can read.

Lives here: which exchanges are written, and where to; the form of a line is `exported.py`.
Comes in: the store, a choice. Goes out: lines, a page of rows in memory at a time, no transaction open for long.
Must never know: argv.
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

from sqlalchemy import Select, exists, select
from sqlalchemy.exc import SQLAlchemyError

from agent.app.database import reading_store
from agent.app.exported import line
from agent.intake.commit import plainly
from agent.settings import Settings
from agent.store import Store, convert
from agent.store.store import EXCHANGE_COLUMNS
from agent.store.tables import EXCHANGE, GRADE
from agent.types import Grade, InvalidInput

PAGE_ROWS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Which exchanges: since <= start < until, of one version, labelled by a person.

    Whole ones that have their text; `everything` adds the failed, the cut, and those without text.
    """

    since: datetime | None = None
    until: datetime | None = None
    version: str | None = None
    labelled: bool = False
    everything: bool = False


def moment(text: str | None, option: str) -> datetime | None:
    """An option's time; without a zone it is UTC. Raises InvalidInput."""
    if text is None:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{option} {text!r} is no time: write ISO 8601, such as 2026-01-31T12:00:00Z") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def write(settings: Settings, choice: Choice, out: str) -> int:
    """Write to a file, whole or not at all, or to stdout for `-`; returns the number of lines. Raises InvalidInput."""
    store = reading_store(settings)
    try:
        if out == "-":
            return _to_stdout(lines(store, choice))
        return _to_file(Path(out), lines(store, choice))
    except SQLAlchemyError as error:
        raise InvalidInput(f"the database {store.url} cannot be read ({plainly(error)})") from error
    finally:
        store.close()


def _to_stdout(found: Iterator[str]) -> int:
    try:
        n = _put(sys.stdout, found)
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError, ValueError):  # or the interpreter would try to write the rest once more, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise InvalidInput(f"stdout cannot be written ({error.strerror}): name a file with --out") from error
    return n


def _to_file(path: Path, found: Iterator[str]) -> int:
    if not path.name:
        raise InvalidInput(f"--out {str(path)!r} names no file: give one to write, or - for stdout")
    scratch = path.with_name(path.name + ".part")
    try:
        with _opened(scratch, zipped=path.suffix == ".gz") as file:
            n = _put(file, found)
        scratch.replace(path)
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):
            scratch.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or error
        raise InvalidInput(f"{str(path)!r} cannot be written ({why}): name another file with --out") from error
    return n


def _opened(path: Path, *, zipped: bool) -> IO[str]:
    if zipped:
        return cast("IO[str]", gzip.open(path, "wt", encoding="utf-8", compresslevel=6))
    return path.open("w", encoding="utf-8")


def _put(file: IO[str], found: Iterator[str]) -> int:
    n = 0
    for text in found:
        file.write(text)
        n += 1
    return n


def lines(store: Store, choice: Choice) -> Iterator[str]:
    """One line for each exchange, in the order in which they were stored."""
    after = 0
    while True:
        with store.engine.connect() as connection:
            page = connection.execute(_query(choice, after)).all()
            of_these = _GRADES.where(GRADE.c.exchange_id.in_([row.id for row in page]))
            grades = _grades(connection.execute(of_these).all()) if page else {}
        if not page:
            return
        after = page[-1].rowid
        for row in page:
            exchange = convert.exchange(row[1:])
            if choice.everything or (exchange.profiled and exchange.has_text and exchange.messages):
                yield json.dumps(line(exchange, grades.get(exchange.id, ())), ensure_ascii=False) + "\n"


def _query(choice: Choice, after: int) -> Select[Any]:
    c = EXCHANGE.c
    query = select(c.rowid, *EXCHANGE_COLUMNS).where(c.rowid > after).order_by(c.rowid).limit(PAGE_ROWS)
    if choice.since is not None:
        query = query.where(c.started_at >= choice.since)
    if choice.until is not None:
        query = query.where(c.started_at < choice.until)
    if choice.version is not None:
        query = query.where(c.version == choice.version)
    if choice.labelled:
        query = query.where(exists().where(GRADE.c.exchange_id == c.id, GRADE.c.truth))
    return query


_GRADES = select(*(GRADE.c[name] for name in Grade.__dataclass_fields__)).order_by(GRADE.c.rowid)


def _grades(rows: Sequence[Any]) -> dict[str, list[Grade]]:
    found: dict[str, list[Grade]] = defaultdict(list)
    for row in rows:
        found[row.exchange_id].append(Grade(**row._asdict()))
    return found
