"""Whether a recipe fits a base model, from the base's files alone: what would else end a run after curation, or pass.

In: a base model folder, the names of its weights, a recipe. Out: nothing, or InvalidInput in one sentence.
Must never know: torch, the model itself. An adapter that is started from has its own modules: they are not asked about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from retrain.recipe import PROMPTS, Recipe
from serving.errors import InvalidInput

_NOT_INNER = ("embed", "wte", "wpe", "lm_head", "norm")
"""Parts of names of two-dimensional weights that no recipe should name."""
_TIED = "lm_head"
"""May share its weights with the embedding and so stand in no file."""


def refuse_unfit(base: Path, shapes: Mapping[str, Sequence[int]], recipe: Recipe, *, fresh: bool) -> None:
    """Raise InvalidInput for a base that cannot chat, modules it does not have, rows longer than it can read.

    `fresh`: no adapter is started from.
    """
    _chats(base)
    _reads(base, recipe)
    if fresh and recipe.method not in PROMPTS:
        _has(base, shapes, recipe)


def _chats(base: Path) -> None:
    if not (base / "tokenizer_config.json").is_file():
        raise InvalidInput(f"base model {base} has no tokenizer that transformers can read")
    templates = (base / "chat_template.jinja", base / "chat_template.json", base / "additional_chat_templates")
    if not _json(base / "tokenizer_config.json").get("chat_template") and not any(path.exists() for path in templates):
        raise InvalidInput(f"base model {base} has no chat template: use an instruct model")


def _reads(base: Path, recipe: Recipe) -> None:
    config = _json(base / "config.json")
    inner = config.get("text_config")
    most = (inner if isinstance(inner, dict) else config).get("max_position_embeddings")
    if isinstance(most, int) and recipe.max_length > most > 0:
        raise InvalidInput(
            f"recipe: max_length {recipe.max_length} is more than the {most} tokens that base model {base} can read: "
            f"write {most} at most"
        )


def _has(base: Path, shapes: Mapping[str, Sequence[int]], recipe: Recipe) -> None:
    """peft leaves out a target that it does not find as long as it finds another one."""
    modules = {name.rpartition(".")[0] for name in shapes}
    missing = [
        target for target in recipe.modules
        if target != _TIED and not any(module == target or module.endswith(f".{target}") for module in modules)
    ]  # fmt: skip
    if missing:
        matrices = (name.rpartition(".")[0].rpartition(".")[2] for name, shape in shapes.items() if len(shape) == 2)
        names = sorted({name for name in matrices if not any(part in name for part in _NOT_INNER)})
        raise InvalidInput(
            f"recipe: base model {base} has no module {', '.join(missing)}; write recipe.targets, of "
            f"{', '.join(names) or 'what it has'}"
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"base model {path.parent} cannot be used: its {path.name} cannot be read") from error
    return value if isinstance(value, dict) else {}
