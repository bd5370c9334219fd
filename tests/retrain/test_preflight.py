"""What is refused before the first step, and what a tracker that is down does: nothing."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from agent.store import Store, artifacts
from retrain import preflight, run, track
from retrain.order import Order, parse
from retrain.recipe import Recipe
from serving.errors import InvalidInput

RECIPE = Recipe(r=4, alpha=8, lr=0.01, steps=1, batch=2, max_length=200)
DISK = namedtuple("DISK", "total used free")  # noqa: PYI024


def document(home: Path, base: Path, **changes: Any) -> dict[str, Any]:
    """Give an order with an engine."""
    return {
        "id": "o1", "reason": "a test", "alias": "home", "challenger": "home-v2",
        "store": f"sqlite:///{home}/trimtab.db",
        "home": str(home), "engine": {"url": "http://127.0.0.1:9", "max_lora_rank": 8}, "data": {},
        "base_model": {"path": str(base)}, "recipe": RECIPE.to_json(), **changes,
    }  # fmt: skip


def ordered(home: Path, base: Path, **changes: Any) -> Order:
    """Give it checked."""
    return parse(document(home, base, **changes))


def silent(_: str) -> None:
    """Nobody listens."""


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"method": "dora"}, "DoRA"),
        ({"method": "prefix"}, "PREFIX_TUNING"),
        ({"method": "prompt"}, "PROMPT_TUNING"),
        ({"method": "ia3"}, "IA3"),
        ({"r": 16}, "rank 16 is above the engine's limit of 8"),
        ({"targets": ["q_proj", "lm_head"]}, "load and not apply"),
    ],
)
def test_what_cannot_be_served_is_refused_or_marked(
    tiny_model: Path, tmp_path: Path, recipe: dict[str, Any], says: str
) -> None:
    """Refused in a sentence that offers serve: false; with it, the order goes on and says what it is good for."""
    with pytest.raises(InvalidInput, match=f"{says}.*serve: false"):
        preflight.check(ordered(tmp_path, tiny_model, recipe={**RECIPE.to_json(), **recipe}), silent)
    order = ordered(tmp_path, tiny_model, recipe={**RECIPE.to_json(), **recipe}, serve=False)
    said: list[str] = []
    preflight.check(order, said.append)
    assert said[0].startswith("not servable here, train only")
    assert order.bootstrap


@pytest.mark.parametrize("recipe", [{}, {"method": "rslora"}, {"targets": ["q_proj", "v_proj"]}, {"last_layers": 1}])
def test_what_can_be_served_passes(tiny_model: Path, tmp_path: Path, recipe: dict[str, Any]) -> None:
    """LoRA in all its plain forms says nothing."""
    preflight.check(ordered(tmp_path, tiny_model, recipe={**RECIPE.to_json(), **recipe}), pytest.fail)


def test_the_wrong_base_is_refused(tiny_model: Path, tiny_adapters: list[Path], tmp_path: Path) -> None:
    """A base whose digest is not the order's, or not the one an adapter was trained on, is one sentence."""
    right = artifacts.base_digest(tiny_model)
    base = {"path": str(tiny_model), "digest": right}
    preflight.check(ordered(tmp_path, tiny_model, base_model=base), pytest.fail)
    with pytest.raises(InvalidInput, match="the order says 000000000000: give the folder"):
        preflight.check(ordered(tmp_path, tiny_model, base_model={**base, "digest": "0" * 64}), silent)
    start = tmp_path / "start"
    shutil.copytree(tiny_adapters[0], start)
    artifacts.seal(start, {"base_digest": "1" * 64})
    champion = {"name": "home-v1", "path": str(start)}
    with pytest.raises(InvalidInput, match="was trained on another base"):
        preflight.check(ordered(tmp_path, tiny_model, champion=champion), silent)
    preflight.check(ordered(tmp_path, tiny_model, champion=champion, init_from_champion=False), pytest.fail)


def test_a_licence_is_held_against_the_use(tiny_model: Path, tmp_path: Path) -> None:
    """Forbidden and unknown licences stop a commercial order; research, a declared licence, and no use go on."""

    def checked(**part: Any) -> list[str]:
        said: list[str] = []
        preflight.check(ordered(tmp_path, base, base_model={"path": str(base), **part}), said.append)
        return said

    base = tmp_path / "base"
    shutil.copytree(tiny_model, base)
    with pytest.raises(InvalidInput, match="licence unknown"):
        checked(use="commercial")
    assert "Apache License 2.0 allows commercial" in checked(use="commercial", licence="Apache-2.0")[0]
    (base / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    with pytest.raises(InvalidInput, match="forbids commercial use"):
        checked(use="commercial")
    assert "allows research use" in checked(use="research")[0]
    assert checked() == []


def test_too_little_room_is_said_before_it_is_missing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that the checkpoints would fill is one sentence with both numbers."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DISK(10**9, 10**9 - 1000, 1000))
    with pytest.raises(InvalidInput, match=r"MB free, and this order needs about .* make room"):
        preflight.check(ordered(tmp_path, tiny_model), silent)


def test_an_order_that_only_trains_is_kept_and_never_served(tiny_model: Path, tmp_path: Path) -> None:
    """serve: false leaves a sealed, marked artifact and a version that no rollout takes, with no engine asked."""
    replay = tmp_path / "replay.jsonl"
    replay.write_text("\n".join(json.dumps({"prompt": f"light {n * 7919}", "answer": f"on {n}"}) for n in range(30)))
    store = Store.at(tmp_path)
    changes = {"serve": False, "data": {"replay": str(replay)}, "recipe": {**RECIPE.to_json(), "method": "dora"}}
    said: list[str] = []
    try:
        assert run.run(ordered(tmp_path, tiny_model, **changes), store, say=said.append) is None
        version = store.adapters("home")[0]
        assert (version.status, version.verdict, store.order("o1").status) == ("rejected", None, "done")
        assert "it uses DoRA" in artifacts.manifest(Path(version.path))["train_only"]
        assert "not servable here, train only" in store.events()[-1].text
    finally:
        store.close()
    assert (tmp_path / "orders" / "o1" / "training.json").exists()
    assert (tmp_path / "orders" / "o1" / "loss.png").exists()
    assert any("expected:" in line for line in said)


class Broken:
    """A tracker's backend that takes one number and then falls over."""

    def __init__(self) -> None:
        self.took = 0

    def log(self, step: int, values: Any) -> None:
        """Take one."""
        self.took += 1
        if self.took > 1:
            raise ConnectionError("the tracker is away")

    def close(self, summary: Any) -> None:
        """Never reached."""
        raise AssertionError(summary)


def test_a_tracker_that_falls_over_is_left_alone() -> None:
    """One warning, no fault, and nothing more is asked of it."""
    broken, said = Broken(), list[str]()
    tracker = track.Tracker(lambda: broken, said.append)
    for step in range(4):
        tracker.log(step, loss=1.0)
    tracker.end(loss=1.0)
    assert broken.took == 2
    assert len(said) == 1
    assert "the tracker is away" in said[0]


@pytest.mark.parametrize("kind", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_a_warning(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """An order that asks for a missing tracker trains on, after one warning."""
    monkeypatch.setitem(__import__("sys").modules, kind, None)
    said: list[str] = []
    with track.tracked(ordered(tmp_path, tiny_model, track={"kind": kind}), said.append) as tracker:
        tracker.log(1, loss=1.0)
    assert len(said) == 1
    assert said[0].startswith("careful: the tracker is left out")
