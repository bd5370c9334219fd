"""The chart as the tests see it: rendered by the real helm, once for each way to install.

Lives here: `helm`, `rendered`, `manifests`, and short ways to what is asked of most.
Comes in: the name of a file in `ci/`. Goes out: manifests.
Must never know: what they should say.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.settings import Settings, load
from tests.needs import need

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "trimtab"
FETCH = f"{Path(sys.executable).name} tests/helm/fetch.py"
INSTALLS = tuple(sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").glob("*-values.yaml")))
SERVING = tuple(name for name in INSTALLS if name not in ("attach", "observe"))
"""Those in which the chart runs vLLM itself."""
NAME = "demo-trimtab"
CUSTOM = ("ServiceMonitor", "PrometheusRule")
"""Kinds that Kubernetes itself does not know."""

Manifest = dict[str, Any]
every_install = pytest.mark.parametrize("install", INSTALLS)
every_serving = pytest.mark.parametrize("install", SERVING)


def helm(*args: str) -> subprocess.CompletedProcess[str]:
    """Run helm in the chart's folder, whatever it says."""
    return subprocess.run([need("helm", FETCH), *args], cwd=CHART, capture_output=True, text=True, check=False)


@cache
def rendered(install: str) -> str:
    """All manifests of one way to install, as YAML."""
    ran = helm("template", "demo", ".", "-f", f"ci/{install}-values.yaml", "--namespace", "models")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@cache
def manifests(install: str) -> dict[tuple[str, str], Manifest]:
    """(kind, name) -> manifest."""
    found = [item for item in yaml.load_all(rendered(install), Loader=yaml.CSafeLoader) if item]
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


def pod(install: str) -> Manifest:
    """The spec of the pod with the sidecar."""
    spec: Manifest = manifests(install)["Deployment", NAME]["spec"]["template"]["spec"]
    return spec


def controller(install: str) -> Manifest:
    """The spec of the controller's pod."""
    spec: Manifest = manifests(install)["Deployment", f"{NAME}-controller"]["spec"]["template"]["spec"]
    return spec


def pods(install: str) -> Iterator[tuple[Manifest, Manifest]]:
    """Metadata and spec of every pod that the chart makes."""
    for (kind, _), manifest in manifests(install).items():
        if kind in ("Deployment", "Job", "StatefulSet"):
            template = manifest["spec"]["template"]
            yield template["metadata"], template["spec"]


def containers(spec: Manifest) -> list[Manifest]:
    """All containers of a pod, in the order in which they start."""
    return [*spec.get("initContainers", ()), *spec["containers"]]


def named(spec: Manifest, name: str) -> Manifest:
    """One container of a pod."""
    return next(container for container in containers(spec) if container["name"] == name)


def env(container: Manifest) -> dict[str, Any]:
    """A container's environment: values, or where they come from."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container.get("env", ())}


def mounts(container: Manifest) -> dict[str, Manifest]:
    """Path -> how it is mounted."""
    return {mount["mountPath"]: mount for mount in container.get("volumeMounts", ())}


def settings(install: str, folder: Path, of: str = NAME) -> Settings:
    """The sidecar's settings, or those in another ConfigMap, read by the program's own reader."""
    path = folder / "agent.yaml"
    path.write_text(manifests(install)["ConfigMap", of]["data"]["agent.yaml"], encoding="utf-8")
    return load(path)
