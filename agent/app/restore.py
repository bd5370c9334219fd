"""`trimtab import`: JSON lines into the store, through the same choke point as live traffic.

Lives here: files, their lines, and the report.
Comes in: files; a redactor. Goes out: rows, and what was wrong with which line.
Must never know: argv; what a line says (`imported.py`).

What is stored already under a line's name is left alone, but for grades that it lacks. A batch and its grades are one
transaction.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import IO, cast

from sqlalchemy.exc import SQLAlchemyError

from agent.app.database import is_shared, open_store
from agent.app.imported import LONGEST_LINE_BYTES, BadLine, read
from agent.app.observe import under
from agent.intake.attach.lines import Namer
from agent.intake.commit import plainly
from agent.intake.redact import Redactor
from agent.settings import Settings
from agent.store import Store
from agent.turns import Turns
from agent.types import Exchange, Grade, InvalidInput

BATCH_LINES = 256
BAD_TOLD = 20
_GZIP = b"\x1f\x8b"
_MB = 1_000_000


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


def run(settings: Settings, files: Sequence[Path], say: Callable[[str], None]) -> None:
    """Import files into the store of the settings and say how it went. Raises InvalidInput when no line was good."""
    from agent.app.main import redactor_of

    for file in files:
        _opened(file).close()  # a name that is wrong makes no store, and leaves no half of the files behind
    now, store = datetime.now(UTC), open_store(settings)
    try:
        report = restore(
            store, files, redactor_of(settings), settings.alias,
            texts=settings.capture.text != "none", room=lambda: _look_for_room(settings),
            observing=store.rollout(settings.alias) is None,
        )  # fmt: skip
        if report.stored:
            names = ", ".join(file.name for file in files)
            store.record("import", f"{report.stored} exchanges imported from {names}", now)
    except SQLAlchemyError as error:
        raise InvalidInput(f"the database {store.url} takes no more ({plainly(error)}): {_AGAIN}") from error
    finally:
        store.close()
    for where, why in report.bad:
        say(f"{where}: {why}")
    if report.n_bad > len(report.bad):
        say(f"and {report.n_bad - len(report.bad)} bad lines more")
    if not report.stored and not report.known:
        bad = f"no line was good, {report.n_bad} were bad" if report.n_bad else "there is no line in it"
        raise InvalidInput(f"{bad}: see `trimtab import --help` for what a line is")
    say(f"{report.stored} stored, {report.known} there already, {report.n_bad} bad, {report.grades} grades")
    days = settings.capture.keep_days
    if report.oldest is not None and report.oldest < now - timedelta(days=days):
        say(f"some began more than {days:g} days ago: the agent deletes them; raise capture.keep_days to keep them")


def restore(
    store: Store,
    files: Sequence[Path],
    redactor: Redactor,
    alias: str,
    *,
    texts: bool = True,
    room: Callable[[], None] = lambda: None,
    observing: bool = False,
) -> Report:
    """Take every line of every file; without `texts` nothing that somebody wrote, not even a correction.

    While `observing` whatever a line asked for counts for the alias, as what passes a tap does.

    `room` is asked before each batch, and may raise. Raises InvalidInput for a file that cannot be read.
    """
    report = Report()
    for file in files:
        worker, namer, turns = f"import-{_digest(file)}", Namer(), Turns()
        lines = _lines(file)
        while batch := list(islice(lines, BATCH_LINES)):
            room()
            taken: list[tuple[Exchange, list[Grade]]] = []
            for number, line in batch:
                try:
                    if line.strip():
                        kept, grades = read(
                            line, worker, number, redactor, alias, namer=namer, turns=turns, texts=texts
                        )
                        taken.append((under(kept, alias) if observing and kept.alias else kept, grades))
                except BadLine as why:
                    report.refuse(f"{file}, line {number}", str(why))
            _keep(store, taken, report)
    return report


def _keep(store: Store, taken: Sequence[tuple[Exchange, list[Grade]]], report: Report) -> None:
    new, grades = store.restore([exchange for exchange, _ in taken], [grade for _, some in taken for grade in some])
    report.stored += new
    report.known += len(taken) - new
    report.grades += grades
    if new:
        times = [exchange.started_at for exchange, _ in taken]
        report.oldest = min(times if report.oldest is None else [*times, report.oldest])


def _look_for_room(settings: Settings) -> None:
    """A file can wait, so nothing of it comes in without its texts. A server looks after its own disk."""
    if is_shared(settings):
        return
    free, needed = shutil.disk_usage(settings.home).free, settings.capture.min_free_mb * _MB
    if free < needed:
        told = f"{free / _MB:.0f} MB are free in {settings.home}, and capture.min_free_mb is {needed / _MB:.0f}"
        raise InvalidInput(f"{told}: {_AGAIN}")


_AGAIN = "make room and import again, what is stored already is known then"


# -- files -----------------------------------------------------------------------------------------


def _opened(file: Path) -> BufferedReader:
    try:
        return file.open("rb")
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror}): name an existing file") from error


def _digest(file: Path) -> str:
    with _opened(file) as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()[:16]


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """Lines with their numbers from 1, plain or gzip; never more than one in memory."""
    number = 0
    with _opened(file) as head:
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
