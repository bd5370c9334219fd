"""Kubernetes Jobs: what is sent, what is seen, what is said; and that the fake is honest, by the real kubectl too."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
from sqlalchemy import make_url

from agent.app.orders import _owner, launcher_of
from agent.launch.job import LABEL, MINE, QUEUE, job_name
from agent.launch.kubernetes import Kubernetes
from agent.launch.remote import RemoteLauncher, Seen, State
from agent.settings import KubernetesSettings, RaySettings, Settings
from agent.store import Store
from agent.store.tables import OrderRow
from agent.types import InvalidInput, RemoteFault
from tests.estate.kube import KUBERNETES, Kube
from tests.needs import TOOLS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COMMAND = ("/bin/sh", "-c", "sleep 60", "job")


@pytest.fixture
def kube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    """An API server that the official client finds."""
    made = Kube()
    config = made.kubeconfig(tmp_path / "kubeconfig")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
    yield made
    made.close()


def jobs_of(home: Path, clock: list[float] | None = None, owner: str = "a@db", **settings: Any) -> Kubernetes:
    """The Jobs as an agent sees them."""
    moment = clock or [0.0]
    of = KubernetesSettings(image="trimtab/retrain:1", **settings)
    return Kubernetes(of, home, COMMAND, owner=owner, max_attempts=3, clock=lambda: moment[0])


def test_what_is_sent_holds_what_was_set(kube: Kube, tmp_path: Path) -> None:
    """GPU, queue, bounds, secrets and claims stand in a Job that Kubernetes' own schema takes, strictly."""
    own_engine = {
        "name": "engine", "image": "vllm/vllm-openai", "restartPolicy": "Always",
        "volumeMounts": [{"name": "home", "mountPath": str(tmp_path)}],
    }  # fmt: skip
    jobs = jobs_of(
        tmp_path, queue="gpu", secrets=("trimtab",), claims={"models": "/models"}, ttl_s=600, deadline_s=7200,
        pod={"nodeSelector": {"gpu": "h100"}, "initContainers": [own_engine]},
    )  # fmt: skip
    body = jobs.manifest("home-20260101T000000")
    kubernetes_validate.validate(body, KUBERNETES, strict=True)
    spec, pod = body["spec"], body["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert body["metadata"]["labels"][QUEUE] == "gpu"
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (2, 7200, 600)
    assert container["command"] == [*COMMAND, "home-20260101T000000"]
    assert container["resources"] == {"limits": {"nvidia.com/gpu": "1"}}
    assert container["envFrom"] == [{"secretRef": {"name": "trimtab"}}]
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/models", "/tmp", str(tmp_path)}
    assert pod["volumes"][0] == {"name": "claim-0", "persistentVolumeClaim": {"claimName": "models"}}
    assert (pod["nodeSelector"], pod["initContainers"]) == ({"gpu": "h100"}, [own_engine])
    kept = jobs_of(tmp_path, claims={"trimtab-home": str(tmp_path)}).manifest("o1")["spec"]["template"]["spec"]
    assert [volume["name"] for volume in kept["volumes"]] == ["claim-0", "tmp"]


@pytest.mark.parametrize("order", ["o1", "Home_v2.X", "x" * 128, "-", "home-20260101T000000"])
def test_every_order_has_a_name_of_its_own(order: str) -> None:
    """A DNS label, short enough for the labels of pods, that differs where the orders do."""
    name = job_name(order, "a")
    assert len(name) <= 63
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name == job_name(order, "a")
    assert name not in {job_name(order + "x", "a"), job_name(order, "b"), job_name(order, "A")}
    assert job_name("A", "a") != job_name("a", "a")


def test_two_agents_create_one_job(kube: Kube, tmp_path: Path) -> None:
    """The server refuses the second, and both see the same one."""
    one, two = jobs_of(tmp_path), jobs_of(tmp_path)
    one.start("o1", 1)
    two.start("o1", 1)
    assert one.jobs() == two.jobs()
    assert len(kube.list("jobs", "default", "")["items"]) == 1


def test_two_releases_in_one_namespace_have_a_job_each(kube: Kube, tmp_path: Path) -> None:
    """Orders that happen to bear the same id: each sees, keeps and ends its own, also after a restart."""
    one, two = jobs_of(tmp_path), jobs_of(tmp_path, owner="a@other")
    for cluster in (one, two, jobs_of(tmp_path)):
        cluster.start("o1", 1)
    assert len(kube.list("jobs", "default", "")["items"]) == 2
    one.end("o1")
    assert (one.jobs(), list(two.jobs())) == ({}, ["o1"])


def test_a_job_of_an_earlier_program_is_gone_on_with(kube: Kube, tmp_path: Path) -> None:
    """It bears the name of its time and no owner: it is found by its order, not made again, and can be ended."""
    now = jobs_of(tmp_path)
    then = now.manifest("o1")
    then["metadata"] |= {"name": "trimtab-o1-d3a5a1fc", "labels": {LABEL: MINE}}
    now._batch.create_namespaced_job("default", then)
    assert list(now.jobs()) == ["o1"]
    now.start("o1", 2)
    assert [job["metadata"]["name"] for job in kube.list("jobs", "default", "")["items"]] == ["trimtab-o1-d3a5a1fc"]
    now.end("o1")
    assert now.jobs() == {}


def test_whose_an_order_is_survives_a_new_password(tmp_path: Path) -> None:
    """The alias and the database count, not who logs in there, so that an order's Job is found again."""
    mine = {_owner("a", make_url(f"postgresql+psycopg://{who}db:5432/x?sslmode=require")) for who in ("", "u:p@", "v@")}
    others = {
        _owner(alias, make_url(url))
        for alias, url in [
            ("b", "postgresql://db:5432/x"), ("a", "postgresql://db:5432/y"), ("a", "postgresql://db2:5432/x"),
            ("a", "postgresql:///x?host=/run/pg"), ("a", "postgresql:///x?host=/run/pg2"),
        ]
    }  # fmt: skip
    assert (len(mine), len(others)) == (1, 5)
    assert not mine & others


def test_what_a_watch_missed_is_seen_by_the_next_list(kube: Kube, tmp_path: Path) -> None:
    """Changes come by the watch; a version that was forgotten, and half a minute, lead to a list anew."""
    clock = [0.0]
    mine, other = jobs_of(tmp_path, clock), jobs_of(tmp_path)
    assert mine.jobs() == {}
    other.start("o1", 1)
    assert mine.jobs()["o1"].state is State.ALIVE
    kube.forget_history()
    other.end("o1")
    assert mine.jobs() == {}
    other.start("o2", 1)
    del kube._events[:]  # as a watch that broke without a word
    assert mine.jobs() == {}
    clock[0] = 31.0
    assert mine.jobs().keys() == {"o2"}


def test_a_cluster_that_is_away_fails_nothing(kube: Kube, tmp_path: Path) -> None:
    """Neither silence nor refusal touches an order; both are said in one sentence."""
    store = Store.at(tmp_path)
    with store.transaction() as session:
        session.add(OrderRow(id="o1", alias="a", status="open", reason="r", document={}, opened_at=NOW))
    launcher = RemoteLauncher(store, jobs_of(tmp_path))
    kube.refuse = 403
    assert "give its service account create, delete, list and watch on jobs" in launcher.tick(NOW)
    kube.refuse = 503
    assert launcher.tick(NOW).startswith("Kubernetes answered 503 when asked to list Jobs")
    kube.refuse = None
    assert launcher.tick(NOW) == "o1 started"
    kube.close()
    assert "does not answer" in launcher.tick(NOW)
    assert store.order("o1").status == "running"
    store.close()


def test_a_job_that_kubernetes_refuses_fails_its_order(kube: Kube, tmp_path: Path) -> None:
    """What can only be mended in the settings is not tried for ever."""
    store = Store.at(tmp_path)
    with store.transaction() as session:
        session.add(OrderRow(id="o1", alias="a", status="open", reason="r", document={}, opened_at=NOW))
    launcher = RemoteLauncher(store, jobs_of(tmp_path, pod={"nodeSelector": ["no mapping"]}))
    assert launcher.tick(NOW) == "o1 failed"
    assert "mend retrain.kubernetes" in str(store.order("o1").error)
    store.close()


def test_a_silent_job_is_told_of_once(kube: Kube, tmp_path: Path) -> None:
    """Alive to Kubernetes, and no heartbeat for a minute: the record says so, and the order goes on."""
    store = Store.at(tmp_path)
    with store.transaction() as session:
        session.add(OrderRow(id="o1", alias="a", status="open", reason="r", document={}, opened_at=NOW))
    launcher = RemoteLauncher(store, jobs_of(tmp_path))
    launcher.tick(NOW)
    for minute in (2, 3):
        assert launcher.tick(NOW.replace(minute=minute)) == "o1 at work"
    assert [event.kind for event in store.events()] == ["job_silent"]
    store.update_order("o1", status="failed", error="a person said so")
    launcher.tick(NOW)
    assert kube.list("jobs", "default", "")["items"] == []
    store.close()


class Unready:
    """A cluster that lists its jobs and cannot take one yet, as Ray's head in its first seconds."""

    name = "Ray"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def jobs(self) -> dict[str, Seen]:
        """None."""
        return {}

    def start(self, order_id: str, attempt: int) -> None:
        """Not now."""
        self.asked.append((order_id, attempt))
        raise RemoteFault("No available agent to submit job, please try again later")

    def end(self, order_id: str) -> None:
        """Nothing to end."""

    def close(self) -> None:
        """Nothing to close."""


def test_a_cluster_that_is_not_ready_costs_no_attempt(tmp_path: Path) -> None:
    """The same attempt is asked for again until it is taken; the order waits."""
    store, cluster = Store.at(tmp_path), Unready()
    with store.transaction() as session:
        session.add(OrderRow(id="o1", alias="a", status="open", reason="r", document={}, opened_at=NOW))
    launcher = RemoteLauncher(store, cluster)
    for _ in range(5):
        assert "try again later" in launcher.tick(NOW)
    row = store.order("o1")
    assert (set(cluster.asked), row.status, row.attempts, store.events()) == ({("o1", 1)}, "open", 0, [])
    store.close()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"home": "here"}, "write it in full"),
        ({}, "set store.url"),
        ({"store": {"url": "postgresql://db/trimtab"}}, "set objects.url"),
        (
            {"store": {"url": "postgresql://db/trimtab"}, "objects": {"url": "s3://b"}},
            "needs retrain.kubernetes.image",
        ),
        (
            {
                "store": {"url": "postgresql://db/trimtab"}, "objects": {"url": "s3://b"},
                "retrain": {"launcher": "ray"},
            },
            "needs retrain.ray.address",
        ),
    ],
)  # fmt: skip
def test_settings_under_which_no_job_could_work_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], says: str
) -> None:
    """One sentence that names the setting, at the agent's start."""
    monkeypatch.delenv("TRIMTAB_STORE_URL", raising=False)
    settings = Settings.model_validate({"home": str(tmp_path), "retrain": {"launcher": "kubernetes"}, **changes})
    store = Store.at(tmp_path)
    with pytest.raises(InvalidInput, match=says):
        launcher_of(settings, store)
    store.close()


def test_a_stranger_s_ray_is_one_sentence(tmp_path: Path) -> None:
    """An address where nobody answers fails no order."""
    from agent.launch.ray import Ray

    with pytest.raises(RemoteFault, match="does not answer"):
        Ray(RaySettings(address="http://127.0.0.1:9"), COMMAND).jobs()


def test_the_fake_is_honest(kube: Kube, tmp_path: Path) -> None:
    """A stale write is a conflict, the uid stays, labels select, and a body with a key too many is refused."""
    from kubernetes import client, config

    config.load_kube_config(str(tmp_path / "kubeconfig"))
    api = client.CoordinationV1Api()
    body: dict[str, Any] = {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l", "labels": {"a": "b"}},
        "spec": {"holderIdentity": "one"},
    }  # fmt: skip
    made = api.create_namespaced_lease("default", body)
    made.spec.holder_identity = "two"
    changed = api.replace_namespaced_lease("l", "default", made)
    assert (changed.metadata.uid, changed.spec.holder_identity) == (made.metadata.uid, "two")
    refusals: list[tuple[Callable[[], object], int]] = [
        (lambda: api.replace_namespaced_lease("l", "default", made), 409),
        (lambda: api.create_namespaced_lease("default", body), 409),
        (lambda: api.create_namespaced_lease("default", {**body, "metadata": {"name": "Capital"}}), 422),
        (lambda: api.read_namespaced_lease("nobody", "default"), 404),
    ]
    for act, status in refusals:
        with pytest.raises(client.ApiException) as refused:
            act()
        assert refused.value.status == status
    url = f"{kube.url}/apis/coordination.k8s.io/v1/namespaces/default/leases"
    odd = httpx.post(url, json={**body, "metadata": {"name": "m"}, "spec": {"holder": "x"}}, trust_env=False)
    assert (odd.status_code, odd.json()["reason"]) == (422, "Invalid")
    assert len(api.list_namespaced_lease("default", label_selector="a=b").items) == 1
    assert api.list_namespaced_lease("default", label_selector="a=c").items == []


def test_kubectl_takes_the_fake_for_a_server(kube: Kube, tmp_path: Path) -> None:
    """The real kubectl reads a Job that the client made, and deletes it."""
    kubectl = shutil.which("kubectl", path=str(TOOLS)) or shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; make test brings it")
    jobs_of(tmp_path).start("o1", 1)
    url = f"/apis/batch/v1/namespaces/default/jobs/{job_name('o1', 'a@db')}"
    call = [kubectl, "--kubeconfig", str(tmp_path / "kubeconfig")]
    said = subprocess.run([*call, "get", "--raw", url], capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["spec"]["backoffLimit"] == 2
    subprocess.run([*call, "delete", "--raw", url], capture_output=True, check=True)
    assert kube.list("jobs", "default", "")["items"] == []
