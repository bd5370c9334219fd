"""What the demo tells the agent: the settings of one estate at one pace (pure).

In: an estate, a pace, addresses. Out: the tree of trimtab.yaml. Must never know: processes, what happens with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from retrain.demo.estate import Estate
from retrain.demo.story import ALIAS, Pace


def agent_settings(estate: Estate, pace: Pace, home: Path, engine_url: str, agent_url: str) -> dict[str, Any]:
    """The agent's settings file for this estate and pace."""
    tree: dict[str, Any] = {
        "home": str(home),
        "alias": ALIAS,
        "champion": str(estate.champion),
        "reference": str(estate.reference),
        "engine": {"url": engine_url, "base_model": "base", "drain_s": 3.0},
        "http": {"port": int(agent_url.rpartition(":")[2])},
        "drift": {"reference_rows": pace.reference_rows},
        "quality": {
            "judge_model": f"{ALIAS}-judge",
            "judge_path": str(estate.judge),
            "judge_kind": "likelihood",
            "judge_midpoint": estate.judge_midpoint,
            "judge_slope": estate.judge_slope,
            "calls_per_minute": 240,
            "sample_share": 0.35,
            "floor": pace.floor,
        },
        "policy": {"fresh_exchanges": pace.fresh},
        "retrain": {
            "base_model_path": str(estate.model),
            "replay": str(estate.replay),
            "labeller": estate.labeller,
            "max_fresh_rows": 600,
            "max_replay_rows": 150,
            "holdout_rows": pace.holdout_rows,
            "max_loss": pace.max_loss,
            "evaluate": {"perplexity_rows": 0, "judge_rows": 0},
            "recipe": estate.recipe,
        },
        "rollout": {"steps": [0.2, 0.5, 1.0], "step_exchanges": pace.step_exchanges, "step_max_s": 30},
    }
    for section, values in pace.settings.items():
        tree[section] = {**tree.get(section, {}), **values} if isinstance(values, dict) else values
    return tree
