"""Reference profiles come from a training set, from traffic, or from a file; anything else is one sentence."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.app.references import read_pairs
from agent.profile.profiler import Profiler
from agent.profile.reading import read_view
from agent.profile.reference import TEXT_FEATURES, profile_of_file, profile_of_traffic
from agent.store import Store
from agent.types import Exchange, InvalidInput, Message, Outcome

START = datetime(2026, 1, 1, tzinfo=UTC)
PAIRS = [{"prompt": f"turn on lamp {n}", "answer": "light on"} for n in range(5)]


def lines(path: Path, items: list[object]) -> Path:
    """A file of JSON lines."""
    path.write_text("\n".join(json.dumps(item) for item in items) + "\n\n")
    return path


def mean(profile: bytes, name: str) -> float:
    """The mean of a column."""
    found: float = read_view(profile).get_column(name).to_summary_dict()["distribution/mean"]
    return found


def test_every_form_of_a_training_set_is_read(tmp_path: Path) -> None:
    """Names of the answer, conversations and gzip give the same profile, of text columns alone."""
    chats = [
        {"messages": [{"role": "user", "content": p["prompt"]}, {"role": "assistant", "content": p["answer"]}]}
        for p in PAIRS
    ]
    forms = [
        lines(tmp_path / "a.jsonl", [*PAIRS]),
        lines(tmp_path / "b.jsonl", [{"prompt": p["prompt"], "response": p["answer"]} for p in PAIRS]),
        lines(tmp_path / "c.jsonl", [*chats]),
        tmp_path / "d.jsonl.gz",
    ]
    forms[3].write_bytes(gzip.compress(forms[0].read_bytes()))
    for form in forms:
        profile, rows = profile_of_file(form, read_pairs)
        assert (rows, mean(profile, "prompt_chars"), mean(profile, "answer_words")) == (5, 14, 2)
        assert set(read_view(profile).get_columns()) == {feature.name for feature in TEXT_FEATURES}


def test_a_profile_file_is_taken_as_it_is(tmp_path: Path) -> None:
    """What was written before is read back, with its number of rows."""
    made, _ = profile_of_file(lines(tmp_path / "a.jsonl", [*PAIRS]), read_pairs)
    (tmp_path / "ref.bin").write_bytes(made)
    assert profile_of_file(tmp_path / "ref.bin", read_pairs) == (made, 5)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no rows"),
        (b'{"prompt": "x"}', "line 1: .response. must be a text"),
        (b'{"prompt": "x", "answer": 3}', "line 1"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "line 1"),
        (b'{"messages": []}', "line 1"),
        (b"[1]", "line 1"),
        (b'{"prompt": "x", "answer": "y"}\nnot json', "line 2"),
        (b"\xff\xfe", "line 1: not JSON"),
        (b"\x1f\x8bxx", "gzip stream is broken"),
        (b"WHY2\x00\x00", "version 2"),
        (Profiler().serialize()[:200], "damaged"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    """Files that are neither name themselves, the line, and what to give instead."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=says) as found:
        profile_of_file(path, read_pairs)
    assert "\n" not in str(found.value)
    assert str(path) in str(found.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A path without a file is the caller's fault."""
    with pytest.raises(InvalidInput, match="cannot be read"):
        profile_of_file(tmp_path / "none.jsonl", read_pairs)


def test_a_stretch_of_traffic_is_a_reference(tmp_path: Path) -> None:
    """Of stored exchanges exactly those of the alias, the version and the span are profiled."""
    store = Store.at(tmp_path)

    def exchange(n: int, version: str) -> Exchange:
        return Exchange(
            id=str(n), worker="w", seq=n, started_at=START + timedelta(minutes=n), path="/v1/chat/completions",
            alias="home", version=version, status=200, outcome=Outcome.COMPLETE,
            messages=(Message(role="user", text="x" * n),), answer="y",
        )  # fmt: skip

    store.add_exchanges([exchange(n, "v1" if n % 2 else "v2") for n in range(1, 21)])
    since, until = START + timedelta(minutes=5), START + timedelta(minutes=15)
    profile, rows = profile_of_traffic(store, alias="home", version="v1", since=since, until=until)
    assert (rows, mean(profile, "prompt_chars")) == (5, 9)
    assert profile_of_traffic(store, alias="home", version=None, since=since, until=until)[1] == 10
    with pytest.raises(InvalidInput, match="widen the span"):
        profile_of_traffic(store, alias="other", version=None, since=since, until=until)
    store.close()
