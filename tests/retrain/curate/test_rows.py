"""Lines of JSON as other tools write them, and rows that nothing but an unseen character fills."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrain.curate.curate import curate_rows
from retrain.curate.options import Curation
from retrain.curate.rows import Row, read_rows
from serving.errors import InvalidInput

ASKED = [{"role": "user", "content": "open it"}]


@pytest.mark.parametrize(
    "line",
    [
        {"prompt": "open it", "completion": "opened"},
        {"messages": [*ASKED, {"role": "assistant", "content": "opened"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "open it"}]}], "answer": "opened"},
    ],
)
def test_other_tools_shapes_are_read(line: dict[str, Any]) -> None:
    """A completion, an assistant's message at the end and a list of text parts are what they say."""
    row = Row.from_json(line)
    assert (row.messages, row.answer) == ((("user", "open it"),), "opened")


def test_an_answer_of_its_own_leaves_the_messages_alone() -> None:
    """With an answer, an assistant's last message belongs to what is asked."""
    row = Row.from_json({"messages": [*ASKED, {"role": "assistant", "content": "which?"}], "answer": "the door"})
    assert (len(row.messages), row.answer) == (2, "the door")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"messages": [{"role": "user", "content": None}], "answer": "a"}, "with a text as each content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}], "answer": "a"}, "with a text as each"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "nothing that is asked"),
        ({"prompt": "cut \ud83d here", "answer": "a"}, "half a character"),
    ],
)
def test_what_no_model_could_learn_is_refused(tmp_path: Path, line: dict[str, Any], says: str) -> None:
    """No content is learnt as the word None, no image as Python's way to write it; the file and line are named."""
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(line))
    with pytest.raises(InvalidInput, match=f"rows.jsonl line 1: .*{says}"):
        read_rows(path)


def test_a_line_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    """As any other line that is none."""
    path = tmp_path / "rows.jsonl"
    path.write_text("[" * 100_000)
    with pytest.raises(InvalidInput, match=r"rows.jsonl line 1: "):
        read_rows(path)


def test_an_answer_of_unseen_characters_is_no_answer() -> None:
    """It is empty once it is normalised, and such a row is not learnt."""
    rows = [
        Row.from_json({"prompt": f"ask {n * 7919}", "answer": "\u200b" if n == 3 else f"a{n}"}, id=str(n))
        for n in range(9)
    ]
    made = curate_rows([], [(row, None) for row in rows], max_fresh=9, max_replay=9, holdout_rows=1, contest=False)
    assert {row.id for row in made.train} == set("01245678")
    assert next(s for s in made.report["steps"] if s["step"] == "length and language")["dropped"] == 1


def test_no_user_fills_the_training_set_from_a_file() -> None:
    """The rows of a file are capped by user as traffic's are: 100 of 160 rows by one become a quarter of the rest."""
    rows = [
        Row.from_json(
            {"prompt": f"ask {n * 7919}", "answer": f"a{n}", "user": "loud" if n < 100 else f"u{n}"}, id=str(n)
        )
        for n in range(160)
    ]
    replay = [(row, None) for row in rows]
    made = curate_rows([], replay, max_fresh=9, max_replay=900, holdout_rows=1, contest=False)
    assert sum(row.user == "loud" for row in made.train) == 20


def _row(number: int, source: str, user: str | None, talk: str | None) -> Row:
    text = f"{number * 7919} {number * 104729} {source}"
    return Row.from_json(
        {"prompt": text, "answer": "abcd"[number % 4], "source": source, "user": user, "conversation": talk},
        id=f"{source}{number}",
    )


@pytest.mark.parametrize("marked", [False, True])
@pytest.mark.parametrize("by", ["hash", "time"])
def test_no_conversation_and_no_user_is_on_two_sides(by: Any, marked: bool) -> None:
    """Also where conversations run through users, files and traffic, and the two holdouts have other shares."""
    fresh = [_row(n, "human", f"u{n % 20}", f"c{n % 90}" if n % 3 else None) for n in range(200)]
    old = [_row(n, "replay", f"u{n % 25}" if n % 4 == 0 else None, f"c{n % 240}") for n in range(300)]
    replay = [(row, "holdout" if marked and n % 10 == 0 else None) for n, row in enumerate(old)]
    quick: Any = {"label_errors": "off", "outliers": "off", "validation_min_rows": 50}
    options = Curation(split_by=by, test_share=0.2, **quick)
    made = curate_rows(fresh, replay, max_fresh=900, max_replay=2000, holdout_rows=50, options=options)
    examined = [*made.fresh, *made.old]
    assert made.validation
    for learnt, seen in ((made.train, examined), (made.validation, examined), (made.train, made.validation)):
        assert not _all(learnt, "conversation") & _all(seen, "conversation")
    if by == "hash":
        assert not _all([*made.train, *made.validation], "user") & _all(made.fresh, "user")
        assert not _all(made.train, "user") & _all(made.validation, "user")


def _all(rows: list[Row], what: str) -> set[str]:
    return {getattr(row, what) for row in rows} - {None}
