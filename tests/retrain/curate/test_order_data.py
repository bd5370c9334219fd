"""An order's data from every source: what is written, what is told, what is refused."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.store import Store, forgotten
from agent.types import Exchange, Grade, Message, Outcome
from retrain.curate import Row, curate, page, read_rows, sources, teacher, weak
from retrain.curate.compare import compare
from retrain.curate.options import Teacher
from retrain.order import parse
from serving.errors import InvalidInput, RemoteFault

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FUNCTIONS = """
from snorkel.labeling import labeling_function

@labeling_function()
def says_open(x):
    return "open" if "open" in x.text else None

@labeling_function()
def says_close(x):
    return "close" if "close" in x.text else None

@labeling_function()
def believes_the_model(x):
    return x.answer or None
"""


def exchange(number: int, text: str, answer: str, **changes: Any) -> Exchange:
    """Give one captured exchange."""
    values: dict[str, Any] = {
        "id": f"x{number}", "worker": "w", "seq": number, "started_at": NOW, "path": "/v1/chat/completions",
        "alias": "home", "version": "home-v1", "status": 200, "outcome": Outcome.COMPLETE,
        "messages": (Message(role="user", text=text),), "answer": answer, "user": f"u{number % 20}",
    }  # fmt: skip
    return Exchange(**{**values, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give a store with 120 exchanges, the first 60 corrected or confirmed by people."""
    store = Store.at(tmp_path)
    texts = [f"{('open', 'close')[n % 2]} cover {n * 7919}" for n in range(120)]
    store.add_exchanges([exchange(n, text, text.split()[0]) for n, text in enumerate(texts)])
    marks = [
        Grade(exchange_id=f"x{n}", source="p", score=float(n % 3 > 0), truth=True, at=NOW, correction=said)
        for n, said in ((n, None if n % 3 else f"moved {n % 4}") for n in range(60))
    ]
    store.add_grades(marks)
    judged = [Grade(exchange_id=f"x{n}", source="judge", score=n / 120, truth=False, at=NOW) for n in range(60, 120)]
    store.add_grades(judged)
    yield store
    store.close()


def document(store: Store, home: Path, **data: Any) -> dict[str, Any]:
    """Give an order over the store."""
    return {
        "id": "o", "reason": "r", "alias": "home", "challenger": "home-v2", "store": store.url, "home": str(home),
        "engine": {"url": "http://x"}, "base_model": {"path": "m"}, "data": {"holdout_rows": 20, **data},
    }  # fmt: skip


def lines(path: Path, rows: list[Any]) -> str:
    """Write JSON lines; returns the path as text."""
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


def test_every_source_is_learnt_and_told(store: Store, tmp_path: Path) -> None:
    """People's labels, an approving judge, a file of the owner's, replay: each is marked, counted and digested."""
    external = lines(
        tmp_path / "more.jsonl",
        [{"prompt": f"tilt blind {n * 7919}", "answer": "tilt", "user": "ann"} for n in range(9)],
    )
    replay = lines(tmp_path / "old.jsonl", [{"prompt": f"dim lamp {n * 7919}", "answer": "dim"} for n in range(40)])
    order = parse(document(store, tmp_path, external=[external], replay=replay, judge_approved=0.7))
    made = curate(order, store, order.work)
    kinds = {row.source for row in made.train}
    assert kinds == {"human", "feedback", "judge", "external", "replay"}
    judged = [row for row in made.train if row.source == "judge"]
    assert all(0.7 <= row.weight < 1 and row.weak for row in judged)
    assert not {"judge", "external"} & {row.source for row in [*made.fresh, *made.old]}
    manifest = json.loads((order.work / "data.json").read_text())
    assert manifest["users"][forgotten.file_mark("ann")] == 9
    assert "ann" not in (order.work / "train.jsonl").read_text()
    train = manifest["files"]["train.jsonl"]
    assert train == {
        "rows": len(made.train),
        "sha256": hashlib.sha256((order.work / "train.jsonl").read_bytes()).hexdigest(),
    }
    assert set(manifest["inputs"]) == {external, replay}
    assert any("fewer than 1000" in said for said in made.report["warnings"])
    assert read_rows(order.work / "train.jsonl") == made.train


def test_the_forgotten_are_left_out(store: Store, tmp_path: Path) -> None:
    """What a forgotten user said is learnt neither from the store nor from a file."""
    external = lines(
        tmp_path / "more.jsonl",
        [{"prompt": f"tilt {n * 7919}", "answer": "tilt", "user": ("ann", "bob")[n % 2]} for n in range(30)],
    )
    forgotten.forget(store.engine, {"u1", forgotten.file_mark("ann")})
    order = parse(document(store, tmp_path, external=[external]))
    made = curate(order, store, order.work)
    users = {row.user for row in [*made.train, *made.fresh]}
    assert not users & {"u1", forgotten.file_mark("ann")}
    assert forgotten.file_mark("bob") in users
    assert made.report["sources"]["forgotten"] == 15


def test_labelling_functions_label_the_training_side_alone(store: Store, tmp_path: Path) -> None:
    """Snorkel labels rows that nobody labelled; none of them is examined, and what a person called wrong stays out."""
    pytest.importorskip("snorkel")
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    store.add_grades([Grade(exchange_id="x119", source="p", score=0.0, truth=True, at=NOW)])
    order = parse(document(store, tmp_path, labelling_functions=str(tmp_path / "functions.py")))
    made = curate(order, store, order.work)
    weakly = [row for row in made.train if row.source == "weak"]
    assert weakly
    assert all(row.answer == row.prompt.split()[0] and 0.6 <= row.weight <= 1 for row in weakly)
    assert "weak" not in {row.source for row in made.fresh}
    assert "x119" not in {row.id for row in weakly}
    step = next(step for step in made.report["steps"] if step["step"] == "weak labels")
    assert set(step["facts"]) == {"says_open", "says_close", "believes_the_model"}


def test_a_file_without_labelling_functions_is_refused(tmp_path: Path) -> None:
    """No decorated function, and a function that gives a number: one sentence each."""
    pytest.importorskip("snorkel")
    (tmp_path / "none.py").write_text("def plain(x):\n    return 'a'\n")
    with pytest.raises(InvalidInput, match="defines none"):
        weak.load(tmp_path / "none.py")
    (tmp_path / "odd.py").write_text(FUNCTIONS.replace("x.answer or None", "7"))
    row = Row(id="1", messages=(("user", "open it"),), answer="", source="weak", group="g")
    with pytest.raises(InvalidInput, match="text or None"):
        weak.label([row], tmp_path / "odd.py", {})


def teaching(status: int = 200, **choice: Any) -> tuple[httpx.MockTransport, list[str]]:
    """Give a teacher that answers alike, and the list of what it was asked."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content)["messages"][-1]["content"])
        return httpx.Response(status, json={"choices": [{"message": {"content": " done "}, **choice}]})

    return httpx.MockTransport(answer), asked


def test_a_teacher_is_asked_once(tmp_path: Path) -> None:
    """Answers are kept as they come, marked, capped; cut ones are not learnt; a fault is the other side's."""
    how = Teacher(url="http://t", model="big", licence="Apache-2.0", max_rows=3)
    rows = [Row(id=str(n), messages=(("user", f"q{n}"),), answer="", source="weak", group="g") for n in range(5)]
    transport, asked = teaching()
    for _ in range(2):
        made = teacher.answer(rows, how, tmp_path / "kept", transport)
        assert [(row.id, row.answer, row.source) for row in made] == [(str(n), "done", "teacher") for n in range(3)]
    assert asked == ["q0", "q1", "q2"]
    assert teacher.answer(rows, how, tmp_path / "cut", teaching(finish_reason="length")[0]) == []
    with pytest.raises(RemoteFault, match="answered 500"):
        teacher.answer(rows, how, tmp_path / "new", teaching(500)[0])
    with pytest.raises(InvalidInput, match="key_file"):
        teacher.answer(rows, how.model_copy(update={"key_file": tmp_path / "no"}), tmp_path / "new", transport)


@pytest.mark.parametrize(
    ("rows", "data", "says"),
    [
        ([], {}, "its sources hold no row to learn from"),
        ([{"prompt": f"tilt {n * 7919}", "answer": "same"} for n in range(60)], {}, "same answer 'same'"),
        ([{"prompt": f"q {n}", "answer": f"a {n}"} for n in range(5)], {}, "fewer than data.curation.min_rows 8"),
        (
            [{"prompt": f"tilt {n * 7919}", "answer": f"{n}"} for n in range(60)],
            {"curation": {"min_chars": 50}},
            "length and language took 60",
        ),
        (['{"prompt": "a", "answer": "b"}', '{"prompt": "a", '], {}, "line 2"),
        (['{"prompt": "a", "answer": "b", "weight": 7}'], {}, "weight 7"),
    ],
)
def test_bad_data_is_one_sentence(tmp_path: Path, rows: list[Any], data: dict[str, Any], says: str) -> None:
    """Empty, one class, too few, all filtered, malformed: the caller is told what it is, in one line."""
    store = Store.at(tmp_path)
    replay = lines(tmp_path / "rows.jsonl", rows)
    changes = {"data": {"replay": replay, **data}, "engine": None}
    order = parse({**document(store, tmp_path), **changes})
    with pytest.raises(InvalidInput, match=re.escape(says)) as fault:
        curate(order, store, order.work)
    assert "\n" not in str(fault.value)
    assert ("report.json shows which and why: change data.curation" in str(fault.value)) == ("took 60" in says)
    store.close()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and one that is no text are refused by name."""
    (tmp_path / "bytes.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("none.jsonl", "bytes.jsonl"):
        with pytest.raises(InvalidInput, match=rf"{name} cannot be read"):
            sources.rows_of_file(tmp_path / name, prefix="", source="external")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"curation": {"test_shares": 0.1}}, "unknown key"),
        ({"curation": {"source_shares": {"judge": 2}}}, "source_shares.judge"),
        ({"teacher": {"url": "http://t", "model": "m"}}, "licence"),
    ],
)
def test_options_are_checked_with_the_order(tmp_path: Path, data: dict[str, Any], says: str) -> None:
    """An unknown option, a share that is none, a teacher without a licence: refused before anything runs."""
    store = Store.at(tmp_path)
    with pytest.raises(InvalidInput, match=says):
        parse(document(store, tmp_path, **data))
    store.close()


def test_the_page_escapes_and_runs_nothing(store: Store, tmp_path: Path) -> None:
    """Texts of traffic are text on the page; it holds no script and fetches nothing."""
    bad = '<script>alert("x")</script><img src=http://e.vil/>'
    replay = lines(
        tmp_path / "old.jsonl",
        [{"prompt": f"{bad} {n // 2}", "answer": f"{bad} {n % 2}"} for n in range(20)]
        + [{"prompt": f"dim lamp {n * 7919}", "answer": f"{bad} {n % 3}"} for n in range(40)],
    )
    order = parse(document(store, tmp_path, replay=replay))
    made = curate(order, store, order.work)
    text = (order.work / "data.html").read_text()
    assert text == page.render(made.report)
    assert "&lt;script&gt;" in text
    assert not re.search(r"<(script|img|link|iframe)|\bon\w+=|(?<!xmlns=\")http://e", re.sub(r"&lt;.*?&gt;", "", text))
    assert "default-src &#x27;none&#x27;" in text


def test_live_traffic_is_compared() -> None:
    """Equal sides are close in all respects; another topic and language are far; few rows are not compared."""
    ours = [(f"please dim the lamp in room {n}", "dim") for n in range(0, 160, 2)]
    alike = [(f"please dim the lamp in room {n}", "dim") for n in range(1, 160, 2)]
    other = [(f"wie wird das Wetter morgen in der Stadt und auf dem Land {n}", "weather") for n in range(80)]
    near, far = compare(ours, alike), compare(ours, other)
    assert near["label"]["distance"] == near["language"]["distance"] == 0
    assert near["topic_auc"] < 0.75
    assert far["topic_auc"] > 0.95
    assert far["label"]["distance"] == far["language"]["distance"] == 1
    assert far["length"]["ks"] == 1
    assert "wetter" in far["words"]["live"]
    assert sum(far["length"]["train"]) == pytest.approx(1, abs=0.01)
    assert compare(ours[:10], other) == {}
