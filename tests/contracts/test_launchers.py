"""One contract of the launchers: local processes, Kubernetes Jobs, Ray jobs.

Kubernetes is a fake (tests/estate/kube.py) unless KUBECONFIG names a cluster; Ray is a fake
(tests/estate/raycluster.py) unless TRIMTAB_TEST_RAY names the dashboard of one. With a real cluster the same tests run,
with its own delays.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from agent.launch import process
from agent.launch.job import job_name
from agent.launch.kubernetes import Kubernetes
from agent.launch.local import LocalLauncher
from agent.launch.ray import Ray
from agent.launch.remote import Cluster, RemoteLauncher
from agent.settings import KubernetesSettings, RaySettings
from agent.store import Store
from agent.store.tables import OrderRow
from tests.estate.kube import Kube
from tests.estate.raycluster import RayCluster

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ATTEMPTS, OWNER = 2, "a@db"
SCRIPTS = {
    "wait": "echo at it; sleep 300",
    "well": "echo all is done",
    "badly": "echo my last words; exit 1",
    "refuse": "echo write it differently; exit 2",
}
REAL_KUBE, REAL_RAY = os.environ.get("KUBECONFIG"), os.environ.get("TRIMTAB_TEST_RAY")


class Launcher(Protocol):
    """What the agent asks of any of them."""

    def tick(self, now: datetime) -> str:
        """One look."""

    def stop(self) -> None:
        """The agent ends."""


class World:
    """A place where orders run."""

    patience_s = 20.0

    def __init__(self, store: Store, home: Path) -> None:
        self.store, self.home = store, home
        self.runs = home / "runs"
        self.clusters: list[Cluster] = []
        """Made for a test, and closed with it."""

    def command(self, do: str) -> list[str]:
        """Words that append a line per start and then do something simple."""
        return ["/bin/sh", "-c", f"echo x >> {self.runs}; {SCRIPTS[do]}", "job"]

    def launcher(self, do: str) -> Launcher:
        """A launcher as a fresh agent would make it."""
        raise NotImplementedError

    def begun(self) -> int:
        """How often a job of an order has begun."""
        return len(self.runs.read_text().splitlines()) if self.runs.exists() else 0

    def lose(self, order_id: str) -> None:
        """Make the job of an order vanish."""
        raise NotImplementedError

    def turn(self) -> None:
        """Let the place go on."""

    def close(self) -> None:
        """End everything."""
        for cluster in self.clusters:
            cluster.close()


class Local(World):
    """Processes of this machine."""

    def __init__(self, store: Store, home: Path) -> None:
        super().__init__(store, home)
        self._made: list[LocalLauncher] = []

    def launcher(self, do: str) -> Launcher:
        """See World."""
        self._made.append(LocalLauncher(self.store, self.home, self.command(do), max_attempts=ATTEMPTS, threads=1))
        return self._made[-1]

    def lose(self, order_id: str) -> None:
        """See World."""
        pid = self.store.order(order_id).pid
        assert pid is not None
        process.end_group(pid, 0)

    def close(self) -> None:
        """See World."""
        for made in self._made:
            for child in made._children.values():
                process.end_group(child.pid, 0)
                child.wait()


class KubeWorld(World):
    """Kubernetes Jobs, of a fake or of the cluster that KUBECONFIG names."""

    def __init__(self, store: Store, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(store, home)
        self.fake = None if REAL_KUBE else Kube()
        if self.fake is not None:
            config = self.fake.kubeconfig(home / "kubeconfig")
            monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(config))
        else:
            self.patience_s = 180.0

    def command(self, do: str) -> list[str]:
        """See World; pods are counted instead of lines."""
        return ["/bin/sh", "-c", SCRIPTS[do], "job"]

    def cluster(self, do: str) -> Kubernetes:
        """The Jobs as a fresh agent would see them."""
        settings = KubernetesSettings(image="busybox:1.37", resources={}, pod={"securityContext": {"runAsUser": 65534}})
        made = Kubernetes(settings, self.home, self.command(do), owner=OWNER, max_attempts=ATTEMPTS)
        self.clusters.append(made)
        return made

    def launcher(self, do: str) -> Launcher:
        """See World."""
        return RemoteLauncher(self.store, self.cluster(do), max_attempts=ATTEMPTS)

    def begun(self) -> int:
        """See World."""
        cluster = self.cluster("wait")
        return len(cluster._core.list_namespaced_pod(cluster.namespace, label_selector=_ours(self.store)).items)

    def lose(self, order_id: str) -> None:
        """See World."""
        self.cluster("wait").end(order_id)

    def turn(self) -> None:
        """See World."""
        if self.fake is not None:
            self.fake.turn()

    def close(self) -> None:
        """See World."""
        if self.fake is not None:
            self.fake.close()
        else:
            for row in self.store.orders():
                self.lose(row.id)
        super().close()


def _ours(store: Store) -> str:
    """A selector of the pods of all orders; there is one order in every test but one."""
    return f"batch.kubernetes.io/job-name={job_name(store.orders()[-1].id, OWNER)}"


class RayWorld(World):
    """Ray jobs, of a fake or of the cluster that TRIMTAB_TEST_RAY names."""

    def __init__(self, store: Store, home: Path) -> None:
        super().__init__(store, home)
        self.fake = None if REAL_RAY else RayCluster()
        self.url = self.fake.url if self.fake is not None else str(REAL_RAY)
        self.patience_s = 20.0 if self.fake is not None else 60.0

    def cluster(self, do: str) -> Ray:
        """The jobs as a fresh agent would see them."""
        made = Ray(RaySettings(address=self.url, gpus=0, cpus=0), self.command(do))
        self.clusters.append(made)
        return made

    def launcher(self, do: str) -> Launcher:
        """See World."""
        return RemoteLauncher(self.store, self.cluster(do), max_attempts=ATTEMPTS)

    def lose(self, order_id: str) -> None:
        """See World."""
        if self.fake is not None:
            self.fake.lose_all()
            return
        cluster = self.cluster("wait")
        cluster.end(order_id)
        name = f"{order_id}-{self.store.order(order_id).attempts}"
        until(lambda: cluster._http.delete(f"/api/jobs/{name}").is_success)

    def close(self) -> None:
        """See World."""
        if self.fake is not None:
            self.fake.close()
        else:
            for row in self.store.orders():
                self.cluster("wait").end(row.id)
        super().close()


@pytest.fixture(params=["local", "kubernetes", "ray"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Give a place with an empty store."""
    store = Store.at(tmp_path)
    made: World
    if request.param == "local":
        made = Local(store, tmp_path)
    elif request.param == "kubernetes":
        made = KubeWorld(store, tmp_path, monkeypatch)
    else:
        made = RayWorld(store, tmp_path)
    yield made
    made.close()
    store.close()


def add(world: World, name: str = "o1", minutes: int = 0) -> str:
    """Open an order; its id is never used again, also not by the next run against a real cluster."""
    order_id = f"{name}-{time.time_ns()}"
    with world.store.transaction() as session:
        at = NOW + timedelta(minutes=minutes)
        session.add(OrderRow(id=order_id, alias="home", status="open", reason="r", document={}, opened_at=at))
    return order_id


def until(holds: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def go_on(world: World, launcher: Launcher, holds: Callable[[], object], at: datetime = NOW) -> None:
    """Tick until something holds."""

    def look() -> object:
        launcher.tick(at)
        world.turn()
        return holds()

    until(look, world.patience_s)


def test_an_open_order_begins_once(world: World) -> None:
    """However often one looks, and whoever looks, an order that is at work is left alone."""
    order = add(world)
    launcher = world.launcher("wait")
    assert launcher.tick(NOW) == f"{order} started"
    go_on(world, launcher, world.begun)
    for fresh in (launcher, world.launcher("wait"), launcher):
        assert fresh.tick(NOW + timedelta(seconds=20)) == f"{order} at work"
        world.turn()
    row = world.store.order(order)
    assert (row.status, row.attempts, row.started_at, world.begun()) == ("running", 1, NOW, 1)


def test_the_next_order_waits_for_the_one_before(world: World) -> None:
    """One order at a time, the oldest first; what is done makes room."""
    first, second = add(world), add(world, "o2", minutes=1)
    launcher = world.launcher("well")
    assert launcher.tick(NOW) == f"{first} started"
    world.store.update_order(first, status="done")
    go_on(world, launcher, lambda: world.store.order(second).status == "running")
    assert world.store.order(first).status == "done"


def test_a_lost_job_is_seen_within_a_minute_and_begins_again(world: World) -> None:
    """A job that vanished without a word is started once more, the attempt is counted, the record says so."""
    order = add(world)
    launcher = world.launcher("wait")
    launcher.tick(NOW)
    go_on(world, launcher, world.begun)
    world.lose(order)
    late = NOW + timedelta(seconds=59)
    go_on(world, launcher, lambda: world.store.order(order).attempts == 2, late)
    assert [event.kind for event in world.store.events()] == ["job_restarted"]
    go_on(world, launcher, lambda: launcher.tick(late) == f"{order} at work", late)
    assert world.store.order(order).attempts == 2


def test_an_agent_that_died_between_counting_and_starting_is_made_good(world: World) -> None:
    """A row that says running without any job is started by the next one, once."""
    order = add(world)
    world.store.update_order(order, status="running", attempts=1, heartbeat_at=NOW)
    launcher = world.launcher("wait")
    late = NOW + timedelta(seconds=59)
    go_on(world, launcher, world.begun, late)
    launcher.tick(late)
    world.turn()
    assert (world.store.order(order).attempts, world.begun()) == (2, 1)


def test_a_job_that_dies_is_tried_so_often_and_no_oftener(world: World) -> None:
    """After the last attempt the order is failed with the job's last words."""
    order = add(world)
    go_on(world, world.launcher("badly"), lambda: world.store.order(order).status == "failed")
    assert "my last words" in str(world.store.order(order).error)
    begun = world.begun()
    world.launcher("badly").tick(NOW)
    world.turn()
    assert (begun, world.begun()) == (ATTEMPTS, ATTEMPTS)


def test_a_refused_order_is_not_tried_again(world: World) -> None:
    """Exit status 2 fails the order at once with the job's own sentence."""
    order = add(world)
    go_on(world, world.launcher("refuse"), lambda: world.store.order(order).status == "failed")
    assert (world.store.order(order).error, world.begun()) == ("write it differently", 1)


def test_a_job_that_ends_well_without_a_result_fails_its_order(world: World) -> None:
    """Nobody waits for ever for a verdict that was never entered."""
    order = add(world)
    go_on(world, world.launcher("well"), lambda: world.store.order(order).status == "failed")
    assert world.store.order(order).error
