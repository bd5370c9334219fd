"""A document that a person wrote, as YAML or JSON, and what is wrong with it in one sentence.

Lives here: `read_yaml`, `first_fault`.
Comes in: a file; pydantic's account of a fault. Goes out: plain data; a sentence that names the key and the value.
Must never know: what the document is for.
"""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel

from agent.types import InvalidInput

if TYPE_CHECKING:
    from pydantic import ValidationError

_TOLD_CHARS = 24
"""Longest text that is said back. A token or a key is longer."""
_MAY_HOLD_SECRET = re.compile(r"[@=?]|://")
"""In texts: addresses can carry a password."""
_PLAINLY = {
    "expected <block end>": "this is not indented like what stands above it",
    "mapping values are not allowed": "no key can stand here: is the line indented wrongly, or a text with a colon "
    "in it not in quotes?",
    r"character '\t'": "indent with spaces, not with tabs",
    "that cannot start any token": "no value can begin with this character: put it in quotes",
    "but found another document": "a second document begins here, and only one can be read",
    "found unexpected end of stream": "a quote is not closed",
    "could not determine a constructor for the tag": "leave out the tag, the word that begins with !",
    "found unhashable key": "a list or a mapping cannot be a key",
}
"""Parts of PyYAML's sentences that speak of its insides, and what to do instead."""
_PYDANTIC = {
    "tuple_type": "write a list",
    "list_type": "write a list",
    "dict_type": "write keys and values",
    "model_type": "write keys and values",
    "dataclass_type": "write keys and values",
}
"""Kinds of faults whose sentence speaks of Python, and what to do instead."""
_UNKNOWN = frozenset({"extra_forbidden", "unexpected_keyword_argument"})


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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
        raise InvalidInput(f"{name} {path} cannot be read ({why}): give {instead}") from error
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506  # a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} {path} is not valid YAML or JSON: {_misread(error, text)}") from error


def _misread(error: Exception, text: str) -> str:
    """Where PyYAML gave up and what it looked for, on one line and without its picture of the place."""
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        place = f"line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
        return f"{place}: the character U+{ord(text[error.position]):04X} is not allowed"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if not isinstance(error, yaml.MarkedYAMLError):
        return f"what looks like a date or a number in it is none ({error}): put texts in quotes"
    said = str(error.problem)
    said = next((plainly for part, plainly in _PLAINLY.items() if part in said), said)
    said = said.replace("'<stream end>'", "the end of the file")
    here, begun = error.problem_mark, error.context_mark
    if here is None:
        return said
    if begun is not None and begun.line != here.line:
        said += f", in what begins at {_place(begun)}"
    return f"{_place(here)}: {said}"


def _place(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def first_fault(error: ValidationError, model: type) -> str:
    """The first fault of a document for `model` (of pydantic's, or a dataclass), by the key where it stands.

    An unknown key comes with those known there; a value that is short and can be no secret is said back.
    """
    fault = error.errors()[0]
    *section, key = [part for part in fault["loc"] if isinstance(part, str)] or [""]
    where = ".".join(str(part) for part in fault["loc"])
    if fault["type"] in _UNKNOWN:
        known = ", ".join(sorted(_keys(model, section)))
        return f"unknown key {where!r}" + (f"; known keys there are: {known}" if known else "")
    said = _PYDANTIC.get(fault["type"], str(fault["msg"])).replace("\n", " ")
    if fault["type"] == "value_error":  # a sentence of our own, which says the value where that helps
        said = said.removeprefix("Value error, ")
    elif key in _keys(model, section) and _can_be_told(fault["input"]):
        said = f"{said} (given: {fault['input']!r})"
    return f"{where}: {said}" if where else said


def _can_be_told(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) <= _TOLD_CHARS and not _MAY_HOLD_SECRET.search(value)
    return value is None or isinstance(value, bool | int | float)


def _keys(model: type, section: list[str]) -> list[str]:
    """The keys that a part of `model` has, also through `Part | None`; none where the part is no model."""
    for part in section:
        kind = _kinds(model).get(part)
        inner = [one for one in (kind, *getattr(kind, "__args__", ())) if isinstance(one, type)]
        found = next((one for one in inner if _kinds(one)), None)
        if found is None:
            return []
        model = found
    return list(_kinds(model))


def _kinds(model: type) -> dict[str, Any]:
    """What each key of a model may hold; empty for what is no model."""
    if issubclass(model, BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    return {field.name: field.type for field in fields(model)} if is_dataclass(model) else {}
