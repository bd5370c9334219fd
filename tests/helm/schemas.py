"""What Kubernetes and the Prometheus operator take.

Lives here: `fits`, for a manifest of any kind that the chart makes.
Comes in: a manifest. Goes out: nothing, or an error that names the field.
Must never know: the chart.

The two schemas below are small: the fields that Trimtab uses, as monitoring.coreos.com/v1 has them, and no others.
"""

from __future__ import annotations

import importlib
from typing import Any

from tests.needs import need_module

KUBERNETES = "1.37"
_DURATION = {"type": "string", "pattern": r"^([0-9]+(ms|s|m|h|d|w|y))+$"}
_STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


def _kind(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = _closed(
        ["name"], name={"type": "string"}, namespace={"type": "string"}, labels=_STRINGS, annotations=_STRINGS
    )
    return _closed(
        ["apiVersion", "kind", "metadata", "spec"], apiVersion={"const": "monitoring.coreos.com/v1"},
        kind={"const": name}, metadata=metadata, spec=spec,
    )  # fmt: skip


_RULE = {
    **_closed(
        ["expr"], record={"type": "string"}, alert={"type": "string"}, expr={"type": ["string", "integer"]},
        labels=_STRINGS, annotations=_STRINGS, keep_firing_for=_DURATION, **{"for": _DURATION},
    ),
    "oneOf": [{"required": ["record"]}, {"required": ["alert"]}],
}  # fmt: skip
CUSTOM = {
    "ServiceMonitor": _kind(
        "ServiceMonitor",
        _closed(
            ["selector", "endpoints"],
            selector=_closed([], matchLabels=_STRINGS),
            endpoints={
                "type": "array",
                "items": _closed(
                    [], port={"type": "string"}, path={"type": "string"}, interval=_DURATION, scrapeTimeout=_DURATION
                ),
            },
        ),
    ),
    "PrometheusRule": _kind(
        "PrometheusRule",
        _closed(
            ["groups"],
            groups={
                "type": "array",
                "items": _closed(
                    ["name", "rules"], name={"type": "string", "minLength": 1}, interval=_DURATION,
                    rules={"type": "array", "items": _RULE},
                ),
            },
        ),
    ),
}  # fmt: skip


def fits(manifest: dict[str, Any]) -> None:
    """Raises when a field is missing, wrong, or unknown to Kubernetes or to the operator."""
    import jsonschema

    if manifest["kind"] in CUSTOM:
        jsonschema.validate(manifest, CUSTOM[manifest["kind"]])
        return
    need_module("kubernetes_validate", "pip install kubernetes-validate==1.37.0")
    kubernetes_validate: Any = importlib.import_module("kubernetes_validate")
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
