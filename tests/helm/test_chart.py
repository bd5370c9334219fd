"""Each way to install must render, be valid Kubernetes, and start exactly what this repository is."""

from __future__ import annotations

import base64
import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.app.orders import RETRAIN_BY_ID, reachable
from agent.launch import kubernetes
from agent.launch.job import CONTAINER, LABEL, MINE
from agent.policy.sane import check
from agent.types import InvalidInput
from serving import launch
from serving.middleware import TapSettings
from tests.helm.chart import (
    CHART,
    INSTALLS,
    NAME,
    ROOT,
    containers,
    env,
    every_install,
    every_serving,
    helm,
    manifests,
    mounts,
    named,
    pod,
    pods,
    settings,
)
from tests.helm.schemas import Misfit, fits

CONTROLLER = {
    "app.kubernetes.io/name": "trimtab",
    "app.kubernetes.io/instance": "demo",
    "app.kubernetes.io/component": "controller",
}
SUPPORT = ("controller", "full", "observe", "retraining")
"""Installs whose alias is `support`."""


@every_install
def test_helm_has_nothing_to_complain_of(install: str) -> None:
    """The linter and the schema of the values must pass."""
    ran = helm("lint", ".", "--strict", "-f", f"ci/{install}-values.yaml")
    assert ran.returncode == 0, ran.stdout + ran.stderr


@every_install
def test_every_manifest_is_valid(install: str) -> None:
    """Each manifest must fit the schema of its kind, without a field that its reader does not know."""
    for manifest in manifests(install).values():
        fits(manifest)
    assert len(manifests(install)) >= 5


@pytest.mark.parametrize(
    ("kind", "breach"),
    [
        ("ServiceMonitor", lambda spec: spec["endpoints"][0].update(ports="agent")),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].update(alert="Both")),
        ("PrometheusRule", lambda spec: spec["groups"][0]["rules"][0].pop("expr")),
    ],
)
def test_the_small_schemas_see_a_fault(kind: str, breach: Any) -> None:
    """A schema that lets everything pass would prove nothing."""
    manifest = deepcopy(manifests("full")[kind, NAME])
    breach(manifest["spec"])
    with pytest.raises(Misfit):
        fits(manifest)


# ------------------------------------------------------------------------------------------------ the sidecar


@every_install
def test_the_sidecar_can_read_its_settings(install: str, tmp_path: Path) -> None:
    """Paths and ports of the pod are the chart's own; all else is the user's."""
    read = settings(install, tmp_path)
    assert read.home == Path("/var/lib/trimtab/home")
    assert (read.http.host, read.http.port) == ("0.0.0.0", 8321)  # noqa: S104  # inside the pod
    assert ("Service", read.http.hosts[0]) in manifests(install)  # browsers may come by the service's name
    assert read.alias == ("support" if install in SUPPORT else "home")
    if install not in ("attach", "observe"):
        argument = next(a for a in pod(install)["containers"][0]["args"] if a.startswith("--max-lora-rank="))
        assert argument == f"--max-lora-rank={read.engine.max_lora_rank}"
        assert read.engine.url == "http://127.0.0.1:8000"


@every_install
def test_the_sidecar_finds_nothing_wrong_with_its_settings(
    install: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it checks before it starts: settings that contradict each other, and what Jobs could not reach."""
    read = settings(install, tmp_path)
    check(read)
    if install == "retraining":
        monkeypatch.setenv("TRIMTAB_STORE_URL", "postgresql://trimtab@db/trimtab")
        reachable(read)
        monkeypatch.delenv("TRIMTAB_STORE_URL")
        with pytest.raises(InvalidInput, match="TRIMTAB_STORE_URL"):
            reachable(read)


def test_what_the_values_say_of_the_model_reaches_the_sidecar(tmp_path: Path) -> None:
    """The first champion and the runbook have one place in the values."""
    full = settings("full", tmp_path)
    assert full.champion == Path("/models/llama/support-v1")
    assert full.notify.runbook == "https://wiki.example/trimtab-runbook"
    assert (full.drift.window_rows, full.quality.floor) == (200, 0.8)
    assert settings("cpu", tmp_path).champion is None


@every_serving
def test_the_sidecar_is_native(install: str) -> None:
    """Up before the engine, gone after it, and no reason for the engine to wait when the sidecar is not well."""
    spec = pod(install)
    assert [c["name"] for c in containers(spec)] == ["trimtab-middleware", "trimtab-agent", "vllm"]
    middleware, sidecar = spec["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert "restartPolicy" not in middleware
    assert "startupProbe" not in sidecar
    assert "readinessProbe" not in sidecar
    assert sidecar["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "agent"}


@every_install
def test_every_secret_comes_from_one_secret(install: str) -> None:
    """The sidecar gets each secret that the program reads, none stands in a manifest, and only the token is a must."""
    told = env(named(pod(install), "trimtab-agent")) if install != "attach" else {}
    where = {"full": "my-secrets", "retraining": "my-secrets"}.get(install, NAME)
    for name, source in told.items():
        if name not in ("TRIMTAB_STORE_URL", "HOME"):
            needed = {} if name == "TRIMTAB_TOKEN" else {"optional": True}
            assert source == {"secretKeyRef": {"name": where, "key": name} | needed}
    if told:
        wanted = {
            "TRIMTAB_TOKEN",
            "TRIMTAB_ATTACH_TOKEN",
            "TRIMTAB_ALERT_TOKEN",
            "TRIMTAB_POLICY_TOKEN",
            "TRIMTAB_NOTIFY_URLS",
        }
        assert wanted <= told.keys()
    made = {name for kind, name in manifests(install) if kind == "Secret"}
    assert made == (set() if where == "my-secrets" else {NAME})


def test_a_secret_that_is_made_opens_no_door_by_chance() -> None:
    """Each token is its own and long; addresses are those of the values."""
    data = manifests("attach")["Secret", NAME]["data"]
    tokens = {value for key, value in data.items() if key.endswith("TOKEN")}
    assert data.keys() - {"TRIMTAB_NOTIFY_URLS"} == {key for key in data if key.endswith("TOKEN")}
    assert base64.b64decode(data["TRIMTAB_NOTIFY_URLS"]).startswith(b"slack://TokenA")
    assert len(tokens) == 4
    assert all(len(base64.b64decode(token)) == 40 for token in tokens)


# ------------------------------------------------------------------------------------------------- the engine


@every_serving
def test_the_engine_is_started_as_serving_starts_it(install: str, tmp_path: Path) -> None:
    """The chart must give vLLM the arguments and the environment that `trimtab serve` gives it, no fewer."""
    engine = named(pod(install), "vllm")
    cpu = install == "cpu"
    argv, environment = launch.command(launch.ServeSettings(model=Path("/models/x"), cpu=cpu), {})
    ours = {arg.split("=")[0] for arg in engine["args"] if arg.startswith("--")}
    theirs = {arg for arg in argv[1:] if arg.startswith("--")}
    assert engine["command"][1:] == argv[1:3]
    assert ours - theirs == ({"--tensor-parallel-size", "--dtype"} if install == "full" else set())
    assert theirs - ours == set()
    place = engine["args"].index("--lora-target-modules") + 1
    assert tuple(engine["args"][place : place + len(launch.LORA_MODULES)]) == launch.LORA_MODULES
    told = env(engine)
    wanted = launch.ENGINE_ENV | (launch.CPU_ENV if cpu else {})
    assert {name: told.get(name) for name in wanted} == wanted
    assert environment.keys() <= told.keys()
    assert f"--served-model-name={settings(install, tmp_path).engine.base_model}" in engine["args"]


@every_serving
def test_both_sides_see_the_same_files_and_hold_the_same_token(install: str, tmp_path: Path) -> None:
    """An adapter must have one path for both, the socket lies where the sidecar opens it, and the engine only reads."""
    engine, sidecar = named(pod(install), "vllm"), named(pod(install), "trimtab-agent")
    read = settings(install, tmp_path)
    for path in (read.home / "adapters", Path("/models"), read.socket):
        seen = [_behind(side, path) for side in (engine, sidecar)]
        assert seen[0][0] == seen[1][0], path
        assert seen[0][1]["readOnly"] is True
    assert "readOnly" not in _behind(sidecar, read.home)[1]
    assert env(engine)["TRIMTAB_TOKEN"] == env(sidecar)["TRIMTAB_TOKEN"]
    assert env(engine)["PYTHONPATH"] == "/middleware"
    tap = TapSettings.read({name: value for name, value in env(engine).items() if isinstance(value, str)})
    assert tap.socket == str(read.socket)
    assert tap.buffer_bytes == 64 * 1024 * 1024


def _behind(container: dict[str, Any], path: Path) -> tuple[tuple[str, str], dict[str, Any]]:
    """What lies under a path in a container: (volume, folder in it), and the mount."""
    at = next(str(p) for p in (path, *path.parents) if str(p) in mounts(container))
    mount = mounts(container)[at]
    inside = Path(mount.get("subPath", "")) / path.relative_to(at)
    return (mount["name"], str(inside)), mount


@every_serving
def test_a_pod_is_ready_when_the_alias_answers(install: str) -> None:
    """Before the adapter is loaded, clients would be told that there is no such model; without one, health will do."""
    probe = named(pod(install), "vllm")["readinessProbe"]
    if install == "cpu":
        assert probe["httpGet"]["path"] == "/health"
        return
    program = probe["exec"]["command"][2]
    compile(program, "probe", "exec")
    assert "127.0.0.1:8000/v1/models" in program
    assert f'"{"support" if install in SUPPORT else "home"}" not in names' in program


def test_gpus_are_asked_for_and_used() -> None:
    """As many as the values say, and vLLM spreads the model over them; none on a CPU."""
    full, minimal, cpu = (named(pod(name), "vllm") for name in ("full", "minimal", "cpu"))
    assert full["resources"]["limits"] == {"nvidia.com/gpu": 2, "memory": "64Gi"}
    assert "--tensor-parallel-size=2" in full["args"]
    assert minimal["resources"] == {"limits": {"nvidia.com/gpu": 1}}
    assert "nvidia.com/gpu" not in json.dumps(cpu["resources"])


# ---------------------------------------------------------------------------------------------- who may what


@every_serving
def test_a_pod_that_is_replaced_answers_until_nobody_sends_to_it(install: str) -> None:
    """Endpoints are told late: a vLLM that ended at once would refuse requests while another could answer them."""
    deployment = manifests(install)["Deployment", NAME]["spec"]
    engine = named(pod(install), "vllm")
    replaced = deployment["strategy"]["type"] == "RollingUpdate"
    assert ("lifecycle" in engine) is replaced
    if replaced:
        waits = re.search(r"sleep\((\d+)\)", engine["lifecycle"]["preStop"]["exec"]["command"][-1])
        assert waits is not None
        assert 0 < int(waits[1]) < pod(install)["terminationGracePeriodSeconds"]


@every_install
def test_every_container_is_locked_down(install: str) -> None:
    """Nobody in particular, no rights, nothing to write but what is mounted, in the cluster as on the node."""
    seen = 0
    for _, spec in pods(install):
        assert spec["automountServiceAccountToken"] is False
        for container in containers(spec):
            assert container["securityContext"] == {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            }
            assert "/tmp" in mounts(container) or container["name"] == "trimtab-middleware"
            seen += 1
    assert seen == {"attach": 0, "observe": 1, "controller": 4}.get(install, 3)


@every_install
def test_what_is_mounted_is_there(install: str) -> None:
    """Every mount has its volume, every volume a mount."""
    for _, spec in pods(install):
        used = {mount["name"] for container in containers(spec) for mount in container["volumeMounts"]}
        assert used == {volume["name"] for volume in spec["volumes"]}


@every_install
def test_the_policy_opens_the_api_to_apps_and_the_sidecar_to_monitoring(install: str) -> None:
    """Nobody else reaches the page with users' texts; the API is for whom the values name."""
    spec = manifests(install)["NetworkPolicy", NAME]["spec"]
    assert spec["podSelector"] == {"matchLabels": {"trimtab/sidecar": NAME}}
    doors = {rule["ports"][0]["port"]: rule.get("from") for rule in spec["ingress"]}
    assert all(doors[port] for port in doors.keys() & {"openai", 8321})
    shop = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}
    monitoring = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    match install:
        case "full":
            feedback = shop | {"podSelector": {"matchLabels": {"app": "feedback"}}}
            assert doors == {"openai": [shop], 8321: [feedback, monitoring]}
        case "attach":
            (theirs,) = spec["ingress"]
            open_to_all = [(p.get("protocol", "TCP"), p["port"], p["endPort"]) for p in theirs["ports"]]
            other = [("UDP", 1, 65535), ("SCTP", 1, 65535)]
            assert open_to_all == [("TCP", 1, 8320), ("TCP", 8322, 65535), *other]
            assert "from" not in theirs
        case "observe":
            assert set(doors) == {8321}
        case "controller":
            assert doors[8321] == [monitoring]
            assert [rule.get("from") for rule in spec["ingress"] if rule["ports"][0]["port"] == "openai"] == [
                [shop],
                [
                    {"podSelector": {"matchLabels": CONTROLLER}},
                    {"podSelector": {"matchLabels": {LABEL: MINE}}},
                ],
            ]
        case _:
            assert doors == {"openai": [{"podSelector": {}}]}


def test_the_way_out_is_closed_where_that_is_asked() -> None:
    """DNS, the release's own pods, and what the values allow."""
    spec = manifests("airgapped")["NetworkPolicy", NAME]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert [[port["port"] for port in rule.get("ports", ())] for rule in spec["egress"]] == [[53, 53], [], [5432]]
    assert all(rule.get("to") for rule in spec["egress"][1:])
    assert manifests("full")["NetworkPolicy", NAME]["spec"]["policyTypes"] == ["Ingress"]


def test_without_a_network_outside_every_image_comes_from_the_registry_within() -> None:
    """No image name is left as it was, nothing is looked up in a hub, and nobody reports home."""
    for _, spec in pods("airgapped"):
        for container in containers(spec):
            assert container["image"].startswith("registry.internal:5000/mirror/")
        assert spec["imagePullSecrets"] == [{"name": "registry"}]
    told = env(named(pod("airgapped"), "vllm"))
    assert (told["HF_HUB_OFFLINE"], told["DO_NOT_TRACK"], told["VLLM_NO_USAGE_STATS"]) == ("1", "1", "1")


# ------------------------------------------------------------------------------------------- one pod and many


@every_serving
def test_only_one_pod_writes_a_file(install: str) -> None:
    """Two pods on one SQLite file would be one too many, also for the length of an update."""
    spec = manifests(install)["Deployment", NAME]["spec"]
    if "TRIMTAB_STORE_URL" not in env(named(pod(install), "trimtab-agent")):
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
        assert mounts(named(pod(install), "trimtab-agent"))["/var/lib/trimtab"]["name"] == "trimtab-state"
    else:
        assert spec["strategy"]["type"] == "RollingUpdate"
        home = next(v for v in pod(install)["volumes"] if v["name"] == "trimtab-home")
        assert home == {"name": "trimtab-home", "emptyDir": {}}


def test_many_pods_share_a_database_and_the_adapters(tmp_path: Path) -> None:
    """The address comes from a Secret, adapters lie where all pods get them, the socket is each pod's."""
    sidecar = named(pod("postgresql"), "trimtab-agent")
    assert env(sidecar)["TRIMTAB_STORE_URL"] == {"secretKeyRef": {"name": "trimtab-db-app", "key": "uri"}}
    at = {path: mount["name"] for path, mount in mounts(sidecar).items()}
    assert at["/var/lib/trimtab/home"] == "trimtab-home"
    assert at["/var/lib/trimtab/objects"] == "trimtab-state"
    assert settings("postgresql", tmp_path).objects.url == "file:///var/lib/trimtab/objects"
    assert manifests("postgresql")["PersistentVolumeClaim", NAME]["spec"]["accessModes"] == ["ReadWriteMany"]
    spec = manifests("postgresql")["Deployment", NAME]["spec"]
    assert (spec["replicas"], spec["strategy"]["rollingUpdate"]) == (3, {"maxSurge": 1, "maxUnavailable": 0})


def test_sidecars_without_an_engine_share_a_database_and_elect_a_leader(tmp_path: Path) -> None:
    """They are replaced one by one and told apart by their pods' names; with no adapters, they need no claim."""
    spec = manifests("observe")["Deployment", NAME]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (2, "RollingUpdate")
    assert "TRIMTAB_STORE_URL" in env(spec["template"]["spec"]["containers"][0])
    assert "PersistentVolumeClaim" not in {kind for kind, _ in manifests("observe")}
    read = settings("observe", tmp_path)
    assert (read.store.pod, read.objects.url, read.champion) == (None, None, None)


def test_a_bucket_takes_the_place_of_the_claim(tmp_path: Path) -> None:
    """Its keys come from the Secret or from the role of the service account; no claim is made that nobody uses."""
    found = manifests("autoscaling")
    assert settings("autoscaling", tmp_path).objects.url == "s3://my-adapters"
    assert "PersistentVolumeClaim" not in {kind for kind, _ in found}
    assert "trimtab-state" not in json.dumps(pod("autoscaling"))
    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= env(named(pod("autoscaling"), "trimtab-agent")).keys()
    role = found["ServiceAccount", NAME]["metadata"]["annotations"]["eks.amazonaws.com/role-arn"]
    assert role.endswith("role/adapters")
    assert pod("autoscaling")["serviceAccountName"] == NAME


# ------------------------------------------------------------------------------------------------- retraining


def test_the_right_to_start_jobs_is_the_sidecar_s_alone() -> None:
    """One Role over Jobs of this namespace, for one account; its token is in one container, and Jobs get none."""
    found = manifests("retraining")
    assert found["Role", NAME]["rules"] == [
        {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create", "get", "list", "watch", "delete"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]},
    ]
    binding = found["RoleBinding", NAME]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": "models"}]
    holders = [
        container["name"]
        for container in containers(pod("retraining"))
        if any(path.endswith("/serviceaccount") for path in mounts(container))
    ]
    assert holders == ["trimtab-agent"]
    assert found["ServiceAccount", f"{NAME}-retrain"]["automountServiceAccountToken"] is False
    for install in INSTALLS:
        if install not in ("retraining", "controller"):
            assert not {"Role", "RoleBinding", "ClusterRole"} & {kind for kind, _ in manifests(install)}
            assert "serviceaccount" not in json.dumps([spec for _, spec in pods(install)]).lower().replace(
                "serviceaccountname", ""
            ).replace("automountserviceaccounttoken", "")


def test_nobody_reaches_a_job() -> None:
    """By the label that the launcher puts on their pods."""
    own = manifests("retraining")["NetworkPolicy", f"{NAME}-retrain"]["spec"]
    label = {"podSelector": {"matchLabels": {LABEL: MINE}}}
    assert own == label | {"policyTypes": ["Ingress"]}
    assert ("NetworkPolicy", f"{NAME}-retrain") not in manifests("postgresql")


def test_a_job_as_the_launcher_makes_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Valid, locked down, with a vLLM of its own that sees the challenger where the job puts it, as production runs."""
    read = settings("retraining", tmp_path)
    monkeypatch.setattr(kubernetes, "_find_cluster", lambda config: None)
    monkeypatch.setattr(kubernetes, "_own_namespace", lambda config: "models")
    job = kubernetes.Kubernetes(read.retrain.kubernetes, read.home, RETRAIN_BY_ID, owner="a").manifest("order-1")
    fits(job)
    spec = job["spec"]["template"]["spec"]
    engine, trainer = containers(spec)
    assert (engine["restartPolicy"], trainer["name"]) == ("Always", CONTAINER)
    for container in (engine, trainer):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert "/tmp" in mounts(container)
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["enableServiceLinks"] is False  # a Service called vllm would be VLLM_PORT, which vLLM refuses
    assert _behind(engine, read.home / "adapters")[0] == _behind(trainer, read.home / "adapters")[0]
    claims = {
        v["name"]: v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if "persistentVolumeClaim" in v
    }
    assert {claims[mounts(c)["/models"]["name"]] for c in (engine, trainer)} == {"my-models"}
    used = {mount["name"] for container in (engine, trainer) for mount in container["volumeMounts"]}
    assert used == {volume["name"] for volume in spec["volumes"]}
    production = [a for a in named(pod("retraining"), "vllm")["args"] if not a.startswith("--middleware")]
    assert engine["args"] == [a.replace("--host=0.0.0.0", "--host=127.0.0.1") for a in production]
    assert read.engine.url == "http://127.0.0.1:8000"


def test_jobs_get_what_an_order_needs(tmp_path: Path) -> None:
    """The image that can train, the base model where the order names it, the database and the token from Secrets."""
    read = settings("retraining", tmp_path)
    assert (read.retrain.launcher, read.retrain.base_model_path) == ("kubernetes", Path("/models/base"))
    jobs = read.retrain.kubernetes
    assert jobs.image == "trimtab-retrain:0.1.0"
    assert jobs.resources["limits"]["nvidia.com/gpu"] == 1
    assert jobs.claims == {"my-models": "/models"}
    assert jobs.secrets == ("my-secrets", "my-database")
    assert (jobs.queue, jobs.service_account, jobs.deadline_s) == ("training", f"{NAME}-retrain", 7200)
    assert jobs.pod["tolerations"] == pod("retraining")["tolerations"]
    assert jobs.pod["securityContext"] == pod("retraining")["securityContext"]


def test_who_retrains_in_the_sidecar_has_an_image_and_room_for_it(tmp_path: Path) -> None:
    """Without that no order could be worked off, so by default none is opened."""
    sidecar = named(pod("sidecar-retraining"), "trimtab-agent")
    assert sidecar["image"] == "trimtab-retrain:0.1.0"
    assert sidecar["resources"]["limits"]["memory"] == "12Gi"
    assert settings("sidecar-retraining", tmp_path).retrain.base_model_path == Path("/models/base")
    assert settings("minimal", tmp_path).retrain.base_model_path is None


def test_the_autoscaler_scales_the_engine_and_nothing_else_does() -> None:
    """A fixed number of replicas in the Deployment would undo it at every upgrade."""
    scaler = manifests("autoscaling")["HorizontalPodAutoscaler", NAME]["spec"]
    deployment = manifests("autoscaling")["Deployment", NAME]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME}
    assert "replicas" not in deployment["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 10)
    assert [name for name in INSTALLS if ("HorizontalPodAutoscaler", NAME) in manifests(name)] == ["autoscaling"]


@every_install
def test_selectors_choose_what_they_should(install: str) -> None:
    """Services, the budget and the policy choose the pods with the sidecar; labels of pods match their Deployment's."""
    found = manifests(install)
    for (kind, _), manifest in found.items():
        if kind == "Deployment":
            labels = manifest["spec"]["template"]["metadata"]["labels"]
            assert manifest["spec"]["selector"]["matchLabels"].items() <= labels.items()
    sidecar = {"trimtab/sidecar": NAME}
    assert found["Service", f"{NAME}-agent"]["spec"]["selector"] == sidecar
    assert [
        manifest["spec"]["selector"]["matchLabels"]
        for (kind, name), manifest in found.items()
        if (kind, name) == ("PodDisruptionBudget", NAME)
    ] == ([] if install == "attach" else [sidecar])  # theirs may have one, and nothing is evicted where two speak
    if install != "attach":
        labels = found["Deployment", NAME]["spec"]["template"]["metadata"]["labels"]
        assert sidecar.items() <= labels.items()
    served = [name for kind, name in found if kind == "Service"]
    assert (NAME in served) is (install not in ("attach", "observe"))


@every_install
def test_ports_are_what_the_containers_open(install: str) -> None:
    """A Service, a policy or a probe that names a port must name one that is there."""
    reached: set[str] = set()
    for metadata, spec in pods(install):
        ports = {p["name"]: p["containerPort"] for c in containers(spec) for p in c.get("ports", ())}
        engine = any(c["name"] == "vllm" for c in containers(spec))
        assert ports == ({"agent": 8321} | ({"openai": 8000} if engine else {}))
        for container in containers(spec):
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if "httpGet" in container.get(probe, {}):
                    assert container[probe]["httpGet"]["port"] in ports
        for (kind, _), manifest in manifests(install).items():
            if kind == "Service" and manifest["spec"]["selector"].items() <= metadata["labels"].items():
                assert {p["targetPort"] for p in manifest["spec"]["ports"]} <= {"openai", 8321}
                assert ports["agent"] == 8321
                reached.add(manifest["metadata"]["name"])
    if install != "attach":
        assert reached == {name for kind, name in manifests(install) if kind == "Service"}


def test_what_exists_is_used_and_what_does_not_is_made() -> None:
    """A Secret or a claim of the user's must not be shadowed by one of the chart's."""
    made = {kind for kind, _ in manifests("minimal")}
    used = {kind for kind, _ in manifests("full")}
    assert {"Secret", "PersistentVolumeClaim"} <= made
    assert not {"Secret", "PersistentVolumeClaim"} & used
    volumes = {v["name"]: v for v in pod("full")["volumes"]}
    assert volumes["trimtab-state"]["persistentVolumeClaim"]["claimName"] == "my-state"
    for name in ("Secret", "PersistentVolumeClaim"):
        assert manifests("minimal")[name, NAME]["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


@every_install
def test_every_variable_is_one_that_the_program_reads(install: str) -> None:
    """A variable of Trimtab's that nothing reads would be a promise that nobody keeps."""
    read = {
        name
        for folder in ("agent", "serving", "retrain")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(r"\"(TRIMTAB_[A-Z_]+)\"", path.read_text(encoding="utf-8"))
    }
    text = (CHART / "templates" / "_pod.tpl").read_text(encoding="utf-8")
    said = set(re.findall(r"TRIMTAB_[A-Z_]+", text + json.dumps(list(manifests(install).values()))))
    assert {"TRIMTAB_TOKEN", "TRIMTAB_SOCKET", "TRIMTAB_ALERT_TOKEN", "TRIMTAB_NOTIFY_URLS"} <= said
    assert said - read == set()


# ------------------------------------------------------------------------------------------------- monitoring


def test_prometheus_scrapes_the_sidecar_alone() -> None:
    """The ServiceMonitor must choose the sidecar's Service and its port, not the API's."""
    found = manifests("full")
    monitor = found["ServiceMonitor", NAME]["spec"]
    wanted = set(monitor["selector"]["matchLabels"].items())
    chosen = [
        m for (kind, _), m in found.items() if kind == "Service" and wanted <= set(m["metadata"]["labels"].items())
    ]
    assert [m["metadata"]["name"] for m in chosen] == [f"{NAME}-agent"]
    assert monitor["endpoints"] == [{"port": "agent", "path": "/metrics", "interval": "30s"}]
    assert chosen[0]["spec"]["type"] == "ClusterIP"
    assert ("ServiceMonitor", NAME) not in manifests("minimal")


def test_the_alerts_of_the_chart_are_those_outside_it() -> None:
    """The same groups, and links that lead to the runbook of who installs."""
    rules = yaml.safe_load((ROOT / "alerts" / "trimtab.rules.yaml").read_text(encoding="utf-8"))
    text = json.dumps(rules).replace("alerts/RUNBOOK.md", "https://wiki.example/trimtab-runbook")
    assert manifests("full")["PrometheusRule", NAME]["spec"] == json.loads(text)
    assert ("PrometheusRule", NAME) not in manifests("minimal")


def test_the_dashboards_of_the_chart_are_those_outside_it() -> None:
    """Each in a ConfigMap of its own, with the label that Grafana's sidecar looks for."""
    folder = ROOT / "dashboards"
    found = {name: m for (kind, name), m in manifests("full").items() if kind == "ConfigMap" and name != NAME}
    assert set(found) == {f"{NAME}-{path.stem}" for path in folder.glob("*.json")}
    for path in folder.glob("*.json"):
        made = found[f"{NAME}-{path.stem}"]
        assert made["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert made["metadata"]["annotations"] == {"grafana_folder": "Models"}
        text = path.read_text(encoding="utf-8").replace("alerts/RUNBOOK.md", "https://wiki.example/trimtab-runbook")
        assert json.loads(made["data"][f"trimtab-{path.name}"]) == json.loads(text)
    assert [kind for kind, _ in manifests("minimal")].count("ConfigMap") == 1
