"""The model card of an adapter: what people read before they serve it.

In: the facts of a manifest. Out: Markdown with a Hugging Face front matter. Pure: no files, no clock, no store.
Figures are counts, shares and digests; no text of any user stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

UNKNOWN = "unknown"


def model_card(facts: Mapping[str, Any]) -> str:
    """The card as README.md text."""
    front = {
        "base_model": facts["base_model"],
        "library_name": "peft",
        "license": facts["licence"] or UNKNOWN,
        "tags": ["lora", "trimtab"],
    }
    parts = [f"---\n{yaml.safe_dump(front, sort_keys=True)}---\n\n# {facts['name']}\n\n{_opening(facts)}"]
    parts += [_provenance(facts), _data(facts), _verdict(facts), _recipe(facts)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(facts: Mapping[str, Any]) -> str:
    after = f", a successor of `{facts['parent']}`" if facts["parent"] else ""
    said = f"A PEFT adapter for `{facts['alias']}`{after}, made by the retraining order `{facts['order']}`."
    if facts["train_only"]:
        said += f" Not to be served: {facts['train_only']}."
    return f"{said}\n\nWhy: {facts['reason']}"


def _provenance(facts: Mapping[str, Any]) -> str:
    rows = [
        ("base model", f"`{facts['base_model']}`"),
        ("sha256 of the base", f"`{facts['base_digest']}`"),
        ("sha256 of its tokenizer", f"`{facts['tokenizer_digest']}`"),
        ("licence of the base, which holds for the adapter too", facts["licence"] or UNKNOWN),
        ("made", facts["created_at"]),
    ]
    return "## Where it comes from\n\n" + _table(("", ""), rows)


def _data(facts: Mapping[str, Any]) -> str:
    data = facts["data"]
    if not data:
        return ""
    rows = [(name.replace("_", " "), count) for name, count in data.get("counts", {}).items()]
    rows += [(f"from {name.replace('_', ' ')}", count) for name, count in (data.get("sources") or {}).items()]
    rows += [(f"left out: {name.replace('_', ' ')}", count) for name, count in (data.get("left_out") or {}).items()]
    said = f"\n\nsha256 of the data's manifest: `{data['manifest_sha256']}`" if data.get("manifest_sha256") else ""
    return "## Data\n\n" + _table(("rows", ""), [(name, _plain(count)) for name, count in rows]) + said


def _verdict(facts: Mapping[str, Any]) -> str:
    verdict = facts["verdict"]
    if verdict is None:
        return "## Evaluation\n\nPublished without a contest."
    word = {True: "holds", False: "fails", None: "open"}
    rows = [
        (c["name"], f"{c['estimate']:+.4f}", f"[{c['low']:+.4f}, {c['high']:+.4f}]", c["n"], word[c["passed"]])
        for c in verdict["checks"]
    ]
    head = ("challenger minus champion", "estimate", "interval", "pairs", "check")
    said = f"## Evaluation\n\nVerdict: {verdict['kind'].replace('_', ' ')}.\n\n" + _table(head, rows)
    figures = [
        (seat, part, name, _plain(value))
        for seat, parts in facts["metrics"].items()
        if isinstance(parts, Mapping)
        for part, values in parts.items()
        if isinstance(values, Mapping)
        for name, value in values.items()
        if isinstance(value, int | float)
    ]
    return said + ("\n\n" + _table(("who", "slice", "figure", "value"), figures) if figures else "")


def _recipe(facts: Mapping[str, Any]) -> str:
    return "## Recipe\n\n```json\n" + json.dumps(facts["recipe"], indent=1, sort_keys=True) + "\n```"


def _plain(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows])
