"""The sample of unreadable captures is small, redacted, and never in the way."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from agent.intake.redact import Redactor
from agent.intake.sample import KEPT, MAX_CHARS, Sample, frame_of
from tests.agent.intake.captures import CHAT, capture


def lines(folder: Path) -> list[dict[str, object]]:
    """What stands in the file."""
    return [json.loads(line) for line in (folder / "last.jsonl").read_text().splitlines()]


def test_the_last_twenty_stay_over_a_restart(tmp_path: Path) -> None:
    """Older ones give way to newer ones, the file belongs to its owner alone, and a new process goes on with it."""
    for first in (0, 30):
        sample = Sample(tmp_path, Redactor().text)
        sample.keep([(capture(CHAT, b"<", seq=first + n), "no JSON") for n in range(first == 0, 25)])
    assert [line["seq"] for line in lines(tmp_path)] == list(range(35, 55))
    assert len(lines(tmp_path)) == KEPT
    assert (tmp_path / "last.jsonl").stat().st_mode & 0o777 == 0o600
    assert sample.faults == 0


def test_bodies_are_redacted_and_cut(tmp_path: Path) -> None:
    """Addresses go, behind JSON's escapes and gzip too; what is no text is named by its size."""
    long = b'{"a":"ada@example.com ada\\u0040example.com ' + b"x" * 9000
    sample = Sample(tmp_path, Redactor().text)
    sample.keep([(capture(long, gzip.compress(long)), "said by ada@example.com")])
    sample.keep([(capture(b"\xff\xfe\x00", b""), "")])
    first, second = lines(tmp_path)
    assert "example.com" not in json.dumps(first)
    assert first["why"] == "said by [EMAIL]"
    assert str(first["request"]).startswith('{"a":"[EMAIL] [EMAIL] xxx')
    assert len(str(first["request"])) == len(str(first["response"])) == MAX_CHARS
    assert second["request"] == "(3 bytes that are no UTF-8)"


def test_of_a_stream_the_frame_alone_is_kept() -> None:
    """Words of a stream, whole or in pieces, in strings or beside them, are replaced by their lengths."""
    stream = 'data: {"id":"c","n":12,"delta":{"content":"ada@"}}\n\ndata: {"delta":{"content":"x.org"\n\ndata: adam\n'
    assert frame_of(stream) == (
        'data: {"id":"(1)","n":12,"delta":{"content":"(4)"}}\n\ndata: {"delta":{"content":"(5)"\n\ndata: #\n'
    )


def test_a_folder_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    """A file in the folder's place, or a redactor that raises, is counted and passed over."""
    (tmp_path / "file").write_text("")
    sample = Sample(tmp_path / "file", Redactor().text)
    sample.keep([(capture(CHAT, b"<"), "no JSON")])
    assert sample.faults == 1
    broken = Sample(tmp_path, lambda _: 1 // 0 * "")
    broken.keep([(capture(CHAT, b"<"), "no JSON")])
    assert broken.faults == 1
    assert not (tmp_path / "last.jsonl").exists()
