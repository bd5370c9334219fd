"""Logged exchanges, a file of JSON lines at a time: plain, gzip, or the standard input.

Lives here: `Reader`, which also counts what was wrong. Comes in: files. Goes out: records in the order of the lines.
Must never know: the detector, or what one line means (`bodies`).

A bad line is counted and passed over, since logs end in the middle of a line; when more than one line in ten is bad,
this is no log of exchanges, and reading ends. A request that failed is no bad line: it is counted apart.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
import zlib
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from agent.drift.bodies import Failed, record_from, time_of
from agent.drift.records import UNKNOWN_TIME
from agent.turns import Turns
from agent.types import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from agent.drift.records import Record

STDIN = "-"
LONGEST_LINE_BYTES = 32 << 20
MOST_BAD = 0.1
_JUDGED_AFTER = 100
_GZIP = b"\x1f\x8b"
_REST_BYTES = 1 << 16
_IDS = 100_000
"""So many of the latest ids are remembered, to tell one that comes again."""


class Reader:
    """Iterate to get records, one line in memory at a time; `rows`, `bad`, `failed` and `notes` say how it went.

    Raises InvalidInput for files that cannot be read, when more than a tenth of the lines is bad, and when every
    request failed.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files, self._turns = files, Turns()
        self.rows = self.bad = self.failed = self.untimed = self.backwards = self.naive = self.again = 0
        self.first_bad = self._first_backwards = self._first_again = ""
        self._ids: dict[str, None] = {}
        self._latest: datetime | None = None

    def __iter__(self) -> Iterator[Record]:
        """All files in turn."""
        for file in self._files:
            name, number = str(file), 0
            try:
                with _opened(file) as lines:
                    for number, line in enumerate(_lines(lines), start=1):
                        if not line.strip():
                            continue
                        record = self._taken(name, number, line)
                        self._judge(final=False)
                        if record is not None:
                            yield record
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                raise InvalidInput(f"{name}, after line {number}: the gzip stream is broken ({error})") from error
            except OSError as error:
                msg = f"{name} cannot be read ({error.strerror or error}): name an existing file, or - for stdin"
                raise InvalidInput(msg) from error
        self._judge(final=True)

    @property
    def losses(self) -> list[str]:
        """What was passed over; a sentence each."""
        out = []
        if self.bad:
            out.append(f"{self.bad} of {self.rows + self.bad} lines are no exchanges and were passed over; the first:"
                       f" {self.first_bad}")  # fmt: skip
        if self.failed:
            out.append(f"{self.failed} of {self.rows + self.failed} requests failed and were passed over")
        return out

    @property
    def notes(self) -> list[str]:
        """What a person should know about these lines; a sentence each."""
        out = self.losses
        if self.again:
            out.append(f"{self.again} lines bear an id that another bore before, first at {self._first_again}: if"
                       " these exchanges stand there twice, leave them out, for copies look like drift")  # fmt: skip
        if self.rows and self.untimed == self.rows:
            out.append("no line has a timestamp: onsets are given as rows alone")
        elif self.untimed:
            out.append(f"{self.untimed} of {self.rows} lines have no timestamp: theirs is taken to be unknown")
        if self.naive:
            out.append(f"{self.naive} timestamps name no time zone and were taken as UTC")
        if self.backwards:
            out.append(f"timestamps run backwards at {self.backwards} lines, first at {self._first_backwards}:"
                       " exchanges are taken in the order of the lines")  # fmt: skip
        return out

    def _taken(self, name: str, number: int, line: bytes) -> Record | None:
        fallback = f"{Path(name).name}:{number}"
        try:
            document = _parsed(line)
            record = record_from(document, fallback_id=fallback, seq=number, turns=self._turns)
        except Failed:
            self.failed += 1
            return None
        except InvalidInput as error:
            self.bad += 1
            self.first_bad = self.first_bad or f"{name}, line {number}: {error}"
            return None
        self.rows += 1
        self._clock(record.at, document.get("timestamp"), f"{name}, line {number}")
        if record.id != fallback:
            self._name(record.id, f"{name}, line {number}")
        return record

    def _name(self, id_: str, where: str) -> None:
        if id_ in self._ids:
            self.again += 1
            self._first_again = self._first_again or where
            return
        self._ids[id_] = None
        if len(self._ids) > _IDS:
            del self._ids[next(iter(self._ids))]

    def _clock(self, at: datetime, written: Any, where: str) -> None:
        if at == UNKNOWN_TIME:
            self.untimed += 1
            return
        self.naive += time_of(written)[1]
        if self._latest is not None and at < self._latest:
            self.backwards += 1
            self._first_backwards = self._first_backwards or where
        self._latest = at

    def _judge(self, *, final: bool) -> None:
        """At the first hundred lines, so that a wrong file is told at once, and at the end."""
        lines = self.rows + self.bad
        if (final or lines == _JUDGED_AFTER) and self.bad > MOST_BAD * lines:
            msg = f"{self.bad} of {lines} lines are no exchanges, more than one in ten; the first: {self.first_bad}"
            raise InvalidInput(msg)
        if final and self.failed and not self.rows:
            raise InvalidInput(f"all {self.failed} requests in {self._files[0]} failed: there is no answer to look at")


def _parsed(line: bytes) -> dict[str, Any]:
    if len(line) > LONGEST_LINE_BYTES:
        raise InvalidInput(f"longer than {LONGEST_LINE_BYTES >> 20} MB")
    if line.lstrip().startswith(b"["):
        raise InvalidInput("a JSON array: write one object a line, as `jq -c '.[]' FILE` does")
    try:
        document = json.loads(line)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"not UTF-8 text ({error.reason})") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"not JSON ({error.msg.removesuffix(' at')} at column {error.colno})") from error
    except RecursionError as error:
        raise InvalidInput("nested too deeply to be an exchange") from error
    except ValueError as error:  # an integer of thousands of digits
        raise InvalidInput(f"not JSON that can be read ({error})") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"a line must be an object, not {type(document).__name__}")
    return document


def _lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines, none of them longer in memory than one byte over the limit; the rest of a longer one is passed over."""
    while line := stream.readline(LONGEST_LINE_BYTES + 1):
        if len(line) > LONGEST_LINE_BYTES:
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = stream.readline(_REST_BYTES)
        yield line


@contextmanager
def _opened(file: Path) -> Iterator[IO[bytes]]:
    """The bytes, unzipped if it is gzip by its first bytes. Standard input stays open."""
    source = nullcontext(sys.stdin.buffer) if str(file) == STDIN else file.open("rb")
    with source as raw:
        head = raw if hasattr(raw, "peek") else io.BufferedReader(cast("io.RawIOBase", raw))
        zipped = head.peek(2)[:2] == _GZIP
        yield cast("IO[bytes]", gzip.GzipFile(fileobj=head)) if zipped else head
