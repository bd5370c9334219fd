"""Orders: what is let in, and the sentence for what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrain import order
from retrain.curate.rows import read_rows
from retrain.recipe import Recipe
from serving.errors import InvalidInput


def document(**changes: Any) -> dict[str, Any]:
    """Give a whole, valid order."""
    return {
        "id": "order-1",
        "reason": "quality fell",
        "alias": "home",
        "champion": {"name": "home-v1", "path": "adapters/home-v1", "digest": "0" * 64},
        "challenger": "home-v2",
        "store": "sqlite:///trimtab.db",
        "home": ".trimtab",
        "engine": {"url": "http://127.0.0.1:8000", "base_model": "base"},
        "base_model": {"path": "model"},
        "data": {"since_rowid": 10, "until_rowid": 300, "replay": "replay.jsonl", "labeller": "l.py:label"},
        "recipe": {"steps": 5, "targets": ["q_proj"]},
        "init_from_champion": True,
        "judge": None,
        "gate": {"min_gain": 0.1, "max_loss": 0.1},
        **changes,
    }


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_yaml_and_json_give_the_same_order(tmp_path: Path, suffix: str) -> None:
    """An order reads the same from YAML and from JSON."""
    path = tmp_path / f"order.{suffix}"
    path.write_text(json.dumps(document()))
    loaded = order.load(path)
    assert loaded.recipe == Recipe(steps=5, targets=("q_proj",))
    assert loaded.digest() == order.parse(document()).digest()
    assert loaded.work == Path(".trimtab/orders/order-1")


def test_another_order_has_another_digest() -> None:
    """Any change of what is ordered changes the digest, the recipe included."""
    plain = order.parse(document()).digest()
    assert order.parse(document(recipe={"steps": 6, "targets": ["q_proj"]})).digest() != plain
    assert order.parse(document(gate={"min_gain": 0.2, "max_loss": 0.1})).digest() != plain


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"colour": 1}, "unknown key 'colour'.*challenger"),
        ({"data": {"sinc_rowid": 1}}, r"unknown key 'data.sinc_rowid'.*since_rowid"),
        ({"champion": {"name": "v1", "path": "p", "x": 1}}, r"unknown key 'champion.x'"),
        ({"recipe": {"rank": 4}}, "unknown key 'rank'.*steps"),
        ({"recipe": {"steps": 0}}, "steps must be at least 1"),
        ({"recipe": {"steps": "many"}}, "recipe"),
        ({"challenger": "../etc"}, "challenger"),
        ({"challenger": "home-v1"}, "own name"),
        ({"engine": {"url": "localhost:8000"}}, "engine.url"),
        ({"engine": None, "data": {}}, "data.replay"),
        ({"data": {"labeller": "nowhere"}}, "data.labeller"),
    ],
)
def test_a_bad_order_is_refused_in_one_sentence(changes: dict[str, Any], says: str) -> None:
    """What is wrong is named, with what may be written instead, on one line."""
    with pytest.raises(InvalidInput, match=says) as caught:
        order.parse(document(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", "a: [", "\x00"])
def test_a_file_that_is_no_order_is_refused(tmp_path: Path, text: str) -> None:
    """An empty, listed or broken file is refused, never half understood."""
    path = tmp_path / "order.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=r"order file .*order\.yaml"):
        order.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is the caller's fault, in one sentence."""
    with pytest.raises(InvalidInput, match="cannot be read"):
        order.load(tmp_path / "none.yaml")


def test_the_general_canary_comes_along() -> None:
    """`canary: general` names the questions that come with the package: enough to prove 5 points on."""
    part = order.DataPart(canary=Path("general"))
    assert part.canary_file is not None
    rows = read_rows(part.canary_file)
    assert len(rows) >= 80
    assert len({row.id for row in rows}) == len({row.text for row in rows}) == len(rows)
    assert {row.match for row in rows} == {"contains", "refusal"}
    assert all(row.answer.casefold() not in row.prompt.casefold() for row in rows if row.match == "contains")
    assert order.DataPart(canary=Path("mine.jsonl")).canary_file == Path("mine.jsonl")
    assert order.DataPart().canary_file is None


def test_a_key_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    """The last of two would win without a word, and the wrong thing be trained."""
    path = tmp_path / "order.yaml"
    path.write_text(json.dumps(document())[:-1] + ', "alias": "other"}')
    with pytest.raises(InvalidInput, match="'alias' stands there twice"):
        order.load(path)
