"""The controller apart: it alone decides and may start Jobs, and the pods with GPUs lose nothing by it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.app.orders import reachable
from agent.app.roles import contradictions
from agent.launch.job import LABEL, MINE
from agent.policy.sane import check
from tests.helm.chart import (
    NAME,
    Manifest,
    containers,
    controller,
    env,
    helm,
    manifests,
    mounts,
    named,
    pod,
    settings,
)
from tests.helm.schemas import fits

OWN = f"{NAME}-controller"


@cache
def beside(install: str, *values: str) -> dict[tuple[str, str], Manifest]:
    """Another way to install, with a controller and more values."""
    more = [part for value in ("controller.enabled=true", *values) for part in ("--set", value)]
    ran = helm("template", "demo", ".", "-f", f"ci/{install}-values.yaml", "--namespace", "models", *more)
    assert ran.returncode == 0, ran.stderr
    return {(m["kind"], m["metadata"]["name"]): m for m in yaml.safe_load_all(ran.stdout) if m}


def labels(found: dict[tuple[str, str], Manifest], name: str) -> set[tuple[str, str]]:
    """Of the pods of a Deployment."""
    return set(found["Deployment", name]["spec"]["template"]["metadata"]["labels"].items())


def test_each_side_is_told_its_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sidecar moves its own engine; the controller asks the Service of all, and its orders the vLLM of the Job."""
    monkeypatch.setenv("TRIMTAB_STORE_URL", "postgresql://trimtab@db/trimtab")
    sidecar, own = settings("controller", tmp_path), settings("controller", tmp_path, OWN)
    for read in (sidecar, own):
        check(read)
        assert list(contradictions(read)) == []
    assert (sidecar.role, sidecar.engine.url) == ("sidecar", "http://127.0.0.1:8000")
    assert sidecar.retrain.launcher == "local"  # no word about Jobs: it starts none
    assert sidecar.retrain.base_model_path is None
    assert (own.role, own.engine.url) == ("controller", f"http://{NAME}.models.svc:8000")
    assert ("Service", NAME) in manifests("controller")
    assert (own.retrain.launcher, own.retrain.engine_url) == ("kubernetes", "http://127.0.0.1:8000")
    reachable(own)
    assert own.http.hosts[0] == OWN
    same = ("alias", "champion", "home", "objects", "quality")
    assert [getattr(own, name) for name in same] == [getattr(sidecar, name) for name in same]
    assert settings("retraining", tmp_path).role == "all"


def test_the_right_to_start_jobs_is_the_controller_s_alone() -> None:
    """No pod with a GPU holds the token, and its account has no rights."""
    found = manifests("controller")
    assert found["RoleBinding", NAME]["subjects"] == [{"kind": "ServiceAccount", "name": OWN, "namespace": "models"}]
    assert controller("controller")["serviceAccountName"] == OWN
    assert pod("controller")["serviceAccountName"] == NAME
    holders = [
        container["name"]
        for spec in (pod("controller"), controller("controller"))
        for container in containers(spec)
        if any(path.endswith("/serviceaccount") for path in mounts(container))
    ]
    assert holders == ["trimtab-controller"]
    assert "serviceAccountToken" not in json.dumps(pod("controller"))
    for name in (NAME, OWN):
        assert "role-arn" in json.dumps(found["ServiceAccount", name])  # both read the bucket
    theirs = beside("retraining", "controller.serviceAccount=ours")
    assert ("ServiceAccount", OWN) not in theirs
    assert theirs["RoleBinding", NAME]["subjects"][0]["name"] == "ours"
    assert theirs["Deployment", OWN]["spec"]["template"]["spec"]["serviceAccountName"] == "ours"


def test_two_of_them_stand_on_nodes_of_their_own() -> None:
    """One decides and another is there when its node is emptied; none of them takes a place beside a GPU."""
    found = manifests("controller")
    deployment, spec = found["Deployment", OWN]["spec"], controller("controller")
    assert (deployment["replicas"], deployment["strategy"]["rollingUpdate"]["maxUnavailable"]) == (2, 0)
    assert spec["nodeSelector"] == {"node.kubernetes.io/pool": "general"}
    assert "tolerations" not in spec
    assert spec["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"
    budget = found["PodDisruptionBudget", OWN]["spec"]
    for selector in (budget["selector"], spec["topologySpreadConstraints"][0]["labelSelector"], deployment["selector"]):
        assert set(selector["matchLabels"].items()) <= labels(found, OWN)
        assert not set(selector["matchLabels"].items()) <= labels(found, NAME)
    assert budget["maxUnavailable"] == 1
    (container,) = spec["containers"]
    assert container["resources"]["requests"] == {"cpu": "1", "memory": "1Gi"}
    assert "gpu" not in json.dumps(spec)
    assert "trimtab/sidecar" not in dict(labels(found, OWN))  # else the sidecars' Service would lead to it


def test_it_holds_what_it_needs_and_no_door_for_exchanges() -> None:
    """Database, bucket, the claim that the settings name files of; probes; nothing of the taps."""
    (container,) = controller("controller")["containers"]
    told = env(container)
    assert {"TRIMTAB_TOKEN", "TRIMTAB_STORE_URL", "TRIMTAB_ALERT_TOKEN", "AWS_ACCESS_KEY_ID"} <= told.keys()
    assert "TRIMTAB_ATTACH_TOKEN" not in told
    at = {path: mount["name"] for path, mount in mounts(container).items()}
    assert at["/models"] == "trimtab-models"
    assert at["/var/lib/trimtab/home"] == "trimtab-home"
    assert "/middleware" not in at
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "agent"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "agent"}
    assert container["command"] == named(pod("controller"), "trimtab-agent")["command"]


def test_monitoring_reaches_both_and_the_judge_is_reached() -> None:
    """One ServiceMonitor chooses both Services; who asks the judge may ask vLLM, whatever `apps` says."""
    found = manifests("controller")
    wanted = set(found["ServiceMonitor", NAME]["spec"]["selector"]["matchLabels"].items())
    chosen = {
        name
        for (kind, name), m in found.items()
        if kind == "Service" and wanted <= set(m["metadata"]["labels"].items())
    }
    assert chosen == {f"{NAME}-agent", OWN}
    policy = found["NetworkPolicy", OWN]["spec"]
    assert set(policy["podSelector"]["matchLabels"].items()) <= labels(found, OWN)
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    assert policy["ingress"] == [{"ports": [{"port": 8321}], "from": [monitoring]}]
    judge = found["NetworkPolicy", NAME]["spec"]["ingress"][1]["from"]
    assert [set(one["podSelector"]["matchLabels"].items()) <= labels(found, OWN) for one in judge] == [True, False]
    assert judge[1]["podSelector"]["matchLabels"] == {LABEL: MINE}


@pytest.mark.parametrize(
    ("install", "values"),
    [
        ("postgresql", ()),
        ("airgapped", ("storage.accessMode=ReadWriteMany",)),
        ("autoscaling", ()),
        ("observe", ()),
        ("attach", ("database.kind=postgresql", "database.existingSecret=d", "objects.url=s3://b")),
    ],
)
def test_it_goes_with_every_way_to_install_that_has_a_database(install: str, values: tuple[str, ...]) -> None:
    """Valid manifests; each mount has its volume; with a claim the adapters lie where the sidecars see them."""
    found = beside(install, *values)
    for manifest in found.values():
        fits(manifest)
    spec = found["Deployment", OWN]["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}
    claim = mounts(container).get("/var/lib/trimtab/objects")
    assert (claim is not None) is (install in ("postgresql", "airgapped"))
    read: dict[str, Any] = yaml.safe_load(found["ConfigMap", NAME]["data"]["agent.yaml"])
    assert read["role"] == "sidecar"
    if install == "airgapped":
        assert found["NetworkPolicy", OWN]["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert container["image"].startswith("registry.internal:5000/mirror/")


def test_attached_sidecars_need_no_account_with_rights() -> None:
    """Jobs are the controller's, so the Deployment of somebody else keeps its account; its pods get a Service."""
    job = ("retraining.where=job", "database.kind=postgresql", "database.existingSecret=d", "objects.url=s3://b")
    found = beside("attach", *job, "attach.port=8080")
    sidecar = found["ConfigMap", f"{NAME}-attach"]["data"]["sidecar.yaml"]
    assert "serviceaccount" not in sidecar.lower()
    service = found["Service", f"{NAME}-engine"]["spec"]
    assert service["selector"].items() <= yaml.safe_load(sidecar)["spec"]["template"]["metadata"]["labels"].items()
    own = yaml.safe_load(found["ConfigMap", OWN]["data"]["agent.yaml"])
    assert own["engine"]["url"] == f"http://{NAME}-engine.models.svc:{service['ports'][0]['port']}"
    assert own["retrain"]["engine_url"] == "http://127.0.0.1:8000"  # the vLLM in the Job, whatever port theirs has


def test_the_notes_lead_to_the_controller() -> None:
    """Its page knows what is decided; and without it nothing of it is made."""
    ran = helm("install", "demo", ".", "-f", "ci/controller-values.yaml", "--namespace", "models", "--dry-run=client")
    assert f"port-forward service/{OWN} 8321" in ran.stdout.partition("NOTES:")[2]
    assert not [name for _, name in manifests("retraining") if "controller" in name]


def test_who_sends_messages_starts_anew_when_their_addresses_change() -> None:
    """They are read from the environment, which a running pod keeps; sidecars beside a controller send none."""
    urls = "secrets.notifyUrls=slack://a"
    database = ("database.kind=postgresql", "database.existingSecret=d", "objects.url=s3://b")
    both = [beside("minimal", *database, *more) for more in ((), (urls,))]
    alone = [manifests("minimal"), beside("minimal", "controller.enabled=false", urls)]
    assert len({checksum(found, OWN) for found in both}) == 2
    assert len({checksum(found, NAME) for found in both}) == 1
    assert len({checksum(found, NAME) for found in alone}) == 2


def checksum(found: dict[tuple[str, str], Manifest], name: str) -> str:
    """What a pod's template says of the settings."""
    return str(found["Deployment", name]["spec"]["template"]["metadata"]["annotations"]["checksum/settings"])
