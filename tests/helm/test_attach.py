"""The patch that the chart writes, laid over a vLLM Deployment of somebody else's by the real kubectl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.middleware import TapSettings
from tests.helm.chart import CHART, FETCH, NAME, containers, env, helm, manifests, mounts, named, pod, settings
from tests.helm.schemas import fits
from tests.needs import need

THEIRS = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: llama, labels: {app: llama}, resourceVersion: "17", uid: "0f"}
spec:
  replicas: 1
  selector: {matchLabels: {app: llama}}
  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 1}}
  template:
    metadata: {labels: {app: llama, app.kubernetes.io/name: vllm}}
    spec:
      securityContext: {runAsUser: 2000}
      initContainers:
        - {name: weights, image: "busybox:1.37", command: [test, -f, /data/llama/config.json]}
      containers:
        - {name: proxy, image: "envoy:1.36", args: [-c, /etc/envoy.yaml]}
        - name: server
          image: vllm/vllm-openai:v0.32.0
          args: [--model=/data/llama, --served-model-name=llama]
          env: [{name: HF_HUB_OFFLINE, value: "1"}]
          ports: [{name: http, containerPort: 8000}]
          volumeMounts: [{name: weights, mountPath: /data}]
      volumes:
        - {name: weights, persistentVolumeClaim: {claimName: llama-weights}}
status: {observedGeneration: 3, replicas: 1}
"""


@pytest.fixture(scope="module")
def patched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Their Deployment with the sidecar."""
    folder = tmp_path_factory.mktemp("attach")
    (folder / "vllm.yaml").write_text(THEIRS)
    for name, text in manifests("attach")["ConfigMap", f"{NAME}-attach"]["data"].items():
        (folder / name).write_text(text)
    command = [need("kubectl", FETCH), "kustomize", str(folder)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = yaml.safe_load(ran.stdout)
    return found


def test_the_patched_deployment_is_valid_and_still_theirs(patched: dict[str, Any]) -> None:
    """What they wrote stays: name, selector, containers, arguments, volumes, variables."""
    fits(patched)
    assert patched["metadata"] == {"name": "llama", "labels": {"app": "llama"}}  # else a second apply is a conflict
    assert "status" not in patched
    theirs = yaml.safe_load(THEIRS)
    assert patched["spec"]["selector"] == theirs["spec"]["selector"]
    assert (
        theirs["spec"]["template"]["metadata"]["labels"].items()
        <= patched["spec"]["template"]["metadata"]["labels"].items()
    )
    before, after = theirs["spec"]["template"]["spec"], patched["spec"]["template"]["spec"]
    assert named(after, "proxy") == named(before, "proxy")
    assert named(after, "weights") == named(before, "weights")
    server, was = named(after, "server"), named(before, "server")
    assert server["args"][:2] == was["args"]
    assert server["image"] == was["image"]
    assert env(was).items() <= env(server).items()
    assert mounts(was).items() <= mounts(server).items()
    assert before["volumes"][0] in after["volumes"]
    assert after["securityContext"]["runAsUser"] == 2000


def test_it_runs_what_the_chart_runs(patched: dict[str, Any]) -> None:
    """The same sidecar as in the chart's own pod, and the arguments and variables without which it cannot work."""
    spec = patched["spec"]["template"]["spec"]
    server, sidecar = named(spec, "server"), named(spec, "trimtab-agent")
    own = named(pod("minimal"), "trimtab-agent")
    assert {c["name"] for c in spec["initContainers"]} == {"weights", "trimtab-middleware", "trimtab-agent"}
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["securityContext"] == own["securityContext"] | {"runAsUser": 2000, "runAsGroup": 2000}
    assert {k: v for k, v in sidecar.items() if k not in ("securityContext", "volumeMounts")} == {
        k: v for k, v in own.items() if k not in ("securityContext", "volumeMounts")
    }
    ours = named(pod("minimal"), "vllm")["args"]
    place = ours.index("--middleware=serving.middleware.Trimtab")
    assert server["args"][2:] == ours[place : ours.index("--max-model-len=4096")]
    assert env(server)["TRIMTAB_TOKEN"] == env(sidecar)["TRIMTAB_TOKEN"]
    assert env(server)["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    used = {mount["name"] for container in containers(spec) for mount in container.get("volumeMounts", ())}
    assert used == {volume["name"] for volume in spec["volumes"]}


def test_both_sides_see_the_same(patched: dict[str, Any], tmp_path: Path) -> None:
    """Their engine reads weights and adapters where the sidecar reads them, and finds its socket."""
    spec = patched["spec"]["template"]["spec"]
    server, sidecar = named(spec, "server"), named(spec, "trimtab-agent")
    read = settings("attach", tmp_path)
    assert read.champion == Path("/data/support-v1")
    claims = {v["name"]: v.get("persistentVolumeClaim", {}).get("claimName") for v in spec["volumes"]}
    assert claims[mounts(server)["/data"]["name"]] == claims[mounts(sidecar)["/data"]["name"]] == "llama-weights"
    tap = TapSettings.read({k: v for k, v in env(server).items() if isinstance(v, str)})
    assert tap.socket == str(read.socket)
    assert mounts(server)["/var/lib/trimtab"]["name"] == mounts(sidecar)["/var/lib/trimtab"]["name"]
    assert mounts(server)["/var/lib/trimtab"]["readOnly"] is True


def test_one_file_has_one_writer(patched: dict[str, Any]) -> None:
    """With SQLite an update ends the old pod first; with PostgreSQL theirs is theirs."""
    assert patched["spec"]["strategy"] == {"type": "Recreate"}
    many = ["--set", "database.kind=postgresql", "--set", "database.existingSecret=d"]
    ran = helm("template", "demo", ".", "-f", "ci/attach-values.yaml", *many, "-s", "templates/attach.yaml")
    sidecar = yaml.safe_load(yaml.safe_load(ran.stdout)["data"]["sidecar.yaml"])
    assert "strategy" not in sidecar["spec"]


def test_the_chart_s_services_find_the_patched_pods(patched: dict[str, Any]) -> None:
    """The sidecar's Service and the policy choose by a label that the patch brings."""
    labels = patched["spec"]["template"]["metadata"]["labels"]
    assert manifests("attach")["Service", f"{NAME}-agent"]["spec"]["selector"].items() <= labels.items()
    assert manifests("attach")["NetworkPolicy", NAME]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    ports = {p["containerPort"] for c in containers(patched["spec"]["template"]["spec"]) for p in c.get("ports", ())}
    assert manifests("attach")["Service", f"{NAME}-agent"]["spec"]["ports"][0]["targetPort"] in ports


def test_the_notes_say_what_to_do_next() -> None:
    """Each way to install ends with the commands that come next, and they name what was made."""
    text = (CHART / "templates" / "NOTES.txt").read_text(encoding="utf-8")
    assert "{{- " in text
    for install, commands in {
        "minimal": ["rollout status deployment/demo-trimtab", "port-forward service/demo-trimtab-agent 8321"],
        "attach": [
            "[ -f vllm.yaml ] || kubectl -n models get deployment llama -o yaml",
            "get configmap demo-trimtab-attach",
            "kubectl kustomize . | ",
        ],
        "observe": ["get secret demo-trimtab -o", "http://demo-trimtab-agent.models:8321/v1/exchanges"],
    }.items():
        ran = helm(
            "install", "demo", ".", "-f", f"ci/{install}-values.yaml", "--namespace", "models", "--dry-run=client"
        )
        notes = ran.stdout.partition("NOTES:")[2]
        assert all(command in notes for command in commands), notes + ran.stderr
