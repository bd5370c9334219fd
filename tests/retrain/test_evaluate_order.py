"""An order's own words on its contest: a canary, what to measure, whose approval."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.app.approval import approve
from agent.store import Store
from agent.types import VerdictKind
from retrain import run
from retrain.gate import verdict as gate
from retrain.order import parse
from retrain.recipe import Recipe
from serving.errors import InvalidInput
from tests.retrain.fake_engine import TOKEN, FakeEngine

RECIPE = Recipe(r=4, alpha=8, lr=0.01, steps=2, batch=2, max_length=200)


def document(base: Path, home: Path, url: str, **changes: Any) -> dict[str, Any]:
    """Give an order that learns from replay rows alone; its holdout is the old slice."""
    lines = [
        {"prompt": f"close cover number {n * 7919}", "answer": f"close {n}", "split": "holdout" if n < 20 else "train"}
        for n in range(40)
    ]
    (home / "replay.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    return {
        "id": "o1", "reason": "a test", "alias": "home", "challenger": "home-v2", "store": f"sqlite:///{home}/trimtab.db",
        "champion": {"name": "home-v1", "path": str(home)}, "home": str(home), "engine": {"url": url},
        "base_model": {"path": str(base)}, "data": {"replay": str(home / "replay.jsonl"), "holdout_rows": 20},
        "recipe": RECIPE.to_json(), "init_from_champion": False, **changes,
    }  # fmt: skip


def right(_model: str, prompt: str) -> str:
    """Answer right, whoever is asked."""
    return f"close {int(prompt.rsplit(maxsplit=1)[-1]) // 7919}" if "cover" in prompt else "Paris"


def test_canary_and_perplexity_are_in_the_verdict_and_the_figures(tiny_model: Path, tmp_path: Path) -> None:
    """The canary has a line of its own in the verdict; perplexity and figures are in the manifest of what was made."""
    canary = tmp_path / "canary.jsonl"
    canary.write_text(json.dumps({"prompt": "capital of France", "answer": "paris", "match": "contains"}) + "\n")
    store = Store.at(tmp_path)
    with FakeEngine(right) as fake:
        fake.loaded["home-v1"] = "somewhere"
        plan = document(tiny_model, tmp_path, fake.url)
        plan["data"]["canary"] = str(canary)
        verdict = run.run(parse(plan), store, token=TOKEN, say=lambda _: None)
    assert verdict is not None
    assert verdict.kind is VerdictKind.NEEDS_MORE_DATA
    assert {"not worse on canary", "perplexity on old", "answer length"} <= {check.name for check in verdict.checks}
    facts = json.loads((tmp_path / "adapters" / "home-v2" / "manifest.json").read_text())
    assert facts["metrics"]["challenger"]["canary"]["right"] == 1.0
    assert facts["metrics"]["perplexity"]["base"]["old"] == pytest.approx(2.718, abs=0.01)
    store.close()


def test_what_is_accepted_waits_for_a_person(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With approval required an accepted version waits, out of the rollout's sight, until somebody approves it."""
    judged = gate.judge
    monkeypatch.setattr(gate, "judge", lambda *given: replace(judged(*given), kind=VerdictKind.ACCEPTED))
    store = Store.at(tmp_path)
    with FakeEngine(right) as fake:
        fake.loaded["home-v1"] = "somewhere"
        order = parse(document(tiny_model, tmp_path, fake.url, gate={"approval": "required"}))
        run.run(order, store, token=TOKEN, say=lambda _: None)
    assert [version.status for version in store.adapters("home")] == ["waiting"]
    assert "trimtab approve home-v2" in store.events()[-1].text
    approve(store, "home-v2", "ann", store.adapters("home")[0].created_at)
    assert [version.status for version in store.adapters("home")] == ["accepted"]
    store.close()


@pytest.mark.parametrize("text", ['{"prompt": "x"}', "no json", '{"prompt": "x", "answer": "y", "match": "fuzzy"}'])
def test_a_canary_that_cannot_be_read_is_refused_before_training(tiny_model: Path, tmp_path: Path, text: str) -> None:
    """The sentence names the file and the line; nothing was trained."""
    (tmp_path / "canary.jsonl").write_text(text)
    store = Store.at(tmp_path)
    plan = document(tiny_model, tmp_path, "http://127.0.0.1:9")
    plan["data"]["canary"] = str(tmp_path / "canary.jsonl")
    with pytest.raises(InvalidInput, match=r"canary\.jsonl line 1"):
        run.run(parse(plan), store, token=TOKEN, say=lambda _: None)
    assert not (tmp_path / "orders" / "o1" / "adapter").exists()
    assert store.order("o1").status == "failed"
    store.close()
