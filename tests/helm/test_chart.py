"""The chart must render, be valid Kubernetes, and start exactly what this repository is."""

from __future__ import annotations

import importlib
import itertools
import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from agent.settings import Settings, load
from serving import launch
from tests.needs import need, need_module

if TYPE_CHECKING:
    from collections.abc import Sequence

CHART = Path(__file__).resolve().parents[2] / "helm" / "trimtab"
COMMAND = f"{Path(sys.executable).name} tests/helm/fetch.py"
INSTALLS = ("minimal", "full")
every_install = pytest.mark.parametrize("install", INSTALLS)


def helm(*args: str) -> subprocess.CompletedProcess[str]:
    """Run helm, whatever it says."""
    program = need("helm", COMMAND)
    return subprocess.run([program, *args], cwd=CHART, capture_output=True, text=True, check=False)


@cache
def rendered(install: str) -> str:
    """All manifests of one way to install, as YAML."""
    ran = helm("template", "demo", ".", "-f", f"ci/{install}-values.yaml", "--namespace", "models")
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def manifests(install: str) -> dict[tuple[str, str], dict[str, Any]]:
    """(kind, name) -> manifest."""
    found = [item for item in yaml.safe_load_all(rendered(install)) if item]
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


def pod(install: str) -> dict[str, Any]:
    """The pod's spec."""
    spec: dict[str, Any] = manifests(install)["Deployment", "demo-trimtab"]["spec"]["template"]["spec"]
    return spec


def settings(install: str, folder: Path) -> Settings:
    """The sidecar's settings, read by the sidecar's own reader."""
    path = folder / "agent.yaml"
    path.write_text(manifests(install)["ConfigMap", "demo-trimtab"]["data"]["agent.yaml"])
    return load(path)


def env(container: dict[str, Any]) -> dict[str, Any]:
    """A container's environment: values, or where they come from."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}


@every_install
def test_helm_has_nothing_to_complain_of(install: str) -> None:
    """The linter and the schema of the values must pass."""
    ran = helm("lint", ".", "--strict", "-f", f"ci/{install}-values.yaml")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@every_install
def test_every_manifest_is_valid_kubernetes(install: str) -> None:
    """Each manifest must fit the schema of its kind, without a field that Kubernetes does not know."""
    need_module("kubernetes_validate", "pip install kubernetes-validate==1.37.0")
    kubernetes_validate: Any = importlib.import_module("kubernetes_validate")
    checked = 0
    for (kind, _), manifest in manifests(install).items():
        if kind not in ("ServiceMonitor", "PrometheusRule"):  # custom resources: checked below
            kubernetes_validate.validate(manifest, "1.37", strict=True)
            checked += 1
    assert checked >= 5


@every_install
def test_the_sidecar_can_read_its_settings(install: str, tmp_path: Path) -> None:
    """Paths and ports of the pod are the chart's own, whatever the values say; all else is the user's."""
    read = settings(install, tmp_path)
    assert read.home == Path("/var/lib/trimtab")
    assert (read.http.host, read.http.port) == ("0.0.0.0", 8321)  # noqa: S104  # inside the pod
    assert read.engine.url == "http://127.0.0.1:8000"
    assert read.alias == {"minimal": "home", "full": "support"}[install]


@every_install
def test_the_engine_is_started_as_serving_starts_it(install: str, tmp_path: Path) -> None:
    """The chart must give vLLM the arguments and the environment that `trimtab serve` gives it."""
    engine = pod(install)["containers"][0]
    plain = launch.ServeSettings(model=Path("/models/x"), cpu=False)
    argv, environment = launch.command(plain, {})
    ours = {arg.split("=")[0] for arg in engine["args"]} - {"--enforce-eager", "--dtype"}
    assert engine["command"][1:] == argv[1:3]
    assert ours <= set(argv)
    assert {"--middleware=serving.middleware.Trimtab", "--enable-lora"} <= set(engine["args"])
    told = env(engine)
    assert {name: told[name] for name in launch.ENGINE_ENV} == launch.ENGINE_ENV
    read = settings(install, tmp_path)
    assert told["TRIMTAB_SOCKET"] == str(read.socket)
    assert f"--served-model-name={read.engine.base_model}" in engine["args"]
    assert set(environment) >= {"TRIMTAB_SOCKET", "TRIMTAB_TOKEN", "PYTHONPATH"}


@every_install
def test_both_sides_see_the_same_files_and_hold_the_same_token(install: str) -> None:
    """An adapter must have one path for the sidecar and the engine, and the engine must not write the state."""
    engine = pod(install)["containers"][0]
    sidecar = pod(install)["initContainers"][1]
    mounts = [{m["name"]: m for m in side["volumeMounts"]} for side in (engine, sidecar)]
    for volume in ("state", "models"):
        assert mounts[0][volume]["mountPath"] == mounts[1][volume]["mountPath"]
    assert mounts[0]["state"]["readOnly"] is True
    assert "readOnly" not in mounts[1]["state"]
    assert env(engine)["TRIMTAB_TOKEN"] == env(sidecar)["TRIMTAB_TOKEN"]
    assert env(engine)["PYTHONPATH"] == mounts[0]["middleware"]["mountPath"]
    named = {volume["name"] for volume in pod(install)["volumes"]}
    assert {m["name"] for side in mounts for m in side.values()} <= named


@every_install
def test_the_sidecar_is_native_and_locked_down(install: str) -> None:
    """It must outlive the engine, run as nobody in particular, and have no rights in the cluster."""
    middleware, sidecar = pod(install)["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert "restartPolicy" not in middleware
    for container in (middleware, sidecar):
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
    assert pod(install)["automountServiceAccountToken"] is False


@every_install
def test_only_one_pod_writes_the_store(install: str) -> None:
    """Two pods on one SQLite file would be one too many, also for the length of an update."""
    spec = manifests(install)["Deployment", "demo-trimtab"]["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_what_exists_is_used_and_what_does_not_is_made() -> None:
    """A Secret or a claim of the user's must not be shadowed by one of the chart's."""
    made = {kind for kind, _ in manifests("minimal")}
    used = {kind for kind, _ in manifests("full")}
    assert {"Secret", "PersistentVolumeClaim"} <= made
    assert not {"Secret", "PersistentVolumeClaim"} & used
    volumes = {v["name"]: v for v in pod("full")["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == "my-state"
    token = env(pod("full")["containers"][0])["TRIMTAB_TOKEN"]
    assert token == {"secretKeyRef": {"name": "my-token", "key": "token"}}


def test_prometheus_scrapes_the_sidecar_alone() -> None:
    """The ServiceMonitor must choose the sidecar's Service and its port, not the API's."""
    found = manifests("full")
    monitor = found["ServiceMonitor", "demo-trimtab"]["spec"]
    wanted = set(monitor["selector"]["matchLabels"].items())
    chosen = [
        m for (kind, _), m in found.items() if kind == "Service" and wanted <= set(m["metadata"]["labels"].items())
    ]
    assert [m["metadata"]["name"] for m in chosen] == ["demo-trimtab-agent"]
    assert monitor["endpoints"] == [{"port": "agent", "path": "/metrics", "interval": "30s"}]
    assert chosen[0]["spec"].get("type", "ClusterIP") == "ClusterIP"
    assert ("ServiceMonitor", "demo-trimtab") not in manifests("minimal")


def test_the_alerts_of_the_chart_are_those_outside_it() -> None:
    """The same groups, and links that lead to the runbook of who installs."""
    rules = yaml.safe_load((CHART.parents[1] / "alerts" / "trimtab.rules.yaml").read_text(encoding="utf-8"))
    text = json.dumps(rules).replace("alerts/RUNBOOK.md", "https://wiki.example/trimtab-runbook")
    assert manifests("full")["PrometheusRule", "demo-trimtab"]["spec"] == json.loads(text)
    assert ("PrometheusRule", "demo-trimtab") not in manifests("minimal")


def test_the_dashboards_of_the_chart_are_those_outside_it() -> None:
    """Each in a ConfigMap of its own, with the label that Grafana's sidecar looks for."""
    folder = CHART.parents[1] / "dashboards"
    found = {name: m for (kind, name), m in manifests("full").items() if kind == "ConfigMap" and name != "demo-trimtab"}
    assert set(found) == {f"demo-trimtab-{path.stem}" for path in folder.glob("*.json")}
    for path in folder.glob("*.json"):
        made = found[f"demo-trimtab-{path.stem}"]
        assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert json.loads(made["data"][f"trimtab-{path.name}"]) == json.loads(path.read_text(encoding="utf-8"))
    assert [kind for kind, _ in manifests("minimal")].count("ConfigMap") == 1


@pytest.mark.parametrize(
    "values",
    [
        ("engine.maxLora=3",),
        ("engine.maxLoras=1",),
        ("service.type=Hidden",),
        ("model.path=/absolute",),
        ("storage.size=plenty",),
    ],
)
def test_wrong_values_are_refused(values: Sequence[str]) -> None:
    """A key that does not exist, or a value that cannot be, must stop the installation."""
    ran = helm("template", "demo", ".", *(part for value in values for part in ("--set", value)))
    assert ran.returncode != 0
    assert "values don't meet the specifications of the schema" in ran.stderr


def test_every_value_has_a_sentence_above_it() -> None:
    """Whoever installs must not have to guess."""
    lines = (CHART / "values.yaml").read_text(encoding="utf-8").splitlines()
    section = re.compile(
        r" *(model|engine|agent|image|token|storage|service|networkPolicy|serviceMonitor|prometheusRule|dashboards):"
    )
    kubernetes = re.compile(r" +(limits|requests|cpu|memory|nvidia\.com/gpu):")
    for above, line in itertools.pairwise(lines):
        key = re.match(r" *[\w./]+:", line)
        if key and not section.fullmatch(line) and not kubernetes.match(line):
            assert re.fullmatch(r" *# \w.*\.", above), line
