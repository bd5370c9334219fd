"""A whole order through a real vLLM: what is published repeats, served, what was evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.rollout.act import read_probes
from agent.store import Store, artifacts
from retrain.order import parse
from retrain.recipe import Recipe
from retrain.run import run
from tests.estate.server import Server

pytestmark = pytest.mark.engine


def test_an_order_is_evaluated_where_it_will_be_served(
    vllm_tiny: Server, tiny_model: Path, tiny_adapters: list[Path], tmp_path: Path
) -> None:
    """Champion, challenger and bare model all answer, and the sealed folder, loaded afresh, repeats its probes."""
    store = Store.at(tmp_path)
    replay = tmp_path / "replay.jsonl"
    lines = [
        {"prompt": f"light number {n * 7919}", "answer": f"on {n}", "split": "holdout" if n % 2 else "train"}
        for n in range(24)
    ]
    replay.write_text("\n".join(json.dumps(line) for line in lines))
    recipe = Recipe(r=8, alpha=16, lr=0.02, steps=12, batch=4, max_length=200)
    document = {
        "id": "o1", "reason": "a test", "alias": "home", "challenger": "home-v2", "store": store.url,
        "champion": {"name": "home-v1", "path": str(tiny_adapters[0])}, "home": str(tmp_path),
        "engine": {"url": vllm_tiny.url}, "base_model": {"path": str(tiny_model)},
        "data": {"replay": str(replay), "holdout_rows": 12}, "recipe": recipe.to_json(), "init_from_champion": False,
    }  # fmt: skip
    said: list[str] = []
    with vllm_tiny.engine() as engine:
        engine.load("home-v1", tiny_adapters[0])
        try:
            assert run(parse(document), store, token=vllm_tiny.token, say=said.append) is not None
            version = store.adapters("home")[0]
            record = (tmp_path / "orders" / "o1" / "eval.jsonl").read_text().splitlines()
            answers = [json.loads(line) for line in record]
            assert len(answers) == 3 * 12
            assert {line["model"] for line in answers} == {"home-v1", "home-v2", "base"}
            assert {line["finish"] for line in answers} <= {"stop", "length"}
            assert artifacts.verify(Path(version.path)) == version.digest
            perplexity = artifacts.manifest(Path(version.path))["metrics"]["perplexity"]
            assert 1 <= perplexity["challenger"]["old"] < perplexity["base"]["old"]
            engine.load("home-v2", version.path)
            probes = read_probes(version)
            assert engine.probe("home-v2", [messages for messages, _ in probes]) == [was for _, was in probes]
        finally:
            for name in ("home-v1", "home-v2"):
                engine.unload(name)
            store.close()
    assert any("beats the bare model" in line for line in said)
