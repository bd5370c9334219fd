"""Curation: split first, then conflicts, duplicates and caps; nothing examined is ever learnt."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.store import Store
from agent.types import Exchange, Grade, Message, Outcome
from retrain.curate import Row, caps, conflicts, curate, duplicates, read_rows, sources, split
from retrain.curate.curate import curate_rows
from retrain.order import parse
from serving.errors import InvalidInput, TrimtabError

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOMS = (
    "kitchen",
    "garage",
    "cellar",
    "library",
    "bathroom",
    "attic",
    "garden",
    "office",
    "hallway",
    "pantry",
)


def row(text: str, answer: str, source: str = "human", **changes: Any) -> Row:
    """Give one row that asks a text."""
    values: dict[str, Any] = {"id": text, "group": text, "user": None, **changes}
    return Row(messages=(("user", text),), answer=answer, source=source, **values)


def exchange(number: int, text: str, answer: str, **changes: Any) -> Exchange:
    """Give one captured exchange."""
    values: dict[str, Any] = {
        "id": f"x{number}", "worker": "w", "seq": number, "started_at": NOW, "path": "/v1/chat/completions",
        "alias": "home", "version": "home-v1", "status": 200, "outcome": Outcome.COMPLETE,
        "messages": (Message(role="system", text="Home"), Message(role="user", text=text)), "answer": answer,
        "user": f"u{number % 12}",
    }  # fmt: skip
    return Exchange(**{**values, **changes})


def test_near_duplicates_with_the_same_answer_are_found() -> None:
    """A plural and a repeated text go; another answer in the same words is a contrast and stays."""
    rows = [
        row("turn on the kitchen light", "on kitchen"),
        row("turn on the kitchen lights", "on kitchen"),
        row("Turn on the kitchen light.", "on kitchen"),
        row("set a timer for 10 minutes", "timer 10"),
        row("set a timer for 15 minutes", "timer 15"),
    ]
    kept, dropped = duplicates.within(rows)
    assert [r.text for r in kept] == [rows[0].text, rows[3].text, rows[4].text]
    assert {one.id for one, _ in dropped} == {rows[1].id, rows[2].id}


def test_short_texts_are_compared_exactly() -> None:
    """A short text repeats only itself, whatever its letters share with another."""
    kept, dropped = duplicates.within([row("stop", "stop"), row("stops", "stop"), row("Stop!", "stop")])
    assert [r.id for r in kept] == ["stop", "stops"]
    assert [one.id for one, _ in dropped] == ["Stop!"]


def test_the_more_trusted_label_wins_and_equals_go() -> None:
    """A person's label beats a labeller's; two people who disagree are both left out."""
    rows = [
        row("open it please", "open", "labeller"),
        row("open it please", "close", "human"),
        row("dim the light now", "dim", "human", id="a"),
        row("dim the light now", "bright", "human", id="b"),
    ]
    kept, dropped = conflicts.settle(rows)
    assert [(r.text, r.answer) for r in kept] == [("open it please", "close")]
    assert len(dropped) == 3


@given(st.lists(st.text(min_size=1, max_size=12), max_size=60), st.floats(0, 0.4), st.floats(0, 0.1))
@settings(deadline=None)
def test_a_larger_holdout_holds_the_smaller_one(texts: list[str], share: float, more: float) -> None:
    """A group that is held out stays held out when the share grows, whatever else is in the data."""
    rows = [row(text, "a") for text in texts]
    small = {r.id for r in split.split(rows, share)[1]}
    large = {r.id for r in split.split(rows, share + more)[1]}
    assert small <= large
    assert not {r.group for r in split.split(rows, share)[0]} & {r.group for r in split.split(rows, share)[1]}


def test_no_user_fills_the_training_set() -> None:
    """A user gives at most a fifth of the rows kept (but 20 at least); rows without a user are kept."""
    rows = [row(f"text {n}", "a", user="loud") for n in range(250)] + [row(f"other {n}", "a") for n in range(100)]
    kept, dropped = caps.by_user(rows, share=0.2, free=20)
    assert sum(r.user == "loud" for r in kept) == 25
    assert len(kept) + len(dropped) == 350


@given(st.lists(st.tuples(st.sampled_from(ROOMS), st.sampled_from(["on", "off", "dim"]), st.booleans()), max_size=80))
@settings(deadline=None, max_examples=30)
def test_what_is_examined_is_never_learnt(items: list[tuple[str, str, bool]]) -> None:
    """No training row repeats a holdout row, exactly or nearly, whatever the mixture of rows."""
    fresh = [row(f"please turn {a} the {r} light", f"{a} {r}", group=f"u{n % 15}") for n, (r, a, _) in enumerate(items)]
    replay = [
        (row(f"turn {a} the light in the {r}", f"{a} {r}", "replay"), "holdout" if held else None)
        for r, a, held in items
    ]
    made = curate_rows(fresh, replay, max_fresh=50, max_replay=50, holdout_rows=20)
    examined = {(r.key, r.answer) for r in [*made.fresh, *made.old]}
    assert not examined & {(r.key, r.answer) for r in made.train}
    assert duplicates.across(made.train, [*made.fresh, *made.old])[1] == []
    assert len(made.fresh) <= 20
    assert len(made.old) <= 20


def test_marked_replay_rows_are_the_old_slice() -> None:
    """Rows marked holdout are examined and no others; without a contest the rest is all learnt."""
    replay = [(row(f"a text of its own {n * 7919}", "a", "replay"), "holdout" if n < 5 else "train") for n in range(20)]
    made = curate_rows([], replay, max_fresh=9, max_replay=99, holdout_rows=99)
    assert {r.id for r in made.old} == {r.id for r, mark in replay if mark == "holdout"}
    assert made.report["old_slice_marked"]
    plain = [(one, None) for one, _ in replay]
    assert curate_rows([], plain, max_fresh=9, max_replay=99, holdout_rows=99, contest=False).old == []
    assert len(curate_rows([], plain, max_fresh=9, max_replay=99, holdout_rows=9).old) > 0


def grade(number: int, score: float, *, truth: bool = True, correction: str | None = None, who: str = "p") -> Grade:
    """Give one opinion on an exchange."""
    return Grade(exchange_id=f"x{number}", source=who, score=score, truth=truth, at=NOW, correction=correction)


@pytest.mark.parametrize(
    ("grades", "label", "why"),
    [
        ([], "lab", "labeller"),
        ([grade(1, 1.0)], "said", "human_confirmed"),
        ([grade(1, 0.0, correction=" right ")], "right", "human_correction"),
        ([grade(1, 0.0)], "lab", "labeller"),
        ([grade(1, 1.0, truth=False)], "lab", "labeller"),
        ([grade(1, 1.0), grade(1, 0.0, correction="right", who="q")], None, "people_disagree"),
    ],
)
def test_people_come_before_the_labeller(grades: list[Grade], label: str | None, why: str) -> None:
    """Corrections first, confirmed answers next, the labeller last; a judge's opinion is no label."""
    assert sources.label_of(exchange(1, "text", "said"), grades, lambda _: "lab") == (label, why)


def test_a_labeller_that_repeats_a_known_wrong_answer_is_not_believed() -> None:
    """An answer that a person called wrong is not learnt because a program says so."""
    assert sources.label_of(exchange(1, "t", "said"), [grade(1, 0.0)], lambda _: "said")[0] is None


def test_an_order_is_curated_from_the_store(tmp_path: Path) -> None:
    """The order's window, alias and labels decide what is learnt, and the report counts the rest."""
    store = Store(f"sqlite:///{tmp_path / 's.db'}")
    texts = [f"turn {a} the {room} light" for room in ROOMS for a in ("on", "off", "dim")]
    made = [exchange(n, text, text.split()[1]) for n, text in enumerate(texts, 1)]
    odd = [exchange(90, "cut", "x", response_cut_bytes=3), exchange(91, "not ours", "x", alias="other")]
    store.add_exchanges([exchange(99, "too early", "x"), *made, *odd])
    store.add_grades([Grade(exchange_id=e.id, source="p", score=1.0, truth=True, at=NOW) for e in made[:20]])
    (tmp_path / "lab.py").write_text("def label(text):\n    return 'dim' if 'dim' in text else None\n")
    replay = tmp_path / "replay.jsonl"
    lines = [{"prompt": f"close cover number {n * 7919}", "answer": "close"} for n in range(30)]
    replay.write_text("\n".join(json.dumps(line) for line in lines))
    document = {
        "id": "o", "reason": "r", "alias": "home", "challenger": "home-v2", "store": store.url,
        "home": str(tmp_path), "engine": {"url": "http://x"}, "base_model": {"path": "m"},
        "data": {"since_rowid": 1, "replay": str(replay), "holdout_rows": 10,
                 "labeller": f"{tmp_path / 'lab.py'}:label"},
    }  # fmt: skip
    order = parse(document)
    result = curate(order, store, order.work)
    counts = result.report["sources"]
    assert counts["seen"] == 31
    assert counts["not_whole"] == 1
    assert counts["human_confirmed"] == 20
    assert counts["labeller"] + counts["unlabelled"] == 10
    assert counts["grouped_by_user"] == 20 + counts["labeller"]
    assert read_rows(order.work / "train.jsonl") == result.train
    assert {m[0] for m in result.fresh[0].messages} == {"system", "user"}
    assert {r.user for r in result.fresh}.isdisjoint({r.user for r in result.train} - {None})
    assert json.loads((order.work / "report.json").read_text()) == result.report
    store.close()


def test_nothing_to_learn_from_is_the_callers_fault(tmp_path: Path) -> None:
    """An order whose window is empty says what is missing."""
    store = Store(f"sqlite:///{tmp_path / 's.db'}")
    document = {
        "id": "o", "reason": "r", "alias": "home", "challenger": "home-v2", "store": store.url,
        "home": str(tmp_path), "engine": {"url": "http://x"}, "base_model": {"path": "m"}, "data": {},
    }  # fmt: skip
    with pytest.raises(InvalidInput, match="its sources hold no row"):
        curate(parse(document), store, tmp_path / "w")
    store.close()


@pytest.mark.parametrize("line", ["[]", "{", '{"answer": "a"}', '{"prompt": "p"}', '{"messages": [1], "answer": "a"}'])
def test_a_broken_row_is_named(tmp_path: Path, line: str) -> None:
    """A line that is no row is refused with its file and number."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "p", "answer": "a"}\n' + line)
    with pytest.raises(InvalidInput, match=r"rows\.jsonl line 2"):
        read_rows(path)


def test_a_labeller_must_exist_and_give_text(tmp_path: Path) -> None:
    """A missing file, a failing call and a wrong type are each one sentence."""
    with pytest.raises(InvalidInput, match="there is no file"):
        sources.load_labeller(f"{tmp_path}/none.py:f")
    (tmp_path / "bad.py").write_text("def number(text):\n    return 1\ndef fails(text):\n    raise KeyError(text)\n")
    number = sources.load_labeller(f"{tmp_path}/bad.py:number")
    fails = sources.load_labeller(f"{tmp_path}/bad.py:fails")
    assert number is not None
    assert fails is not None
    with pytest.raises(InvalidInput, match="gave a int"):
        number("x")
    with pytest.raises(TrimtabError, match="KeyError"):
        fails("x")


def test_a_labeller_may_be_any_module(tmp_path: Path) -> None:
    """Dataclasses under postponed annotations need their module's name; a labeller's file may use them."""
    path = tmp_path / "lab.py"
    path.write_text(
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Rule:\n    word: str\n"
        "def label(text: str) -> str | None:\n    return Rule(word=text).word\n"
    )
    label = sources.load_labeller(f"{path}:label")
    assert label is not None
    assert label("open") == "open"


def test_a_line_separator_in_a_text_is_a_character_like_others(tmp_path: Path) -> None:
    """U+2028 and U+0085 end lines for Python's splitlines, not for JSON lines."""
    path = tmp_path / "rows.jsonl"
    row = {"prompt": "one\u2028two\u0085three", "answer": "x"}
    path.write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert [r.prompt for r in read_rows(path)] == ["one\u2028two\u0085three"]
