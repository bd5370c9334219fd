"""`trimtab backtest`: reads what people have, says what is wrong, and agrees with the live detector."""

from __future__ import annotations

import gzip
import json
import string
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from agent.drift.bodies import record_from
from agent.drift.cli import backtest
from agent.drift.detector import Detector
from agent.drift.lines import Reader
from agent.drift.records import UNKNOWN_TIME, Record, record_of
from agent.intake.assemble import assemble
from agent.intake.redact import Redactor
from agent.types import InvalidInput
from serving.wire import Capture
from tests.agent.drift.streams import stream
from tests.needs import need_module

app = typer.Typer()
app.command()(backtest)


def _run(*arguments: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin, catch_exceptions=False)


def _said(document: dict[str, Any]) -> tuple[str, str, str | None]:
    record = record_from(document, fallback_id="x")
    return record.prompt, record.answer, record.template


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
        assert alarms[0]["onset_time"] == expected[0].onset_at.isoformat()
        assert alarms[0]["onset_at"] == expected[0].onset_row
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
    assert first["onset_time"] is None
    assert "UTC" not in first["reason"]
    note, summary = result.stderr.splitlines()
    assert note == "note: no line has a timestamp: onsets are given as rows alone"
    assert json.loads(summary)["rows"] == 500


@pytest.mark.parametrize("name", ["ks", "psi", "page-hinkley", "adwin"])
def test_plain_detectors_run_and_warn(tmp_path: Path, name: str) -> None:
    """The comparison detectors find a gross change, and say beforehand what they cost in false alarms."""
    if name in ("page-hinkley", "adwin"):
        need_module("river", "pip install 'trimtab[river]'")
    log = _write(tmp_path / "log.jsonl", [_short(record) for record in stream(1, 700, change_at=500)])
    result = _run(log, "--reference-rows", 300, "--detector", name)
    assert "promises nothing about false alarms" in result.stderr
    assert "no promise about false ones" in result.stderr
    assert any(json.loads(line)["alarm_at"] >= 200 for line in result.stdout.splitlines())


def test_standard_input_and_both_units_of_the_budget(tmp_path: Path) -> None:
    """`-` reads standard input, zipped or not; 20 windows and 2,000 exchanges are one budget."""
    rows = [json.dumps(_short(record)) for record in stream(1, 500, change_at=400)]
    text = "\n".join(rows).encode()
    told = [
        _run(_write(tmp_path / "log.jsonl", list(rows)), "--reference-rows", 300, "--budget", 20).stdout,
        _run("-", "--reference-rows", 300, "--budget", 20, stdin=text).stdout,
        _run("-", "--reference-rows", 300, "--budget-rows", 2_000, stdin=gzip.compress(text)).stdout,
    ]
    assert told[0] == told[1] == told[2] != ""
    with pytest.raises(InvalidInput, match="say the same: give one"):
        _run("-", "--budget", 20, "--budget-rows", 2_000, stdin=text)
    with pytest.raises(InvalidInput, match="1 window of 100"):
        _run("-", "--budget", 0, stdin=text)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "line 3: not JSON"),
        ("[1]", "line 3: a JSON array: write one object a line"),
        ("3", "line 3: a line must be an object"),
        ('{"prompt": 3, "response": "x"}', 'line 3: "prompt" must be a text'),
        ('{"prompt": "x"}', 'line 3: "response" must be a text'),
        ('{"request": {"messages": []}, "response": {"choices": []}}', "line 3: .*messages"),
        ('{"request": {"prompt": "x"}, "response": {}}', "line 3: .*choices"),
        ('{"request": "x", "response": {}}', 'line 3: "request" must be a body'),
        ('{"prompt": "x", "response": "y", "timestamp": "soon"}', "line 3: .*ISO 8601"),
        ('{"prompt": "x", "response": "y", "timestamp": true}', "line 3: .*ISO 8601"),
        ('{"prompt": ' * 100_000, "line 3: nested too deeply"),
        ('{"prompt": "x", "response": "y", "timestamp": ' + "9" * 5_000 + "}", "line 3: "),
    ],
)
def test_too_many_bad_lines_are_refused(tmp_path: Path, line: str, says: str) -> None:
    """More than one bad line in ten: refused in one sentence that names the first bad line and what it lacks."""
    good = json.dumps({"prompt": "x", "response": "y"})
    file = _write(tmp_path / "log.jsonl", [good, good, line])
    with pytest.raises(InvalidInput, match=says) as refused:
        list(Reader([file]))
    assert f"1 of 3 lines are no exchanges, more than one in ten; the first: {file}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_few_bad_lines_are_counted_and_told(tmp_path: Path) -> None:
    """A log that breaks off in a line is replayed; the summary and one sentence say what was passed over."""
    rows: list[Any] = [_short(record) for record in stream(1, 400)]
    file = _write(tmp_path / "log.jsonl", [*rows, '{"prompt": "turn o'])
    result = _run(file, "--reference-rows", 300, "--json")
    *notes, summary = result.stderr.splitlines()
    assert json.loads(summary)["bad_lines"] == 1
    assert json.loads(summary)["rows"] == 100
    says = "not JSON (Invalid control character at column 19)"
    first = f"{file}, line 401: {says}"
    assert notes == [f"note: 1 of 401 lines are no exchanges and were passed over; the first: {first}"]


def _failed(n: int) -> dict[str, Any]:
    """A request that failed, in one of the ways in which logs say so."""
    ways: list[dict[str, Any]] = [
        {"response": {"error": {"message": "rate limit"}}, "status": 429},
        {"response": {"type": "error", "error": {"type": "overloaded_error"}}},
        {"response": {"status": "failed", "output": []}},
        {"response": None, "error": "timeout"},
        {"response": {"choices": []}, "status": 500},
        {"response": {"choices": [{"message": {"content": "ha"}}]}, "trimtab": {"outcome": "client_gone"}},
        {"response": '{"error": {"message": "overloaded"}}'},
        {"response": '{"object": "response", "status": "failed", "output": []}'},
        {"response": "upstream timed out", "error": "timeout"},
        {"response": "null", "error": "timeout"},
    ]
    return {"request": {"messages": [{"role": "user", "content": "x"}]}, **ways[n % len(ways)]}


def test_failed_requests_are_passed_over(tmp_path: Path) -> None:
    """However many: they are counted apart and told; the alarms are those without them. Nothing else is refused."""
    good: list[Any] = [_short(record) for record in stream(1, 400, change_at=340)]
    mixed = [row for n, line in enumerate(good) for row in ([_failed(n), line] if n % 3 == 0 else [line])]
    alone = _run(_write(tmp_path / "good.jsonl", good), "--reference-rows", 300)
    result = _run(_write(tmp_path / "mixed.jsonl", mixed), "--reference-rows", 300, "--json")
    assert result.stdout == alone.stdout != ""
    note, summary = result.stderr.splitlines()
    assert note == "note: 134 of 534 requests failed and were passed over"
    assert (json.loads(summary)["failed_requests"], json.loads(summary)["bad_lines"]) == (134, 0)
    with pytest.raises(InvalidInput, match=r"all 10 requests in .*failed: there is no answer"):
        _run(_write(tmp_path / "none.jsonl", [_failed(n) for n in range(10)]))


def test_an_answer_that_looks_like_a_fault_is_an_answer() -> None:
    """Where a line holds two texts, JSON in the answer is what the model wrote."""
    said = '{"error": "there is no such lamp"}'
    assert _said({"prompt": "a", "response": said}) == ("a", said, None)


def test_copies_are_told(tmp_path: Path) -> None:
    """A log that is held against itself, and ids that come again, are said; they say what to do."""
    rows = [{"prompt": f"what is {n}?", "response": f"it is {n}", "id": n % 150 + 1} for n in range(200)]
    log = _write(tmp_path / "log.jsonl", rows)
    notes = _run(log, "--reference", log).stderr
    assert "200 of 200 exchanges repeat prompt and answer of the reference" in notes
    assert f"50 lines bear an id that another bore before, first at {log}, line 151" in notes
    assert "repeat" not in _run(log, "--reference-rows", 100).stderr


def test_clocks_are_read_and_their_oddities_told(tmp_path: Path) -> None:
    """ISO, naive, unix seconds and milliseconds name the same moment; naive, missing and backward ones are told."""
    stamps: list[Any] = ["2026-11-01T01:00:00+01:00", "2026-11-01T00:00:00", 1793491200, 1793491200000, 0.5, None]
    file = _write(tmp_path / "log.jsonl", [{"prompt": "a", "response": "b", "timestamp": at} for at in stamps])
    reader = Reader([file])
    times = [record.at for record in reader]
    assert times[:4] == [datetime(2026, 11, 1, tzinfo=UTC)] * 4
    assert times[5] == UNKNOWN_TIME
    assert reader.notes == [
        "1 of 6 lines have no timestamp: theirs is taken to be unknown",
        "1 timestamps name no time zone and were taken as UTC",
        f"timestamps run backwards at 1 lines, first at {file}, line 5: exchanges are taken in the order of the lines",
    ]


def test_bodies_say_what_intake_reads() -> None:
    """A logged body becomes the same prompt and answer as the same body captured live, for every API."""
    tool = {"function": {"name": "light", "arguments": '{"on": true}'}}
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "it?"},
    ]
    asked: list[dict[str, Any]] = [{"role": "system", "content": "Be brief"}, {"role": "user", "content": parts}]
    chat = {"choices": [{"message": {"content": "A cat"}}, {"message": {"content": None, "tool_calls": [tool]}}]}
    blocks = [{"type": "text", "text": "A cat"}, {"type": "tool_use", "name": "light", "input": {"on": True}}]
    output = [
        {"type": "message", "content": [{"type": "output_text", "text": "A cat"}]},
        {"type": "function_call", "name": "light", "arguments": "{}"},
    ]
    cases: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("/v1/chat/completions", {"messages": asked}, chat),
        ("/v1/chat/completions", {"messages": asked}, {"choices": [{"message": {"content": "", "refusal": "No."}}]}),
        ("/v1/completions", {"prompt": "Once"}, {"choices": [{"text": "upon"}, {"text": "again"}]}),
        ("/v1/messages", {"system": "Be brief", "messages": asked[1:]}, {"type": "message", "content": blocks}),
        ("/v1/responses", {"input": "What is it?"}, {"output": output}),
        ("/v1/responses", {"instructions": "Be brief", "input": "What is it?"}, {"output": output}),
        ("/v1/chat/completions", {"messages": asked, "metadata": {"template": "t"}}, chat),
    ]
    templates = []
    for path, request, response in cases:
        exchange = assemble(_capture(path, request, response))
        live = record_of(exchange)
        assert _said({"request": request, "response": response}) == (live.prompt, live.answer, live.template), path
        templates.append(live.template)
        assert _said({"request": json.dumps(request), "response": json.dumps(response)})[1] == exchange.answer
    brief, *_ = templates
    assert templates == [brief, brief, None, brief, "system:none", brief, "t"]


def _asked_by(system: str, prompt: str = "Hi", answer: str = "Yes") -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
    return {"request": {"messages": messages}, "response": {"choices": [{"message": {"content": answer}}]}}


def test_a_system_prompt_is_one_template_whatever_is_filled_in() -> None:
    """Dates, numbers and addresses are no part of it: live traffic is redacted first and a log is not."""
    text = "Today is {}, {}. You help {} at ACME; call {} if need be."
    days = [
        ("Monday", "30 November 2026 at 9:15 AM", "ada@example.com", "+49 170 1234567"),
        ("Tuesday", "1 December 2026 at 10:40 PM", "bob@example.org", "+49 151 7654321"),
    ]
    found = set()
    for filled in days:
        line = _asked_by(text.format(*filled))
        found.add(_said(line)[2])
        kept = Redactor().exchange(assemble(_capture("/v1/chat/completions", line["request"], line["response"])))
        assert "[EMAIL]" in kept.messages[0].text
        found.add(record_of(kept).template)
    assert len(found) == 1
    assert _said(_asked_by("Answer in five words, and never explain."))[2] not in found


@pytest.mark.parametrize(
    ("before", "after"), [("Be polite.", "You are a pirate."), ("", "You are a pirate."), ("Be polite.", "")]
)
def test_a_changed_system_prompt_is_found(tmp_path: Path, before: str, after: str) -> None:
    """Replaced, added or taken away: within some twenty exchanges, though the texts stay what they were."""
    records = stream(1, 400)
    rows = [_asked_by(before if n < 350 else after, r.prompt, r.answer) for n, r in enumerate(records)]
    result = _run(_write(tmp_path / "log.jsonl", rows), "--reference-rows", 300)
    first = json.loads(result.stdout.splitlines()[0])
    assert 50 <= first["alarm_at"] < 75
    assert first["kind"] == "template"


def test_system_prompts_that_are_all_different_raise_no_alarm(tmp_path: Path) -> None:
    """Retrieved context makes each exchange a template of its own: new ones are as usual as those before."""
    letters = string.ascii_lowercase
    rows = [
        _asked_by(f"Use this: {letters[n // 26 % 26]}{letters[n % 26]} {record.answer}", record.prompt, record.answer)
        for n, record in enumerate(stream(1, 650))
    ]
    assert _run(_write(tmp_path / "log.jsonl", rows), "--reference-rows", 300).stdout == ""


def test_turns_of_a_conversation_are_known_by_their_history(tmp_path: Path) -> None:
    """As in the live agent: a log of bodies tells who goes on from whose answer, also where nothing names it."""
    said = [{"role": "user", "content": "dim the lamp"}, {"role": "assistant", "content": "lamp at 20"}]
    bodies = [
        ({"messages": said[:1]}, "lamp at 20"),
        ({"messages": [{"role": "user", "content": "other"}]}, "yes"),
        ({"messages": [*said, {"role": "user", "content": "more"}]}, "lamp at 10"),
        ({"messages": said[:1], "metadata": {"conversation_id": "c"}}, "lamp at 20"),
    ]
    rows = [{"id": f"r{n}", "request": request, "response": {"choices": [{"message": {"content": answer}}]}}
            for n, (request, answer) in enumerate(bodies)]  # fmt: skip
    found = [record.conversation for record in Reader([_write(tmp_path / "log.jsonl", rows)])]
    assert found == [None, None, "r0", "c"]


def test_lines_of_a_training_set_are_read() -> None:
    """The assistant's last message is the answer, and all before it was asked; an answer may stand beside, too."""
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "dim the lamp"}]
    whole = {"messages": [*asked, {"role": "assistant", "content": "lamp at 20"}], "user": "ann"}
    body = {"choices": [{"message": {"content": "lamp at 20"}}]}
    same = record_from({"request": {"messages": asked}, "response": body, "user": "ann"}, fallback_id="x")
    assert record_from(whole, fallback_id="x") == same
    assert record_from({"messages": asked, "response": "lamp at 20", "user": "ann"}, fallback_id="x") == same
    for wrong in (asked, asked[:1], [], "text", [*asked, "text"]):
        with pytest.raises(InvalidInput, match='"messages"'):
            record_from({"messages": wrong}, fallback_id="x")


def test_what_stands_beside_the_texts_is_taken() -> None:
    """User, conversation, template and times reach the record; what is no number of seconds is none."""
    line = {
        "prompt": "a",
        "response": "b",
        "user": "u",
        "conversation": 7,
        "template": "t",
        "latency_s": 2,
        "ttft_s": 0.5,
    }
    record = record_from(line, fallback_id="x")
    assert (record.id, record.user, record.conversation, record.template) == ("x", "u", "7", "t")
    assert (record.latency_s, record.ttft_s) == (2.0, 0.5)
    zero = record_from({**line, "id": 0, "user": 0, "template": 0}, fallback_id="x")
    assert (zero.id, zero.user, zero.template) == ("0", "0", "0")
    body = {"id": 0, "choices": [{"message": {"content": "b"}}]}
    whole = {"request": {"messages": [{"role": "user", "content": "a"}], "user": 0}, "response": body}
    none = record_from({**whole, "id": "", "user": None}, fallback_id="x")
    assert (none.id, none.user) == ("0", "0")
    assert record_from({**whole, "id": None, "response": {**body, "id": ""}}, fallback_id="x").id == "x"
    for odd in ("soon", -1, True, float("inf"), None):
        assert record_from({**line, "latency_s": odd, "ttft_s": odd}, fallback_id="x").latency_s is None


def _capture(path: str, request: dict[str, Any], response: dict[str, Any]) -> Capture:
    return Capture(
        worker="w", seq=1, started_at=1.0, method="POST", path=path, alias="home", version="home-v1", status=200,
        outcome="complete", headers={}, request=json.dumps(request).encode(), response=json.dumps(response).encode(),
        marks=(), request_cut=0, response_cut=0, total_us=1, dropped=0,
    )  # fmt: skip


def test_odd_texts_pass(tmp_path: Path) -> None:
    """Half a surrogate pair, a prompt of a megabyte, empty answers and foreign keys do no harm."""
    rows: list[Any] = [_short(record) for record in stream(1, 320)]
    odd = [
        '{"prompt": "half \\ud83d", "response": "a \\udc00", "model": {"x": [1]}}',
        {"prompt": "x" * 1_000_000, "response": ""},
        {"prompt": "", "response": ""},
    ]
    result = _run(_write(tmp_path / "log.jsonl", rows + odd), "--reference-rows", 300, "--json")
    assert json.loads(result.stderr.splitlines()[-1])["rows"] == 23


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
        list(Reader([broken]))
    with pytest.raises(InvalidInput, match=r"empty.jsonl holds no exchanges"):
        _run(_write(tmp_path / "empty.jsonl", []))
    with pytest.raises(InvalidInput, match=r"empty.jsonl holds no exchanges"):
        _run(few, "--reference", tmp_path / "empty.jsonl")
    with pytest.raises(InvalidInput, match="give one of them"):
        _run(few, "--reference", few, "--reference-rows", 50)
    with pytest.raises(InvalidInput, match=r"reference holds 20 exchanges"):
        _run(few, "--reference", _write(tmp_path / "short.jsonl", [_short(record) for record in stream(2, 20)]))


def test_short_lines_need_no_more_than_two_texts(tmp_path: Path) -> None:
    """A line with prompt and response (or answer) alone is enough; blank lines are skipped."""
    file = _write(tmp_path / "log.jsonl", ['{"prompt": "a", "response": "b"}', "", '{"prompt": "c", "answer": "d"}'])
    assert [(r.id, r.prompt, r.answer, r.at) for r in Reader([file])] == [
        ("log.jsonl:1", "a", "b", UNKNOWN_TIME),
        ("log.jsonl:3", "c", "d", UNKNOWN_TIME),
    ]
