"""The table of what can be served, each row tried: trained two steps on the tiny model and given to a real vLLM.

A row is kept when our rule and the engine agree, and when what the engine then computes is what peft computes: an
adapter that loads but is not applied would be worse than one that is refused.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import httpx
import pytest

from retrain.curate.rows import Row
from retrain.recipe import Recipe
from retrain.train import train
from retrain.training.merge import merge
from retrain.training.preflight import unservable
from serving.servable import reason_against
from tests.estate import tiny
from tests.estate.server import Server

pytestmark = pytest.mark.engine

MAX_RANK = 16
PROMPT = "turn on light 3"
TRAINED: dict[str, dict[str, Any]] = {
    "lora": {},
    "lora, q_proj and v_proj": {"targets": ("q_proj", "v_proj")},
    "lora, last block": {"last_layers": 1},
    "rslora": {"method": "rslora"},
    "rank above the limit": {"r": 32},
    "dora": {"method": "dora"},
    "ia3": {"method": "ia3"},
    "prefix": {"method": "prefix"},
    "prompt": {"method": "prompt"},
}
MERGED = "two loras merged"
BUILT: dict[str, dict[str, Any]] = {
    "rank_pattern, alpha_pattern": {"rank_pattern": {"q_proj": 4}, "alpha_pattern": {"v_proj": 3}},
    "modules_to_save": {"modules_to_save": ["lm_head"]},
    "bias all": {"bias": "all"},
    "lora_bias": {"lora_bias": True},
    "pissa": {"init_lora_weights": "pissa"},
    "lm_head": {"target_modules": ["q_proj", "lm_head"]},
    "embed_tokens": {"target_modules": ["q_proj", "embed_tokens"]},
    "trainable tokens": {"trainable_token_indices": [5, 6]},
    "layer_replication": {"layer_replication": [[0, 2], [1, 2]]},
}


def make(name: str, model: Path, folder: Path) -> Path:
    """Make the adapter of a row."""
    if name == MERGED:
        parts = [(tiny.build_adapter(folder.with_name(f"part{seed}"), model, seed), 0.5) for seed in (8, 9)]
        return merge(model, parts, folder)
    if name in BUILT:
        return built(folder, model, BUILT[name])
    rows = [
        Row(id=str(n), messages=(("user", f"turn on light {n}"),), answer=f"on {n}", source="replay", group=str(n))
        for n in range(8)
    ]
    train(rows, model, folder, recipe_of(name))
    return folder


def recipe_of(name: str) -> Recipe:
    """Give the recipe of a row that training can make: two large steps."""
    return Recipe(**{"r": 8, "alpha": 16, "lr": 0.05, "steps": 2, "batch": 8, "max_length": 200, **TRAINED[name]})


def built(folder: Path, model: Path, config: dict[str, Any]) -> Path:
    """Make an adapter that training never makes, by peft itself, with weights that are not zero."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(7)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16)
    whole = {"target_modules": tiny.LORA_MODULES, "r": 8, "lora_alpha": 16, "task_type": "CAUSAL_LM", **config}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # peft says of some that they are odd: so they are
        net = get_peft_model(base, LoraConfig(**whole))
        with torch.no_grad():
            for weight in net.parameters():
                if weight.requires_grad:
                    weight.add_(torch.randn_like(weight) * 0.2)
        net.save_pretrained(folder)
    return folder


def by_peft(model: Path, adapter: Path | None) -> list[float]:
    """Compute the log-probabilities of the prompt's tokens, from the second on."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    net = base if adapter is None else PeftModel.from_pretrained(base, adapter)
    ids = AutoTokenizer.from_pretrained(model)(PROMPT, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        scores = net(input_ids=ids).logits[0, -ids.shape[1] : -1].log_softmax(-1)
    return [float(scores[at, token]) for at, token in enumerate(ids[0, 1:])]


def by_engine(server: Server, name: str) -> list[float]:
    """Ask the engine for the same."""
    body = {"model": name, "prompt": PROMPT, "max_tokens": 1, "echo": True, "logprobs": 0, "temperature": 0}
    reply = httpx.post(f"{server.url}/v1/completions", json=body, timeout=60)
    reply.raise_for_status()
    found = [value for value in reply.json()["choices"][0]["logprobs"]["token_logprobs"] if value is not None]
    return found[:-1]


def loaded(server: Server, name: str, folder: Path) -> str | None:
    """Give the engine an adapter, past our own rules; returns what it says against it."""
    reply = httpx.post(
        f"{server.url}/v1/load_lora_adapter", json={"lora_name": name, "lora_path": str(folder)}, timeout=60,
        headers={"authorization": f"Bearer {server.token}"},
    )  # fmt: skip
    return None if reply.is_success else reply.text


def far(one: list[float], other: list[float]) -> float:
    """Give the largest difference of two lists of the same length."""
    assert len(one) == len(other)
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", [*TRAINED, *BUILT, MERGED])
def test_the_rule_says_what_the_engine_does(vllm_tiny: Server, tiny_model: Path, tmp_path: Path, name: str) -> None:
    """What our rule lets pass loads and computes what peft does; what it refuses, the engine refuses or leaves out."""
    folder = make(name, tiny_model, tmp_path / "a")
    rule = reason_against(json.loads((folder / "adapter_config.json").read_text()), MAX_RANK)
    if name in TRAINED:
        assert (unservable(recipe_of(name), MAX_RANK) is None) == (rule is None)
    served = name.replace(" ", "-").replace(",", "")
    said = loaded(vllm_tiny, served, folder)
    if said is not None:
        assert rule is not None, said
        return
    try:
        trained, bare = by_peft(tiny_model, folder), by_peft(tiny_model, None)
        applied = far(by_engine(vllm_tiny, served), trained) < far(bare, trained) / 4
    finally:
        with vllm_tiny.engine() as engine:
            engine.unload(served)
    assert applied == (rule is None)
    assert applied == (name not in {"lm_head", "embed_tokens"})
