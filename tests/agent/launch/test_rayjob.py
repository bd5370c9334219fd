"""The RayJob that the launchers' README hands out: what KubeRay takes, with words that are really ours."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from typing import Any

import yaml
from typer.main import get_command

from agent.app.database import STORE_URL
from retrain.cli import app
from retrain.recipe import Recipe
from tests.helm.schemas import fits

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "agent" / "launch" / "rayjob.yaml"
TEMPLATE = {"type": "object", "additionalProperties": False, "required": ["spec"], "properties": {"spec": {}}}
SEVERAL = {"type": "integer", "minimum": 0}
START = {"type": "object", "additionalProperties": {"type": "string"}}


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    """Give the schema of an object that has these keys and no others."""
    return {"type": "object", "additionalProperties": False, "required": required, "properties": properties}


RAYJOB = closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"}, kind={"const": "RayJob"}, metadata=closed(["name"], name={"type": "string"}),
    spec=closed(
        ["entrypoint", "rayClusterSpec"],
        entrypoint={"type": "string"}, entrypointNumCpus={"type": "number"}, backoffLimit=SEVERAL,
        activeDeadlineSeconds=SEVERAL, shutdownAfterJobFinishes={"type": "boolean"}, ttlSecondsAfterFinished=SEVERAL,
        rayClusterSpec=closed(
            ["headGroupSpec"],
            rayVersion={"type": "string"}, headGroupSpec=closed(["template"], rayStartParams=START, template=TEMPLATE),
            workerGroupSpecs={
                "type": "array",
                "items": closed(
                    ["groupName", "maxReplicas", "minReplicas", "template"],
                    groupName={"type": "string"}, replicas=SEVERAL, minReplicas=SEVERAL, maxReplicas=SEVERAL,
                    rayStartParams=START, template=TEMPLATE,
                ),
            },
        ),
    ),
)  # fmt: skip
"""The fields that the manifest uses, as ray.io/v1 of KubeRay 1.7 has them, and no others."""


def manifest() -> dict[str, Any]:
    """Give the manifest."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return found


def test_kuberay_and_kubernetes_take_it() -> None:
    """No field is missing, wrong or unknown: of the RayJob, and of the pods in it."""
    importlib.import_module("jsonschema").validate(manifest(), RAYJOB)
    cluster = manifest()["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        fits({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": group["template"]["spec"]})


def test_its_words_are_ours() -> None:
    """The entrypoint is a command of Trimtab's on a worker, reads a mounted file; its recipe takes all the GPUs."""
    spec = manifest()["spec"]
    (group,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    program, part, command, order = shlex.split(spec["entrypoint"])
    assert (program, part) == ("trimtab", "retrain")
    assert command in get_command(app).commands  # type: ignore[attr-defined]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert Path(order).parent == Path(mounts["order"])
    assert mounts.keys() == {volume["name"] for volume in group["template"]["spec"]["volumes"]}
    head = spec["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]
    assert spec["entrypointNumCpus"] > int(head["num-cpus"])  # there is room for it on a worker alone
    said = FILE.read_text()
    shared = re.search(r"recipe: (\{.*\})", said)
    assert shared is not None
    recipe = Recipe.from_json(yaml.safe_load(shared[1]))
    assert recipe.workers == group["replicas"] * int(container["resources"]["limits"]["nvidia.com/gpu"])
    assert recipe.cluster == "auto"
    assert f"--from-file={Path(order).name}" in said
    assert FILE.relative_to(ROOT).as_posix() in said
    assert STORE_URL in said
    ours = set(re.findall(r"TRIMTAB_[A-Z_]+|AWS_[A-Z_]+", said))
    assert all(name in (ROOT / "agent" / "launch" / "README.md").read_text() for name in ours)
    assert f"configmap {group['template']['spec']['volumes'][0]['configMap']['name']} " in said
