"""What a model folder says of itself: licence, languages, size.

In: a folder. Out: `Card`. Must never know: what is allowed (that is `licence`), the weights beyond their headers.
Read, in this order: the front matter of README.md (a Hugging Face model card), config.json, a LICENSE file's title.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retrain.training.estimate import read_shapes
from serving.errors import InvalidInput

_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_TITLES = (
    (r"Apache License\s+Version 2\.0", "apache-2.0"),
    (r"LLAMA 2 COMMUNITY LICENSE", "llama2"),
    (r"LLAMA 3\.1 COMMUNITY LICENSE", "llama3.1"),
    (r"LLAMA 3\.2 COMMUNITY LICENSE", "llama3.2"),
    (r"LLAMA 3\.3 COMMUNITY LICENSE", "llama3.3"),
    (r"LLAMA 4 COMMUNITY LICENSE", "llama4"),
    (r"META LLAMA 3 COMMUNITY LICENSE", "llama3"),
    (r"Gemma Terms of Use", "gemma"),
    (r"Qwen RESEARCH LICENSE", "qwen-research"),
    (r"(Tongyi Qianwen|Qwen) LICENSE", "tongyi-qianwen"),
    (r"Mistral AI Research License", "mrl"),
    (r"Attribution-NonCommercial-ShareAlike 4\.0", "cc-by-nc-sa-4.0"),
    (r"Attribution-NonCommercial-NoDerivatives 4\.0", "cc-by-nc-nd-4.0"),
    (r"Attribution-NonCommercial 4\.0", "cc-by-nc-4.0"),
    (r"Attribution-ShareAlike 4\.0", "cc-by-sa-4.0"),
    (r"Attribution 4\.0 International", "cc-by-4.0"),
    (r"Permission is hereby granted, free of charge", "mit"),
)
_HEAD_CHARS = 4000


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """`licence` is None when nothing names one, `languages` (ISO codes) is empty when the card lists none."""

    name: str
    licence: str | None
    licence_from: str
    languages: tuple[str, ...]
    parameters: int
    bytes: int
    chats: bool


def read_card(folder: Path) -> Card:
    """The card of a model folder. Raises InvalidInput when it is no model folder with safetensors."""
    config = _json(folder / "config.json")
    if config is None:
        raise InvalidInput(f"{folder} is no model folder: it has no config.json that can be read")
    front = _front(folder / "README.md")
    licence, where = _licence(folder, front, config)
    tokenizer = _json(folder / "tokenizer_config.json") or {}
    sizes = [_product(shape) for shape in read_shapes(folder).values()]
    return Card(
        name=folder.resolve().name,
        licence=licence,
        licence_from=where,
        languages=tuple(_texts(front.get("language"))),
        parameters=sum(sizes),
        bytes=sum(path.stat().st_size for path in folder.glob("*.safetensors")),
        chats=bool(tokenizer.get("chat_template")) or (folder / "chat_template.jinja").is_file(),
    )


def _licence(folder: Path, front: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str | None, str]:
    named = front.get("license")
    if isinstance(named, str) and named.casefold() != "other":
        return named, "README.md"
    if isinstance(front.get("license_name"), str):
        return str(front["license_name"]), "README.md"
    for key in ("license", "licence"):
        if isinstance(config.get(key), str):
            return str(config[key]), "config.json"
    for path in sorted(folder.glob("LICEN[SC]E*")):
        head = path.read_text(encoding="utf-8", errors="replace")[:_HEAD_CHARS]
        for title, licence in _TITLES:
            if re.search(title, head, re.IGNORECASE):
                return licence, path.name
    return (str(named), "README.md") if named else (None, "")


def _front(path: Path) -> dict[str, Any]:
    try:
        found = _FRONT.match(path.read_text(encoding="utf-8"))
        loaded = yaml.safe_load(found[1]) if found else None
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _json(path: Path) -> dict[str, Any] | None:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) else None


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(item) for item in value] if isinstance(value, list) else []


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
