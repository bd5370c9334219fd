"""What is exported can be read by anybody, and comes back as it was."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from agent.app.archive import Choice, lines
from agent.app.exported import line
from agent.app.imported import read
from agent.app.restore import restore
from agent.cli import app
from agent.intake.redact import Redactor, blank
from agent.profile.features import features
from agent.store import Store, convert
from agent.types import Exchange, Features, Grade, InvalidInput, Message, Outcome, ToolCall
from tests.agent.store.traffic import START, exchange

ALL = Choice(everything=True)
REDACTOR = Redactor()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with one of every kind."""
    made = Store.at(tmp_path / "home")
    made.add_exchanges(KINDS)
    marks = [("judge", 0.25, False, None), ("ada", 0.0, True, "light.off")]
    made.add_grades(
        [
            Grade(exchange_id=exchange(1).id, source=s, score=n, truth=t, at=START, correction=c, cost_tokens=7)
            for s, n, t, c in marks
        ]
    )
    yield made
    made.close()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    made = Store.at(tmp_path / "other")
    yield made
    made.close()


def called(seq: int, answer: str) -> Exchange:
    """An answer with a tool call behind it, as the intake writes both."""
    return exchange(seq, answer=answer, tool_calls=(ToolCall(name="light", arguments='{"lamp":1}'),))


KINDS = [
    exchange(1, user=REDACTOR.hash("ada"), conversation=REDACTOR.hash("c"), tool_calls=()),
    called(2, 'light({"lamp":1})'),
    called(3, 'so be it\nlight({"lamp":1})'),
    called(4, "words that do not name the call"),
    exchange(5, path="/v1/messages", streamed=True, template="t", template_version="2", answers=3, logprob_mean=-0.5),
    exchange(6, outcome=Outcome.CLIENT_GONE, response_cut_bytes=9, finish_reason=None, ttft_s=None),
    exchange(7, status=500, outcome=Outcome.ERROR, answer="", messages=(), prompt_tokens=None),
    exchange(8, outcome=Outcome.UNREADABLE, answer="", messages=(), id="w-8"),
    convert.without_text(exchange(9), "thinned"),
    convert.without_text(
        exchange(10),
        "paused",
        Features(exchange_id=exchange(10).id, numbers={"prompt_chars": 1.5}, labels={"prompt_language": "de"}),
    ),
    exchange(12, streamed=False),
    exchange(13, status=0, outcome=Outcome.CLIENT_GONE, answer="", finish_reason=None),
    exchange(14, id="chatcmpl-" + "a lot of words " * 270),
    blank(exchange(15)),
    exchange(11, messages=(Message(role="user", text='ü\n"😀"'),), gap_p50_s=0.01, gap_max_s=0.2, reasoning=""),
]


def test_everything_comes_back_as_it_was(store: Store, other: Store, tmp_path: Path) -> None:
    """Export, import into an empty store, export: the same lines, byte for byte, grades and all kinds included."""
    first = list(lines(store, ALL))
    file = tmp_path / "all.jsonl"
    file.write_text("".join(first))
    report = restore(other, [file], Redactor(), "home")
    assert (report.stored, report.known, report.n_bad, report.grades) == (len(KINDS), 0, 0, 2)
    assert list(lines(other, ALL)) == first
    again = restore(other, [file], Redactor(), "home")
    assert (again.stored, again.known, again.grades) == (0, len(KINDS), 0)
    into_itself = restore(store, [file], Redactor(), "home")
    assert (into_itself.stored, into_itself.known) == (0, len(KINDS))


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).map(Redactor().text)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.builds(
        Exchange,
        id=st.uuids().map(lambda u: f"chatcmpl-{u.hex}"),
        worker=st.just("w"),
        seq=st.just(1),
        started_at=st.datetimes(
            min_value=START.replace(tzinfo=None, year=1970),
            max_value=START.replace(tzinfo=None),
            timezones=st.just(UTC),
        ),
        path=st.sampled_from(["/v1/chat/completions", "/v1/completions", "/invocations"]),
        alias=st.just("home"),
        version=st.sampled_from(["home-v1", "home-v2"]),
        status=st.sampled_from([200, 429, 500]),
        outcome=st.sampled_from(Outcome),
        messages=st.lists(st.builds(Message, role=st.sampled_from(["system", "user", "tool"]), text=texts)).map(tuple),
        answer=texts,
        reasoning=texts,
        finish_reason=st.sampled_from([None, "stop"]),
        streamed=st.booleans(),
        prompt_tokens=st.none() | st.integers(0, 9999),
        total_s=st.floats(0, 100),
        ttft_s=st.none() | st.floats(0, 10),
        tool_calls=st.lists(st.builds(ToolCall, name=st.just("f"), arguments=texts), max_size=2).map(tuple),
        answers=st.integers(0, 5),
    )
)
def test_any_exchange_survives_its_line(told: Exchange) -> None:
    """Whatever its bodies cannot hold, the line holds beside them."""
    got, _ = read(json.dumps(line(told)).encode(), "w", 1, REDACTOR, "home")
    expected = REDACTOR.exchange(told)
    assert got == replace(expected, id=told.id)


def test_a_line_is_what_openais_tools_expect(store: Store) -> None:
    """Request and response are chat bodies; user is the hash; grades stand beside; nothing odd is added."""
    found = json.loads(next(lines(store, Choice())))
    assert found["timestamp"] == "2026-11-01T12:00:01+00:00"
    assert found["request"] == {
        "model": "home",
        "messages": [
            {"role": "system", "content": "You keep a house."},
            {"role": "user", "content": "turn on lamp 1"},
        ],
        "tools": [{"type": "function", "function": {"name": "light"}}],
        "stream": True,
    }
    message = {"role": "assistant", "content": "light.on(1)", "reasoning_content": "it is dark"}
    assert found["response"]["choices"] == [{"index": 0, "message": message, "finish_reason": "stop"}]
    assert (found["alias"], found["version"], found["user"]) == ("home", "home-v1", REDACTOR.hash("ada"))
    assert [(g["source"], g["truth"], g["correction"]) for g in found["grades"]] == [
        ("judge", False, None),
        ("ada", True, "light.off"),
    ]
    assert found["trimtab"] == {"redacted": True}
    called_too = json.loads(list(lines(store, Choice()))[2])["response"]["choices"][0]["message"]
    assert called_too["content"] == "so be it"
    assert called_too["tool_calls"][0]["function"] == {"name": "light", "arguments": '{"lamp":1}'}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), [1, 2, 3, 4, 5, 12, 14, 11]),
        (ALL, [*range(1, 11), 12, 13, 14, 15, 11]),
        (Choice(labelled=True), [1]),
        (Choice(version="home-v2"), []),
        (Choice(since=START + timedelta(seconds=3), until=START + timedelta(seconds=5)), [3, 4]),
    ],
)
def test_what_is_chosen_is_exported(
    store: Store, choice: Choice, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole exchanges with text by default; every choice narrows; pages of any size give the same."""
    at = {e.id: e.seq for e in KINDS}
    monkeypatch.setattr("agent.app.archive.PAGE_ROWS", 3)
    assert [at[json.loads(text)["id"]] for text in lines(store, choice)] == expected


def imported(other: Store, tmp_path: Path, *rows: Any) -> tuple[Any, list[Exchange]]:
    """The report and the exchanges of a file with these lines."""
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    report = restore(other, [file], Redactor(), "home")
    return report, [e for _, e in other.exchanges_after(0, 100)]


def test_the_short_form_passes_the_choke_point(other: Store, tmp_path: Path) -> None:
    """Texts are redacted and names hashed as with live traffic; a line without a version is nobody's answer."""
    said = {"prompt": "mail ada@example.com", "response": "sent to ada@example.com", "user": "ada"}
    report, (found, second) = imported(
        other, tmp_path, {**said, "timestamp": "2026-01-31T12:00:00Z"}, {**said, "version": "home-v1"}
    )
    assert report.stored == 2
    assert "ada@" not in repr(found)
    assert (found.prompt, found.answer) == ("mail [EMAIL]", "sent to [EMAIL]")
    assert (found.user, found.alias, found.version) == (REDACTOR.hash("ada"), "home", "home")
    assert (found.worker, found.seq) == (second.worker, 1)
    assert found.id.startswith("line-")
    assert found.worker.startswith("import-")
    assert (second.seq, second.version) == (2, "home-v1")
    assert found.started_at.isoformat() == "2026-01-31T12:00:00+00:00"
    assert (
        imported(other, tmp_path, {**said, "timestamp": "2026-01-31T12:00:00Z"}, {**said, "version": "home-v1"})[
            0
        ].known
        == 2
    )


def test_only_an_exports_own_hashes_are_believed(other: Store, tmp_path: Path) -> None:
    """A name that looks like a hash is hashed all the same; an export's mark spares hashes, and nothing else."""
    said, name = {"prompt": "p", "response": "r"}, "0" * 32
    mark = {"trimtab": {"redacted": True}}
    _, (plain, marked, forged) = imported(
        other, tmp_path, {**said, "user": name}, {**said, "user": name, **mark}, {**said, "user": "ada", **mark}
    )
    assert plain.user == REDACTOR.hash(name)
    assert marked.user == name
    assert forged.user == REDACTOR.hash("ada")
    told: dict[str, Any] = {
        "prompt": "p",
        "response": "r",
        "trimtab": {"redacted": True, "answer": "mail bob@example.com"},
    }
    told["grades"] = [
        {"source": "ada", "score": 1, "truth": True, "at": "2026-01-31T12:00:00Z", "correction": "b@x.org"}
    ]
    _, found = imported(other, tmp_path, told)
    assert found[-1].answer == "mail [EMAIL]"
    assert other.graded(0)[0][2][0].correction == "[EMAIL]"


CARD = "4111 1111 1111 1111"
GONE = {"id": "r1", "request": {"messages": []}, "response": {"choices": []}}
LABEL = {"source": "ada", "score": 1, "truth": True, "at": "2026-01-31T12:00:00Z"}


def test_a_file_is_believed_nothing(other: Store, tmp_path: Path) -> None:
    """Its mark spares no id, no label of a feature, and no reason why a text is gone."""
    told = {"numbers": {"answer_chars": 3, "ada@example.com": 1}, "labels": {"template": CARD, CARD: "x"}}
    own = {"redacted": True, "text_gone": "thinned", "features": {"exchange_id": "x", **told}}
    hidden = {**GONE, "trimtab": {**own, "answer": "secret"}}
    report, found = imported(
        other, tmp_path,
        {**GONE, "id": CARD, "trimtab": own}, hidden, {**GONE, "id": "r2", "trimtab": {**own, "text_gone": CARD}},
        {"id": "r3", "prompt": "p", "response": "r", "trimtab": {"features": own["features"]}},
    )  # fmt: skip
    assert [(one.features and dict(one.features.numbers)) for one in found] == [{"answer_chars": 3.0}] * 2 + [None]
    assert CARD not in repr(found)
    assert "secret" not in repr(found)
    assert "ada@" not in repr(found)
    assert (found[0].id, found[2].has_text) == (f"hashed-{REDACTOR.hash(CARD)}", True)
    assert [why.partition(" must")[0] for _, why in report.bad] == ["text_gone"]


def test_without_texts_nothing_that_anybody_wrote_is_imported(other: Store, tmp_path: Path) -> None:
    """capture.text none: no correction, no label out of the file; a text is measured here and dropped."""
    told = {"exchange_id": "x", "numbers": {"answer_chars": 900.0}, "labels": {"template": "mine"}}
    rows = [
        {"id": "r1", "prompt": "lights", "response": "on", "grades": [{**LABEL, "correction": "off"}],
         "trimtab": {"features": told}},
        {**GONE, "id": "r2", "trimtab": {"text_gone": "thinned", "features": told}},
    ]  # fmt: skip
    file = tmp_path / "in.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    restore(other, [file], Redactor(measure=features), "home", texts=False)
    measured, gone = (one for _, one in other.exchanges_after(0, 9))
    assert (measured.answer, measured.text_gone) == ("", "off")
    assert measured.features is not None
    assert measured.features.numbers["answer_chars"] == 2
    assert (gone.features and (gone.features.numbers, gone.features.labels)) == ({"answer_chars": 900.0}, {})
    (grade,) = other.graded(0)[0][2]
    assert (grade.score, grade.correction) == (1.0, None)


def test_a_line_is_the_same_in_a_file_that_has_grown(other: Store, tmp_path: Path) -> None:
    """Lines without an id are known again in a longer file and in gzip; said twice in one file, they are two."""
    line_ = b'{"prompt": "lights", "response": "on"}\n'
    file, longer, zipped = (tmp_path / name for name in ("a.jsonl", "b.jsonl", "a.gz"))
    file.write_bytes(line_ * 2)
    longer.write_bytes(line_ * 2 + b'{"prompt": "lights", "response": "off"}')
    zipped.write_bytes(gzip.compress(line_ * 2))
    counted = [restore(other, [one], Redactor(), "home") for one in (file, longer, zipped)]
    assert [(report.stored, report.known) for report in counted] == [(2, 0), (1, 2), (0, 2)]


def test_labels_that_came_later_are_taken(other: Store, tmp_path: Path) -> None:
    """A line that is stored already still brings the grades that the store lacks."""
    said = {"id": "r1", "prompt": "p", "response": "r"}
    assert imported(other, tmp_path, said)[0].grades == 0
    assert imported(other, tmp_path, {**said, "grades": [LABEL]})[0].grades == 1
    assert imported(other, tmp_path, {**said, "grades": [LABEL, {**LABEL, "source": "bob"}]})[0].grades == 1
    assert len(other.graded(0)[0][2]) == 2


def test_two_imports_at_once_store_each_id_once(tmp_path: Path) -> None:
    """What one process stores while another looks is seen by the other: an id names one exchange."""
    stores = [Store.at(tmp_path / "home") for _ in range(4)]
    files = []
    for n, _ in enumerate(stores):
        files.append(tmp_path / f"{n}.jsonl")
        rows = [{"id": f"r{k}", "prompt": "p", "response": f"r{n}"} for k in range(300)]
        files[-1].write_text("\n".join(map(json.dumps, rows)))
    with ThreadPoolExecutor(4) as pool:
        reports = list(
            pool.map(lambda one: restore(one[0], [one[1]], Redactor(), "home"), zip(stores, files, strict=True))
        )
    assert sum(report.stored for report in reports) == stores[0].last_rowid() == 300
    for one in stores:
        one.close()


HUGE = 10**24


@pytest.mark.parametrize(
    "odd",
    [
        {"trimtab": {"total_s": float("nan")}},
        {"trimtab": {"ttft_s": float("inf")}},
        {"trimtab": {"started_at": "2026-01-31T12:00:00"}},
        {"trimtab": {"started_at": "0001-01-01T00:00:00+14:00"}},
        {"trimtab": {"started_at": "9999-01-01T00:00:00Z"}},
        {"trimtab": {"prompt_tokens": HUGE}},
        {"trimtab": {"prompt_tokens": -5}},
        {"trimtab": {"answers": HUGE}},
        {"trimtab": {"status": 7}},
        {"trimtab": {"logprob_mean": float("nan")}},
        {"timestamp": "9999-01-01T00:00:00Z"},
        {"grades": [{**LABEL, "score": float("nan")}]},
        {"grades": [{**LABEL, "score": 2}]},
        {"grades": [{**LABEL, "cost_tokens": HUGE}]},
        {"grades": [{**LABEL, "at": "9999-01-01T00:00:00Z"}]},
        {"grades": [{**LABEL, "at": "2026-01-31T12:00:00"}]},
        {"status": 0},
    ],
)
def test_a_number_that_means_nothing_is_a_bad_line(odd: dict[str, Any], other: Store, tmp_path: Path) -> None:
    """One sentence, nothing of that line is stored, and the next line is taken."""
    good = {"prompt": "p", "response": "r"}
    report, found = imported(other, tmp_path, {**good, "id": "odd", **odd}, {**good, "id": "\ud800 good"})
    assert (report.n_bad, len(found), report.grades) == (1, 1, 0)
    assert found[0].id.startswith("hashed-")
    assert "\n" not in report.bad[0][1]


def test_bad_lines_are_told_by_number_and_harm_no_other(other: Store, tmp_path: Path) -> None:
    """One sentence each; the good lines beside them are stored under their own numbers."""
    good = {"prompt": "p", "response": "r"}
    report, found = imported(
        other,
        tmp_path,
        "{",
        good,
        "[1]",
        {"prompt": "p"},
        "",
        {**good, "timestamp": "yesterday"},
        {**good, "trimtab": {"status": "many"}},
        {**good, "grades": [{"source": "ada"}]},
        {"request": {"messages": []}, "response": {"choices": []}},
        good,
    )
    assert [e.seq for e in found] == [2, 10]
    assert report.n_bad == 7
    assert [where.rpartition(" ")[2] for where, _ in report.bad] == ["1", "3", "4", "6", "7", "8", "9"]
    assert all(why and "\n" not in why for _, why in report.bad)


def test_a_broken_gzip_says_where(other: Store, tmp_path: Path) -> None:
    """What came before the break is stored; the sentence names file and line."""
    file = tmp_path / "in.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"prompt": "p", "response": "r"}\n' * 3)[:-9])
    with pytest.raises(InvalidInput, match=r"in\.jsonl\.gz, after line \d"):
        restore(other, [file], Redactor(), "home")


def run(*argv: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command; a fault is shown as the script shows it."""
    ran = CliRunner().invoke(app, list(argv))
    code = 2 if isinstance(ran.exception, InvalidInput) else ran.exit_code
    return code, ran.stdout, f"{ran.stderr}{ran.exception if code == 2 else ''}"


def test_the_commands(store: Store, tmp_path: Path) -> None:
    """A gzip file goes out and comes in through the two commands; what cannot be done is one sentence and exit 2."""
    chosen = {name: tmp_path / f"{name}.yaml" for name in ("home", "other", "nobody")}
    for name, file in chosen.items():
        file.write_text(f"home: {tmp_path / name}\ncapture: {{keep_days: 5}}\n")
    out = tmp_path / "out.jsonl.gz"
    code, _, err = run("export", "--settings", str(chosen["home"]), "--all", "--out", str(out))
    assert (code, err.strip()) == (0, f"{len(KINDS)} exchanges exported")
    code, said, _ = run("import", str(out), "--settings", str(chosen["other"]))
    assert (code, said.splitlines()[0]) == (0, f"{len(KINDS)} stored, 0 there already, 0 bad, 2 grades")
    assert run("export", "-s", str(chosen["other"]), "--all")[1] == gzip.decompress(out.read_bytes()).decode()
    assert run("export", "-s", str(chosen["nobody"]))[0] == 2
    assert run("export", "-s", str(chosen["home"]), "--since", "soon")[0] == 2
    assert run("import", str(tmp_path / "none"), "-s", str(chosen["other"]))[0] == 2
    for out_ in (".", "/", "", str(tmp_path), "a\0b", str(tmp_path / "no" / "folder")):
        code, _, err = run("export", "-s", str(chosen["home"]), "--out", out_)
        assert (code, "Traceback" in err) == (2, False), out_
    full = tmp_path / "full.yaml"
    full.write_text(f"home: {tmp_path / 'other'}\ncapture: {{min_free_mb: 1000000000}}\n")
    code, _, err = run("import", str(out), "-s", str(full))
    assert (code, "capture.min_free_mb" in err) == (2, True)
    bad = tmp_path / "bad.jsonl"
    bad.write_text("nothing\nhere\n")
    code, said, err = run("import", str(bad), "-s", str(chosen["other"]))
    assert (code, len(said.splitlines())) == (2, 2)
    assert "no line was good" in err


def test_a_database_that_fails_is_one_sentence(store: Store, tmp_path: Path) -> None:
    """Export and report change nothing, so they need no room; what SQLite says comes without a row's values."""
    chosen = tmp_path / "home.yaml"
    chosen.write_text(f"home: {tmp_path / 'home'}\n")
    reading = Store.reading(tmp_path / "home")
    assert len(list(lines(reading, ALL))) == len(KINDS)
    with pytest.raises(OperationalError, match="readonly"):
        reading.record("disk", "a secret text", START)
    reading.close()
    with store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE exchange RENAME TO gone")
    file = tmp_path / "in.jsonl"
    file.write_text('{"prompt": "a secret text", "response": "r"}')
    with store.engine.begin() as connection:
        connection.exec_driver_sql("CREATE VIEW exchange AS SELECT * FROM gone")
    for argv in (["import", str(file)], ["export", "--version", "a secret text"]):
        code, _, err = run(*argv, "-s", str(chosen))
        assert (code, "secret" in err, "\n" in err.strip()) == (2 if argv[0] == "import" else 0, False, False)


def test_a_full_stdout_is_one_sentence(store: Store, tmp_path: Path) -> None:
    """Exit 2 and one line on stderr, without a traceback at the interpreter's end."""
    chosen = tmp_path / "home.yaml"
    chosen.write_text(f"home: {tmp_path / 'home'}\n")
    store.close()
    with Path("/dev/full").open("w") as full:
        argv = [sys.executable, "-m", "agent.cli", "export", "-s", str(chosen)]
        ran = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ran.returncode, len(ran.stderr.splitlines())) == (2, 1), ran.stderr
