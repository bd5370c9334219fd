"""Which adapters an engine can load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from serving.errors import Unservable
from serving.servable import check_servable, reason_against

GOOD = {
    "peft_type": "LORA",
    "r": 8,
    "modules_to_save": None,
    "use_dora": False,
    "bias": "none",
    "init_lora_weights": True,
}


def test_an_ordinary_lora_can_be_served(tmp_path: Path) -> None:
    """Nothing is said against what the engine can load."""
    assert reason_against(GOOD, 8) is None
    (tmp_path / "adapter_config.json").write_text(json.dumps(GOOD))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    check_servable(tmp_path, 8)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"peft_type": "PREFIX_TUNING"}, "PREFIX_TUNING"),
        ({"peft_type": None}, "only LORA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"use_dora": True}, "DoRA"),
        ({"bias": "all"}, "biases"),
        ({"lora_bias": True}, "biases"),
        ({"r": 16}, "rank 16 is above the engine's limit of 8"),
        ({"rank_pattern": {"q_proj": 64}}, "rank 64"),
        ({"r": 0}, "not a whole number above 0"),
        ({"r": None}, "not a whole number above 0"),
        ({"use_qalora": True}, "QALoRA"),
        ({"init_lora_weights": "pissa"}, "changes the base model"),
        ({"trainable_token_indices": [5]}, "single tokens"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "bare parameters"),
        ({"target_modules": ["q_proj", "lm_head"]}, "lm_head, which the engine would load and not apply"),
        ({"target_modules": ["model.embed_tokens"]}, "embed_tokens"),
        ({"target_modules": "(q_proj|lm_head)"}, "lm_head"),
    ],
)
def test_what_cannot_be_served_has_a_reason(change: dict[str, Any], reason: str) -> None:
    """Each setting that the engine cannot load is named."""
    assert reason in (reason_against({**GOOD, **change}, 8) or "")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (None, "no adapter_config.json"),
        ("{", "cannot be read"),
        ("[]", "no JSON object"),
        (json.dumps(GOOD), "no weights"),
    ],
)
def test_a_broken_folder_is_said(tmp_path: Path, config: str | None, reason: str) -> None:
    """A folder that is no adapter is told with what it lacks."""
    if config is not None:
        (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(Unservable, match=reason):
        check_servable(tmp_path, 8)
