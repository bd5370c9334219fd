"""What is exported can be read by anybody, and comes back as it was."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from agent.app.archive import Choice, line, lines
from agent.app.restore import read, restore
from agent.cli import app
from agent.intake.redact import Redactor
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
    convert.without_text(exchange(10), "paused", Features(exchange_id=exchange(10).id, numbers={"n": 1.5}, labels={})),
    exchange(12, streamed=False),
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
        started_at=st.datetimes(min_value=START.replace(tzinfo=None), timezones=st.just(UTC)).filter(
            lambda at: at.year < 9000
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
        (Choice(), [1, 2, 3, 4, 5, 12, 11]),
        (ALL, [*range(1, 11), 12, 11]),
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
    assert (found.user, found.alias, found.version) == (REDACTOR.hash("ada"), "home", "imported")
    assert (found.worker, found.seq, found.id) == (second.worker, 1, f"{found.worker}-1")
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
    assert (code, err.strip()) == (0, "12 exchanges exported")
    code, said, _ = run("import", str(out), "--settings", str(chosen["other"]))
    assert (code, said.splitlines()[0]) == (0, "12 stored, 0 there already, 0 bad, 2 grades")
    assert run("export", "-s", str(chosen["other"]), "--all")[1] == gzip.decompress(out.read_bytes()).decode()
    assert run("export", "-s", str(chosen["nobody"]))[0] == 2
    assert run("export", "-s", str(chosen["home"]), "--since", "soon")[0] == 2
    assert run("import", str(tmp_path / "none"), "-s", str(chosen["other"]))[0] == 2
    bad = tmp_path / "bad.jsonl"
    bad.write_text("nothing\nhere\n")
    code, said, err = run("import", str(bad), "-s", str(chosen["other"]))
    assert (code, len(said.splitlines())) == (2, 2)
    assert "no line was good" in err
