"""Whether what a recipe makes can be served, found out before the first step.

In: a recipe, the configuration of the adapter it starts from, the engine's rank limit. Out: nothing, or a reason.
Must never know: torch, peft, the engine itself. The rules are `serving.servable`'s, the same that the engine's client
applies to a finished adapter: here they are asked about the adapter that the recipe would make.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from retrain.recipe import LORAS, Recipe
from serving.errors import InvalidInput
from serving.servable import reason_against

TRAIN_ONLY = "not servable here, train only"


def planned_config(recipe: Recipe, init: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What would stand in the adapter_config.json (pure); an adapter that is started from keeps its own."""
    if init is not None:
        return dict(init)
    if recipe.method not in LORAS:
        kinds = {"prefix": "PREFIX_TUNING", "prompt": "PROMPT_TUNING", "ia3": "IA3"}
        return {"peft_type": kinds[recipe.method]}
    return {
        "peft_type": "LORA",
        "r": recipe.r,
        "lora_alpha": recipe.alpha,
        "target_modules": list(recipe.modules),
        "use_dora": recipe.method == "dora",
        "use_rslora": recipe.method == "rslora",
        "bias": "none",
        "init_lora_weights": True,
    }


def unservable(recipe: Recipe, max_lora_rank: int, init: Mapping[str, Any] | None = None) -> str | None:
    """Why the engine could not load what this recipe makes; None when it could (pure)."""
    return reason_against(planned_config(recipe, init), max_lora_rank)


def refuse_unservable(recipe: Recipe, max_lora_rank: int, init: Mapping[str, Any] | None = None) -> None:
    """Raise InvalidInput, in a sentence that says what to write instead."""
    reason = unservable(recipe, max_lora_rank, init)
    if reason is not None:
        raise InvalidInput(
            f"recipe: the adapter of method {recipe.method} could not be served: {reason}; "
            "write another recipe, or serve: false to train it without serving it"
        )
