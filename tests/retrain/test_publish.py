"""Publishing: the object store, then one transaction; what dies between is completed, what fails enters nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.store import Store, artifacts, convert, shelf
from agent.store.objects import Folder, objects_at
from agent.types import Check, InvalidInput, RemoteFault, Verdict, VerdictKind
from retrain import publish, run
from retrain.model_card import model_card
from retrain.order import Order, parse
from serving.errors import TrimtabError

ROWS = [{"prompt": f"close cover number {n}", "answer": f"close {n}"} for n in range(12)]
RECIPE = {"r": 4, "alpha": 8, "lr": 0.01, "steps": 1, "batch": 2, "max_length": 200}
CHECK = Check(name="fresh", passed=True, estimate=0.1, low=0.02, high=0.2, bound=0.02, n=60, says="better")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give an empty store."""
    made = Store.at(tmp_path)
    yield made
    made.close()


def order_of(base: Path, store: Store, home: Path, objects: str, **changes: Any) -> Order:
    """An order without a contest, whose adapter goes into an object store."""
    replay = home / "replay.jsonl"
    replay.write_text("\n".join(json.dumps(row) for row in ROWS))
    return parse(
        {
            "id": "o1", "reason": "a first version", "alias": "home", "challenger": "home-v1", "store": store.url,
            "home": str(home), "base_model": {"path": str(base), "licence": "apache-2.0"}, "recipe": RECIPE,
            "data": {"replay": str(replay)}, "objects": {"url": objects}, **changes,
        }
    )  # fmt: skip


def work_off(order: Order, store: Store) -> list[str]:
    """Run an order; what it said."""
    said: list[str] = []
    run.run(order, store, say=said.append)
    return said


def test_an_order_is_published_to_the_object_store_and_completed_from_it(
    tiny_model: Path, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that is away fails the order and enters nothing; a job that died late is completed on another machine."""
    url = (tmp_path / "objects").as_uri()
    order, objects = order_of(tiny_model, store, tmp_path, url), objects_at(url)

    def away(*_: object) -> str:
        raise RemoteFault(f"object store {url} does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(shelf, "put", away)
        with pytest.raises(RemoteFault):
            work_off(order, store)
    row = store.order("o1")
    assert (row.status, row.error) == ("failed", f"object store {url} does not answer")
    assert (store.adapters(), objects.names("adapters/")) == ([], [])

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as late:
        late.setattr(publish, "_enter", killed)
        with pytest.raises(KeyboardInterrupt):
            assert "train     done already" in work_off(order, store)
    assert (store.adapters(), store.order("o1").status) == ([], "running")
    shutil.rmtree(tmp_path / "orders")
    shutil.rmtree(tmp_path / "adapters")
    said = work_off(order, store)
    assert any("got as far as the object store" in line for line in said)
    assert not any("train " in line for line in said)
    version = store.adapters()[0]
    assert (version.status, store.order("o1").status) == ("accepted", "done")
    assert (
        artifacts.verify(Path(version.path)) == version.digest == (shelf.published(objects, "home-v1") or {})["digest"]
    )
    assert [(order, "users" in json.loads(data)) for order, data in shelf.people(objects)] == [("o1", True)]
    card = (Path(version.path) / publish.CARD).read_text()
    assert version.base_digest in card
    assert artifacts.tokenizer_digest(tiny_model) in card
    assert yaml.safe_load(card.split("---")[1])["license"] == "apache-2.0"
    assert sorted(path.suffix for path in Path(version.path).iterdir()) == [
        ".json", ".json", ".json", ".md", ".safetensors"
    ]  # fmt: skip

    other = order_of(tiny_model, store, tmp_path, url, id="o2")
    with pytest.raises(InvalidInput, match="already belongs to order o1"):
        work_off(other, store)
    assert store.order("o2").status == "failed"


def test_a_version_says_how_it_was_proved() -> None:
    """The card holds every check with its interval, the data's counts, the recipe, and only what the facts say."""
    verdict = convert.verdict_json(Verdict(kind=VerdictKind.ACCEPTED, checks=(CHECK,)))
    facts: dict[str, Any] = {
        "name": "home-v2", "alias": "home", "order": "o1", "reason": "quality fell | much", "parent": "home-v1",
        "base_model": "tiny", "base_digest": "b" * 64, "tokenizer_digest": "c" * 64, "licence": None,
        "recipe": {"r": 4}, "train_only": None, "created_at": "2026-01-01", "verdict": verdict,
        "data": {"counts": {"train": 300}, "sources": {"replay": 100}, "left_out": {"duplicates": 7}},
        "metrics": {"challenger": {"fresh": {"exact_match": 0.91}}},
    }  # fmt: skip
    card = model_card(facts)
    for line in (
        "| fresh | +0.1000 | [+0.0200, +0.2000] | 60 | holds |", "| train | 300 |", "| left out: duplicates | 7 |",
        "| challenger | fresh | exact_match | 0.91 |", "Verdict: accepted.", "a successor of `home-v1`", '"r": 4',
    ):  # fmt: skip
        assert line in card
    assert yaml.safe_load(card.split("---")[1])["license"] == "unknown"


def test_an_object_store_that_cannot_be_reached_is_one_sentence(tiny_model: Path, store: Store, tmp_path: Path) -> None:
    """Found before anything is trained: nothing is entered, and the sentence says what to do."""
    (tmp_path / "file").write_text("no folder")
    order = order_of(tiny_model, store, tmp_path, (tmp_path / "file").as_uri())
    with pytest.raises(InvalidInput, match="give this user a folder that it may write"):
        work_off(order, store)
    assert (store.adapters(), (tmp_path / "adapters").exists()) == ([], False)


def test_a_start_that_nobody_can_read_is_one_sentence(
    tiny_model: Path, tiny_adapters: list[Path], store: Store, tmp_path: Path
) -> None:
    """Weights that are no safetensors fail the order with the reason."""
    start = tmp_path / "start"
    shutil.copytree(tiny_adapters[0], start)
    (start / artifacts.MANIFEST).unlink(missing_ok=True)
    (start / artifacts.WEIGHTS).write_bytes(b"no weights at all")
    digest = artifacts.seal(start, {})
    champion = {"name": "home-v0", "path": str(start), "digest": digest}
    order = order_of(tiny_model, store, tmp_path, (tmp_path / "objects").as_uri(), champion=champion)
    with pytest.raises(TrimtabError, match="start cannot be started from: Error while deserializing"):
        work_off(order, store)
    assert (store.order("o1").status, store.adapters()) == ("failed", [])
    assert "cannot be started from" in str(store.order("o1").error)
    assert Folder(tmp_path / "objects").names("adapters/") == []
