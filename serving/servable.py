"""Whether an adapter folder is one that the engine can load, read off its files before the engine is asked.

In: a folder and the engine's rank limit. Out: nothing, or `Unservable` with the reason.
Must never know: HTTP, the store. The limits are those of vLLM's PEFT loader (`vllm/lora/peft_helper.py`), and two that
it does not tell of: updates of lm_head and of embed_tokens load without a word and are then not applied, because
`trimtab serve` leaves both out of `--lora-target-modules`. Each rule is tried on a real engine by
tests/retrain/test_servable_methods.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.errors import Unservable

_PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
_UNLOADABLE = {
    "modules_to_save": "saves whole modules (modules_to_save)",
    "use_dora": "uses DoRA",
    "lora_bias": "trains biases",
    "alora_invocation_tokens": "is an activated LoRA",
    "layer_replication": "replicates layers",
    "use_bdlora": "is block-diagonal",
    "use_qalora": "uses QALoRA",
    "trainable_token_indices": "trains single tokens (trainable_token_indices)",
    "target_parameters": "trains bare parameters (target_parameters)",
}
_UNAPPLIED = ("lm_head", "embed_tokens")
"""Modules whose updates the engine loads and then leaves out of its answers: worse than a refusal."""


def reason_against(config: Mapping[str, Any], max_rank: int) -> str | None:
    """Why an adapter with this `adapter_config.json` cannot be served; None when it can. Pure."""
    return _reason_of_kind(config) or _reason_of_rank(config, max_rank)


def _reason_of_kind(config: Mapping[str, Any]) -> str | None:
    if config.get("peft_type") != "LORA":
        return f"its peft_type is {config.get('peft_type')!r}, and only LORA can be served"
    for key, says in _UNLOADABLE.items():
        if config.get(key):
            return f"it {says}, which the engine cannot load"
    if config.get("bias", "none") != "none":
        return "it trains biases, which the engine cannot load"
    init = config.get("init_lora_weights")
    if isinstance(init, str) and init.lower() not in _PLAIN_INITS:
        return f"its init_lora_weights is {init!r}, which changes the base model's weights"
    targets = config.get("target_modules") or ()
    for name in _UNAPPLIED:
        if name in targets or any(str(target).endswith(f".{name}") for target in targets):
            return f"it updates {name}, which the engine would load and not apply"
    return None


def _reason_of_rank(config: Mapping[str, Any], max_rank: int) -> str | None:
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    if not all(isinstance(rank, int) and rank > 0 for rank in ranks):
        return f"its rank is {config.get('r')!r}, not a whole number above 0"
    if max(ranks) > max_rank:
        return f"its rank {max(ranks)} is above the engine's limit of {max_rank} (--max-lora-rank)"
    return None


def check_servable(folder: Path, max_rank: int) -> None:
    """Raises `Unservable` when the folder is no PEFT LoRA that an engine with this rank limit can load."""
    path = folder / "adapter_config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as why:
        raise Unservable(f"{folder} is no adapter: it has no adapter_config.json.") from why
    except (OSError, ValueError) as why:
        raise Unservable(f"{path} cannot be read: {why}.") from why
    if not isinstance(config, dict):
        raise Unservable(f"{path} holds no JSON object.")
    reason = reason_against(config, max_rank)
    if reason:
        raise Unservable(f"The adapter {folder} cannot be served: {reason}.")
    if not (folder / "adapter_model.safetensors").is_file():
        raise Unservable(f"{folder} holds no weights (adapter_model.safetensors); other forms are not read.")
