"""The tree of settings as a table for people.

Lives here: `reference`, and how it gets into the README. Comes in: the tree itself. Goes out: Markdown.
Must never know: what anybody has set.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from agent.settings.tree import Settings

README = Path(__file__).parents[1] / "README.md"


def reference() -> str:
    """Every setting as a Markdown table: name, default, what it is for."""
    return "\n".join(["| setting | default | what it is for |", "|---|---|---|", *_lines(Settings, "")]) + "\n"


def _lines(model: type[BaseModel], prefix: str) -> list[str]:
    rows: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows += _lines(kind, f"{prefix}{name}.")
        else:
            rows.append(_line(f"{prefix}{name}", field))
    return rows


def _line(name: str, field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    shown = list(default) if isinstance(default, tuple) else str(default) if isinstance(default, Path) else default
    says = " ".join((field.description or "").split()).replace("|", "\\|")
    return f"| `{name}` | `{json.dumps(shown)}` | {says} |"


def with_reference(text: str) -> str:
    """A README with its table of settings brought up to date."""
    head, _, rest = text.partition("<!-- settings -->\n")
    _, _, tail = rest.partition("<!-- /settings -->")
    return f"{head}<!-- settings -->\n{reference()}<!-- /settings -->{tail}"
