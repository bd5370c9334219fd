"""The retraining order that a decision asks for, as the document that `trimtab retrain` reads (pure).

Lives here: which keys an order has, and the naming of versions.
Comes in: a decision, settings, the champion, row numbers. Goes out: a plain JSON object, a name.
Must never know: files, the store, how training works. Paths go into the document as the settings give them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from agent.settings import RetrainSettings, Settings
from agent.types import AdapterVersion, Decision, InvalidInput


def order_document(
    decision: Decision,
    settings: Settings,
    *,
    alias: str,
    order_id: str,
    store_url: str,
    champion: AdapterVersion,
    challenger: str,
    since_rowid: int,
    until_rowid: int,
) -> dict[str, Any]:
    """The order. Fresh exchanges are those with since_rowid < rowid <= until_rowid.

    Raises InvalidInput when the settings do not say where the base model's weights are, or the name is taken.
    """
    retrain = settings.retrain
    if retrain.base_model_path is None:
        raise InvalidInput("retraining needs retrain.base_model_path in the settings: the base model's folder")
    if challenger == champion.name:
        raise InvalidInput(f"challenger {challenger!r} is the champion's own name: every version needs a new one")
    return {
        "id": order_id,
        "reason": "; ".join(decision.reasons),
        "alias": alias,
        "champion": {"name": champion.name, "path": champion.path, "digest": champion.digest},
        "challenger": challenger,
        "store": store_url,
        "home": str(settings.home),
        "objects": None if settings.objects.url is None else settings.objects.model_dump(),
        "engine": {
            "url": retrain.engine_url or settings.engine.url,
            "base_model": settings.engine.base_model,
            "max_lora_rank": settings.engine.max_lora_rank,
        },
        "base_model": {"path": str(retrain.base_model_path)},
        "data": {"since_rowid": since_rowid, "until_rowid": until_rowid, **_data(retrain)},
        "recipe": dict(retrain.recipe),
        "init_from_champion": retrain.init_from_champion,
        "judge": None if settings.quality.judge_model is None else _judge(settings),
        "gate": {"min_gain": retrain.min_gain, "max_loss": retrain.max_loss, "approval": retrain.approval},
        "evaluate": dict(retrain.evaluate),
    }


def _data(retrain: RetrainSettings) -> dict[str, Any]:
    """Which rows beside the fresh ones, and how many; what `retrain.data` in the settings says comes last and wins."""
    return {
        "replay": None if retrain.replay is None else str(retrain.replay),
        "labeller": retrain.labeller,
        "max_fresh_rows": retrain.max_fresh_rows,
        "max_replay_rows": retrain.max_replay_rows,
        "holdout_rows": retrain.holdout_rows,
        "canary": None if retrain.canary is None else str(retrain.canary),
        **retrain.data,
    }


def _judge(settings: Settings) -> dict[str, Any]:
    """The judge as it is set now, and where it answers."""
    quality = settings.quality
    return {
        "url": quality.judge_url or settings.engine.url,
        "model": quality.judge_model,
        "kind": quality.judge_kind,
        "template": quality.judge_template,
        "midpoint": quality.judge_midpoint,
        "slope": quality.judge_slope,
    }


def next_name(alias: str, taken: Collection[str]) -> str:
    """`<alias>-v<n>`, one above the highest number among the names ever used; `-v1` when there is none."""
    numbered = re.compile(rf"{re.escape(alias)}-v(\d+)")
    numbers = [int(found.group(1)) for name in taken if (found := numbered.fullmatch(name))]
    return f"{alias}-v{max(numbers, default=0) + 1}"
