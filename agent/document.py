"""A document that a person wrote, as YAML or JSON, and what is wrong with it in one sentence.

Lives here: `read_yaml`, `first_fault`.
Comes in: a file; pydantic's account of a fault. Goes out: plain data; a sentence that names the key.
Must never know: what the document is for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from agent.types import InvalidInput


class _Loader(yaml.SafeLoader):
    """PyYAML takes the last of two equal keys without a word; here the second is refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(problem=f"{key.value!r} stands there twice", problem_mark=key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, name: str, instead: str) -> Any:
    """The plain data of a YAML or JSON file, None when it is empty.

    `name` is what the file is ("order file"), `instead` what to give when it cannot be read. Raises InvalidInput.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506  # a safe loader
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
        raise InvalidInput(f"{name} {path} cannot be read ({why}): give {instead}") from error
    except yaml.YAMLError as error:
        why = " ".join(str(error).split()).replace(' in "<unicode string>",', " at")
        raise InvalidInput(f"{name} {path} is not valid YAML or JSON: {why}") from error


def first_fault(error: ValidationError, model: type[BaseModel]) -> str:
    """The first fault of a document for `model`, by the key where it stands; an unknown key with those known there."""
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        *section, _ = fault["loc"]
        known = ", ".join(sorted(_keys(model, section)))
        return f"unknown key {where!r}" + (f"; known keys there are: {known}" if known else "")
    said = str(fault["msg"]).removeprefix("Value error, ").replace("\n", " ")
    return f"{where}: {said}" if where else said


def _keys(model: type[BaseModel], section: list[Any]) -> list[str]:
    """The keys that a part of `model` has, also through `Part | None`; none where the part is no model."""
    for part in section:
        field = model.model_fields.get(str(part))
        kind: Any = field.annotation if field is not None else None
        inner = [one for one in (kind, *getattr(kind, "__args__", ())) if isinstance(one, type)]
        found = next((one for one in inner if issubclass(one, BaseModel)), None)
        if found is None:
            return []
        model = found
    return list(model.model_fields)
