"""`python -m tests.helm.settings_schema` writes what the sidecar may be told into the chart's schema.

Lives here: the settings' own schema, in the form that a chart's has. With SQLite an upgrade ends the old pod first, so
a word misspelt under `agent.settings` must be refused by helm, not by the pod that comes after.
Comes in: `agent.settings`, the schema as it is. Goes out: the schema with `agent.settings` of today.
Must never know: the rest of the values.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from agent.settings import Settings

SCHEMA = Path(__file__).resolve().parents[2] / "helm" / "trimtab" / "values.schema.json"
WORDS = ("title", "description", "default")
"""What explains: the README of `agent/` does."""


def with_settings(text: str) -> str:
    """The chart's schema, its definitions of settings as `agent.settings` has them today."""
    document = json.loads(text)
    whole = _bare(Settings.model_json_schema(ref_template="#/definitions/{model}"))
    sections: dict[str, Any] = whole.pop("$defs")
    ours = {name: one for name, one in document["definitions"].items() if not name.endswith("Settings")}
    document["definitions"] = ours | {"Settings": whole} | sections
    document["properties"]["agent"]["properties"]["settings"] = {"$ref": "#/definitions/Settings"}
    return json.dumps(document, indent=2) + "\n"


def _bare(schema: Any, *, names: bool = False) -> Any:
    """Without what explains; under `properties` and `$defs` (`names`) keys are names, whatever they are."""
    if isinstance(schema, dict):
        return {
            key: _bare(value, names=not names and key in ("properties", "$defs"))
            for key, value in schema.items()
            if names or key not in WORDS
        }
    return [_bare(item) for item in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    SCHEMA.write_text(with_settings(SCHEMA.read_text(encoding="utf-8")), encoding="utf-8")
