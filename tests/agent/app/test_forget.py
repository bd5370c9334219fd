"""One person's data goes from the store and from orders' files; the adapters that learnt from it are named."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agent.app.forget import forget
from agent.app.main import redactor_of
from agent.settings import Settings
from agent.store import Store, artifacts, forgotten
from agent.store.objects import Folder
from agent.store.tables import OrderRow
from agent.types import AdapterVersion, Exchange, Grade, InvalidInput, Message, Outcome, RemoteFault

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def exchange(number: int, user: str) -> Exchange:
    """Give one captured exchange."""
    return Exchange(
        id=f"x{number}", worker="w", seq=number, started_at=NOW, path="/v1/chat/completions", alias="home",
        version="home-v1", status=200, outcome=Outcome.COMPLETE, answer="said", user=user, conversation="c",
        messages=(Message(role="user", text=f"text {number} of {user[:4]}"),), prompt_tokens=7,
    )  # fmt: skip


def order_files(home: Path, order: str, rows: list[dict[str, Any]]) -> Path:
    """Write an order's data files as curation does."""
    folder = home / "orders" / order
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "eval.jsonl").write_text("".join(json.dumps({"id": row["id"], "prompt": "p"}) + "\n" for row in rows))
    (folder / "data.json").write_text(json.dumps({"users": {row["user"]: 1 for row in rows}}))
    (folder / "report.json").write_text(json.dumps({"steps": [{"step": "s", "examples": [["their words", "x"]]}]}))
    (folder / "data.html").write_text("their words")
    return folder


def row(number: int, user: str) -> dict[str, Any]:
    """Give one line of a data file."""
    return {
        "id": f"x{number}",
        "messages": [{"role": "user", "content": f"text {number}"}],
        "answer": "a",
        "user": user,
    }


def adapter(home: Path, name: str, order: str | None, parent: str | None, probe: str = "") -> AdapterVersion:
    """Give an adapter version whose folder holds one probe."""
    folder = home / "adapters" / name
    folder.mkdir(parents=True)
    probes = [{"messages": [{"role": "user", "content": probe}], "answer": "a"}]
    (folder / artifacts.PROBES).write_text(json.dumps(probes))
    return AdapterVersion(
        name=name, alias="home", path=str(folder), digest=name, base_digest="b", parent=parent, status="accepted",
        created_at=NOW, order_id=order,
    )  # fmt: skip


def test_one_person_is_forgotten_and_nobody_else(tmp_path: Path) -> None:
    """Texts and corrections go, numbers stay; files lose their rows; adapters are named with the reason."""
    settings = Settings.model_validate({"home": str(tmp_path)})
    ann, bob = (redactor_of(settings).hash(name) for name in ("ann", "bob"))
    store = Store.at(tmp_path)
    store.add_exchanges([exchange(n, (ann, bob)[n % 2]) for n in range(6)])
    store.add_grades(
        [Grade(exchange_id=f"x{n}", source="p", score=0.0, truth=True, at=NOW, correction="c") for n in (0, 1)]
    )
    done = order_files(tmp_path, "o1", [row(0, ann), row(1, bob), row(7, forgotten.file_mark("ann"))])
    busy = order_files(tmp_path, "o2", [row(2, ann)])
    order_files(tmp_path, "o3", [row(3, bob)])
    with store.transaction() as session:
        session.add(OrderRow(id="o2", alias="home", status="running", reason="r", document={}, opened_at=NOW))
    for version in (
        adapter(tmp_path, "home-v1", None, None),
        adapter(tmp_path, "home-v2", "o1", "home-v1"),
        adapter(tmp_path, "home-v3", None, "home-v2"),
        adapter(tmp_path, "home-v4", "o3", "home-v1", "text 0"),
    ):
        store.put_adapter(version)

    said = forget(settings, "ann")

    kept = [e for _, e in store.exchanges_after(0, 99)]
    assert [(e.user, bool(e.messages), e.text_gone) for e in kept] == [
        (None, False, "forgotten"),
        (bob, True, None),
    ] * 3
    assert {e.prompt_tokens for e in kept} == {7}
    assert [marks[0].correction for _, _, marks in store.graded(0)] == [None, "c"]
    assert [json.loads(line)["user"] for line in (done / "train.jsonl").read_text().splitlines()] == [bob]
    assert [json.loads(line)["id"] for line in (done / "eval.jsonl").read_text().splitlines()] == ["x1"]
    assert "their words" not in (done / "report.json").read_text()
    assert not (done / "data.html").exists()
    assert ann in (busy / "train.jsonl").read_text()
    assert (said.exchanges, said.rows, said.orders, said.in_hand) == (3, 2, ["o1"], ["o2"])
    assert dict(said.adapters).keys() == {"home-v2", "home-v3"}
    assert [name for name, _ in said.withdrawn] == ["home-v4"]
    assert json.loads((tmp_path / "adapters" / "home-v4" / artifacts.PROBES).read_text()) == []
    assert not said.unknown
    assert forgotten.marks(store.engine) == {ann, forgotten.file_mark("ann")}
    assert forget(settings, "ann").exchanges == 0
    assert "their rows" in "\n".join(said.lines())
    stranger = "\n".join(forget(settings, "Ann").lines())
    assert "nothing is stored under that name" in stranger
    assert "nothing is stored" not in "\n".join(said.lines())
    store.close()


def test_nobody_and_nowhere_are_refused(tmp_path: Path) -> None:
    """An empty name and a home without traffic are each one sentence."""
    settings = Settings.model_validate({"home": str(tmp_path)})
    with pytest.raises(InvalidInput, match="give the name"):
        forget(settings, " ")
    with pytest.raises(InvalidInput, match="there is no store in"):
        forget(settings, "ann")


def test_an_object_store_that_is_away_says_what_is_done_and_what_not(tmp_path: Path) -> None:
    """The person is left out of training from now on; what tells which words are theirs stays for the next run."""

    class Away(Folder):
        def names(self, _: str) -> list[str]:
            raise RemoteFault("object store s3://b does not answer")

    settings = Settings.model_validate({"home": str(tmp_path), "objects": {"url": "s3://b"}})
    store = Store.at(tmp_path)
    ann = redactor_of(settings).hash("ann")
    store.add_exchanges([exchange(1, ann)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agent.app.forget.objects_of", lambda _: Away(tmp_path / "o"))
        with pytest.raises(RemoteFault, match=r"does not answer; later training leaves .* run this command again"):
            forget(settings, "ann")
    assert ann in forgotten.marks(store.engine)
    assert [bool(e.messages) for _, e in store.exchanges_after(0, 9)] == [True]
    store.close()


def test_a_running_agent_keeps_what_was_said(tmp_path: Path) -> None:
    """Blanking leaves the order of rows, so that no cursor points elsewhere."""
    store = Store.at(tmp_path)
    store.add_exchanges([exchange(n, "u") for n in range(3)])
    before = [rowid for rowid, _ in store.exchanges_after(0, 9)]
    assert forgotten.forget(store.engine, {"u"}) == 3
    assert [rowid for rowid, _ in store.exchanges_after(0, 9)] == before
    assert not any(exchange.profiled for _, exchange in store.exchanges_after(0, 9))
    store.close()
