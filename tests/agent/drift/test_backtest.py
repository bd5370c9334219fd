"""`trimtab backtest`: reads what people have, says what is wrong, and agrees with the live detector."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from agent.drift.cli import backtest
from agent.drift.detector import Detector
from agent.drift.lines import read
from agent.drift.records import UNKNOWN_TIME, Record
from agent.types import InvalidInput
from tests.agent.drift.streams import stream

app = typer.Typer()
app.command()(backtest)


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def _short(record: Record) -> dict[str, Any]:
    return {"prompt": record.prompt, "response": record.answer, "timestamp": record.at.isoformat(), "id": record.id}


def _openai(record: Record) -> dict[str, Any]:
    system = {"role": "system", "content": "Home"}
    parts = [{"type": "text", "text": record.prompt}]
    return {
        "request": {
            "messages": [system, {"role": "user", "content": parts}],
            "user": "u1",
        },
        "response": {"id": record.id, "choices": [{"message": {"role": "assistant", "content": record.answer}}]},
        "timestamp": record.at.timestamp(),
    }


def _write(path: Path, rows: list[Any]) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as file:
        file.write(text)
    return path


def test_backtest_agrees_with_the_live_detector(tmp_path: Path) -> None:
    """Whatever the form of the lines, gzip or not, the alarms are those of the detector itself."""
    records = stream(1, 700, change_at=500)
    detector = Detector.fit(records[:300], alias="a", version="v", budget_rows=50_000)
    expected = [alarm for record in records[300:] if (alarm := detector.update(record))]
    plain = _write(tmp_path / "log.jsonl", [_short(record) for record in records])
    zipped = _write(tmp_path / "log.jsonl.gz", [_openai(record) for record in records])
    for file in (plain, zipped):
        result = _run(file, "--reference-rows", 300)
        alarms = [json.loads(line) for line in result.stdout.splitlines()]
        assert [alarm["alarm_at"] for alarm in alarms] == [alarm.row for alarm in expected]
        assert alarms[0]["reason"] == expected[0].reason
        assert alarms[0]["onset_at"] == expected[0].onset_at.isoformat()
        assert [example["id"] for example in alarms[0]["examples"]] == list(expected[0].examples)
        assert alarms[0].keys() >= {"alarm_at", "kind", "feature", "evidence", "onset_at", "reason"}
        assert "in 400 exchanges after a reference of 300" in result.stderr


def test_reference_from_a_file_and_no_times(tmp_path: Path) -> None:
    """A separate reference leaves the whole log to be replayed; without times only rows are named."""
    rows = [{"prompt": record.prompt, "response": record.answer} for record in stream(1, 500, change_at=200)]
    reference = _write(tmp_path / "reference.jsonl", [_short(record) for record in stream(2, 300)])
    result = _run(_write(tmp_path / "log.jsonl", rows), "--reference", reference, "--json")
    first = json.loads(result.stdout.splitlines()[0])
    assert 200 <= first["alarm_at"] < 260
    assert first["onset_at"] is None
    assert "UTC" not in first["reason"]
    assert json.loads(result.stderr)["rows"] == 500


@pytest.mark.parametrize("name", ["ks", "psi"])
def test_plain_thresholds_run_and_warn(tmp_path: Path, name: str) -> None:
    """The comparison detectors find a gross change, and say beforehand that they promise nothing."""
    log = _write(tmp_path / "log.jsonl", [_short(record) for record in stream(1, 700, change_at=500)])
    result = _run(log, "--reference-rows", 300, "--detector", name)
    assert "promises nothing about false alarms" in result.stderr
    assert any(json.loads(line)["alarm_at"] >= 200 for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 3: not JSON"),
        ("[1]", "line 3: a line must be an object"),
        ('{"prompt": 3, "response": "x"}', 'line 3: "prompt" must be a text'),
        ('{"prompt": "x"}', 'line 3: "response" must be a text'),
        ('{"request": {"messages": []}, "response": {"choices": []}}', "line 3: .*messages"),
        ('{"request": {"prompt": "x"}, "response": {}}', "line 3: .*choices"),
        ('{"prompt": "x", "response": "y", "timestamp": "soon"}', "line 3: .*ISO 8601"),
        ("[" * 100_000, "line 3: nested too deeply"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    """A bad line is refused in one sentence that names the file and the line."""
    good = json.dumps({"prompt": "x", "response": "y"})
    file = _write(tmp_path / "log.jsonl", [good, good, line])
    with pytest.raises(InvalidInput, match=says) as refused:
        list(read([file]))
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_bad_files_and_options_are_refused(tmp_path: Path) -> None:
    """Missing files, broken gzip, too few rows and unknown detectors: each says what to do instead."""
    few = _write(tmp_path / "few.jsonl", [_short(record) for record in stream(1, 120)])
    broken = tmp_path / "broken.gz"
    broken.write_bytes(gzip.compress(b'{"prompt": "x", "response": "y"}\n' * 1000)[:-20])
    with pytest.raises(InvalidInput, match=r"holds 120 exchanges.*--reference-rows"):
        _run(few)
    with pytest.raises(InvalidInput, match="--reference-rows 50 or more"):
        _run(few, "--reference-rows", 10)
    with pytest.raises(InvalidInput, match=r"choose one of sequential"):
        _run(few, "--detector", "magic")
    with pytest.raises(InvalidInput, match="cannot be read"):
        _run(tmp_path / "none.jsonl")
    with pytest.raises(InvalidInput, match="gzip"):
        list(read([broken]))


def test_short_lines_need_no_more_than_two_texts(tmp_path: Path) -> None:
    """A line with prompt and response (or answer) alone is enough; blank lines are skipped."""
    file = _write(tmp_path / "log.jsonl", ['{"prompt": "a", "response": "b"}', "", '{"prompt": "c", "answer": "d"}'])
    assert [(r.id, r.prompt, r.answer, r.at) for r in read([file])] == [
        ("log.jsonl:1", "a", "b", UNKNOWN_TIME),
        ("log.jsonl:3", "c", "d", UNKNOWN_TIME),
    ]
