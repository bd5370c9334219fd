"""`trimtab import`: JSON lines into the store, through the same choke point as live traffic.

Lives here: files, their lines, what is kept of each, and the report.
Comes in: files in the form of `archive.py`, or of {"prompt", "response"}; a redactor. Goes out: rows, and what was
wrong with which line. Must never know: argv; what the texts say.

A file is a worker of its own, named by the digest of its bytes, and a line's number is its number there: whatever is
read twice is stored once. A line whose `id` is stored already is left alone.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import select

from agent.app.archive import OWN, REDACTED
from agent.intake.assemble import Unreadable, assemble
from agent.intake.attach.lines import read_lines
from agent.intake.attach.offer import Offer, Refused
from agent.intake.redact import Redactor
from agent.settings import Settings
from agent.store import Store
from agent.store.tables import EXCHANGE
from agent.types import Exchange, Grade, InvalidInput

BATCH_LINES = 256
LONGEST_LINE_BYTES = 32 << 20
BAD_TOLD = 20
VERSION = "imported"
"""The version of a line that names none: no detector watches it, and training reads it like any other."""
_GZIP = b"\x1f\x8b"
_EXCHANGE, _GRADE = TypeAdapter(Exchange), TypeAdapter(Grade)
_FIELDS = frozenset(f.name for f in fields(Exchange)) - OWN
_HASH = re.compile(r"[0-9a-f]{32}")
_MAX_ID_CHARS = 200


@dataclass(slots=True)
class Report:
    """What became of the lines. `bad` tells the first of them, (file and line, why); `n_bad` counts all."""

    stored: int = 0
    known: int = 0
    grades: int = 0
    n_bad: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)
    oldest: datetime | None = None

    def refuse(self, where: str, why: str) -> None:
        """Count one line that cannot be taken."""
        self.n_bad += 1
        if len(self.bad) < BAD_TOLD:
            self.bad.append((where, why))


class BadLine(ValueError):
    """This one line cannot be taken; the text says why, in one sentence."""


def run(settings: Settings, files: Sequence[Path], say: Callable[[str], None]) -> None:
    """Import files into the store of the settings and say how it went. Raises InvalidInput when no line was good."""
    from agent.app.main import open_store, redactor_of

    now, store = datetime.now(UTC), open_store(settings.home)
    try:
        report = restore(store, files, redactor_of(settings), settings.alias)
        if report.stored:
            names = ", ".join(file.name for file in files)
            store.record("import", f"{report.stored} exchanges imported from {names}", now)
    finally:
        store.close()
    for where, why in report.bad:
        say(f"{where}: {why}")
    if report.n_bad > len(report.bad):
        say(f"and {report.n_bad - len(report.bad)} bad lines more")
    if not report.stored and not report.known:
        raise InvalidInput(f"no line was good, {report.n_bad} were bad: see `trimtab import --help` for what a line is")
    say(f"{report.stored} stored, {report.known} there already, {report.n_bad} bad, {report.grades} grades")
    days = settings.capture.keep_days
    if report.oldest is not None and report.oldest < now - timedelta(days=days):
        say(f"some began more than {days:g} days ago: the agent deletes them; raise capture.keep_days to keep them")


def restore(store: Store, files: Sequence[Path], redactor: Redactor, alias: str) -> Report:
    """Take every line of every file. Raises InvalidInput for a file that cannot be read."""
    report = Report()
    for file in files:
        worker = f"import-{_digest(file)}"
        lines = _lines(file)
        while batch := list(islice(lines, BATCH_LINES)):
            _take(store, [(n, line) for n, line in batch if line.strip()], file, worker, redactor, alias, report)
    return report


def _take(
    store: Store,
    batch: Iterable[tuple[int, bytes]],
    file: Path,
    worker: str,
    redactor: Redactor,
    alias: str,
    report: Report,
) -> None:
    taken: list[tuple[Exchange, list[Grade]]] = []
    for number, line in batch:
        try:
            taken.append(read(line, worker, number, redactor, alias))
        except BadLine as why:
            report.refuse(f"{file}, line {number}", str(why))
    there = _there(store, [exchange.id for exchange, _ in taken])
    fresh: dict[str, tuple[Exchange, list[Grade]]] = {}
    for exchange, grades in taken:
        if exchange.id not in there:
            fresh.setdefault(exchange.id, (exchange, grades))
    new = store.add_exchanges([exchange for exchange, _ in fresh.values()])
    report.stored += new
    report.known += len(taken) - new
    report.grades += store.add_grades([grade for _, grades in fresh.values() for grade in grades])
    times = [exchange.started_at for exchange, _ in fresh.values()]
    report.oldest = min(times if report.oldest is None else [*times, report.oldest], default=None)


def read(line: bytes, worker: str, number: int, redactor: Redactor, alias: str) -> tuple[Exchange, list[Grade]]:
    """One line as it may be stored, with its grades. Raises BadLine."""
    if len(line) > LONGEST_LINE_BYTES:
        raise BadLine(f"it is longer than {LONGEST_LINE_BYTES >> 20} MiB")
    offer = _offer(line)
    document = json.loads(line)
    own = document.get("trimtab")
    own = own if isinstance(own, dict) else {}
    capture = replace(offer.capture, worker=worker, seq=number)
    try:
        exchange = assemble(capture)
    except Unreadable as why:
        raise BadLine(str(why).partition(" cannot be read: ")[2] or str(why)) from why
    named = isinstance(document.get("id"), str) and document["id"] != ""
    exchange = replace(
        exchange,
        id=offer.id if named or exchange.id != f"{worker}-{number}" else exchange.id,
        alias=exchange.alias or alias,
        version=exchange.version or VERSION,
        user=offer.user or exchange.user,
        conversation=offer.conversation or exchange.conversation,
        ttft_s=offer.ttft_s,
        streamed=offer.streamed or exchange.streamed,
    )
    exchange = _corrected(exchange, own)
    if not own and not any((exchange.answer, exchange.reasoning, *(m.text for m in exchange.messages))):
        raise BadLine("neither request nor response holds any text")
    kept = redactor.exchange(exchange)
    if own.get(REDACTED) is True:
        kept = _as_named(kept, exchange)
    return kept, _grades(document.get("grades"), kept.id, redactor)


def _offer(line: bytes) -> Offer:
    try:
        found = next(read_lines(line.replace(b"\n", b""), time.time()), None)
    except InvalidInput as why:
        raise BadLine(str(why)) from why
    if isinstance(found, Refused):
        raise BadLine(found.why)
    if found is None:
        raise BadLine("it is empty")
    return found


def _corrected(exchange: Exchange, own: dict[str, Any]) -> Exchange:
    """The exchange with the fields that its bodies could not hold."""
    said = {name: value for name, value in own.items() if name in _FIELDS}
    if not said:
        return exchange
    try:
        known = {f.name: getattr(exchange, f.name) for f in fields(Exchange)}
        return _EXCHANGE.validate_python(known | said)
    except ValidationError as error:
        raise BadLine(f"trimtab.{_first(error)}") from error


def _as_named(kept: Exchange, told: Exchange) -> Exchange:
    """Names that an export wrote are hashes already: hashed again, they would be somebody else."""
    return replace(
        kept,
        id=told.id if len(told.id) <= _MAX_ID_CHARS else kept.id,
        user=told.user if told.user and _HASH.fullmatch(told.user) else kept.user,
        conversation=(
            told.conversation if told.conversation and _HASH.fullmatch(told.conversation) else kept.conversation
        ),
    )


def _grades(said: Any, exchange_id: str, redactor: Redactor) -> list[Grade]:
    if said is None:
        return []
    if not isinstance(said, list):
        raise BadLine("grades is no list")
    try:
        grades = [_GRADE.validate_python({**one, "exchange_id": exchange_id}) for one in said]
    except (TypeError, ValidationError) as error:
        why = _first(error) if isinstance(error, ValidationError) else "one is no object"
        raise BadLine(f"grades: {why}") from error
    for grade in grades:
        if grade.at.tzinfo is None:
            raise BadLine("grades: a time has no zone")
    return [
        replace(
            grade,
            source=redactor.text(grade.source),
            correction=None if grade.correction is None else redactor.text(grade.correction),
        )
        for grade in grades
    ]


def _first(error: ValidationError) -> str:
    fault = error.errors()[0]
    return f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg'][0].lower()}{fault['msg'][1:]}"


def _there(store: Store, ids: Sequence[str]) -> set[str]:
    with store.engine.connect() as connection:
        return set(connection.execute(select(EXCHANGE.c.id).where(EXCHANGE.c.id.in_(ids))).scalars())


# -- files -----------------------------------------------------------------------------------------


def _digest(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()[:16]
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror}): name an existing file") from error


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1, plain or gzip; never more than one in memory."""
    number = 0
    with file.open("rb") as head:
        zipped = head.read(2) == _GZIP
    try:
        with cast("IO[bytes]", gzip.open(file, "rb")) if zipped else file.open("rb") as opened:
            while line := opened.readline(LONGEST_LINE_BYTES + 1):
                number += 1
                yield number, line
                while len(line) > LONGEST_LINE_BYTES and not line.endswith(b"\n"):
                    line = opened.readline(LONGEST_LINE_BYTES + 1)
    except (EOFError, zlib.error, OSError) as error:
        raise InvalidInput(f"{file}, after line {number}: it cannot be read further ({error})") from error
