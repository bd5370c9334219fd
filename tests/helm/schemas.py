"""What Kubernetes and the Prometheus operator take.

Lives here: `fits`, for a manifest of any kind that the chart makes.
Comes in: a manifest. Goes out: nothing, or an error that names the field.
Must never know: the chart.

The two schemas below are small: the fields that Trimtab uses, as monitoring.coreos.com/v1 has them, and no others.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any

from referencing import Registry, Resource

from tests.needs import need_module

KUBERNETES = "1.37"
jsonschema: Any = importlib.import_module("jsonschema")
Misfit: type[Exception] = jsonschema.ValidationError
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
    """Raises `Misfit` when a field is missing, wrong, or unknown to Kubernetes or to the operator."""
    if manifest["kind"] in CUSTOM:
        jsonschema.validate(manifest, CUSTOM[manifest["kind"]])
        return
    _validator(manifest["kind"], manifest["apiVersion"]).validate(manifest)


@cache
def _validator(kind: str, api: str) -> Any:
    """As `kubernetes_validate.validate` with strict=True, but that its files (4 MB) are read once."""
    group, _, version = api.rpartition("/")
    name = "-".join(part for part in (kind.lower(), group.split(".")[0], version) if part)
    schema = _contents(f"{name}.json")
    registry = Resource.from_contents(schema) @ _definitions()
    return jsonschema.Draft202012Validator(schema, registry=registry)


@cache
def _definitions() -> Registry[Any]:
    definitions: Registry[Any] = Resource.from_contents(_contents("_definitions.json")) @ Registry()
    return definitions


def _contents(name: str) -> Any:
    need_module("kubernetes_validate", "pip install kubernetes-validate==1.37.0")
    utils: Any = importlib.import_module("kubernetes_validate.utils")
    newest = next(v for v in utils.all_versions() if utils.major_minor(v) == KUBERNETES)
    return utils.schema_contents(f"kubernetes-json-schema/v{newest}-local-strict/{name}", KUBERNETES)
