"""A controller that decides and sidecars that move: two offices, one database, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlmodel import select

from agent.app.main import Agent
from agent.app.roles import contradictions, role_of
from agent.settings import Settings
from agent.store import Store, leader, shelf
from agent.store.leader import Leader, NotLeading
from agent.store.objects import objects_at
from agent.store.tables import DecisionRow, EventRow
from agent.types import AdapterVersion, InvalidInput
from tests.agent.rollout.test_act import adapter, answered
from tests.estate import monitors
from tests.estate.engines import MemoryEngine

NOW = datetime.now(UTC)


def tree(folder: Path, url: str, pod: str, role: str, **changes: Any) -> Settings:
    """Settings of one process of the fleet."""
    document = {
        "home": folder / pod, "role": role, "store": {"url": url, "pod": pod, "connections": 4}, "http": {"port": 0},
        "engine": {"url": "http://127.0.0.1:9", "drain_s": 0}, "rollout": {"steps": [1.0], "step_exchanges": 5},
        "objects": {"url": (folder / "objects").as_uri()}, "champion": folder / "shared" / "home-v1",
        "policy": {"fresh_exchanges": 5, "cooldown_s": 0}, "drift": {"report": False}, "tick_s": 0.1,
    }  # fmt: skip
    return Settings.model_validate(document | changes)


@dataclass
class Fleet:
    """Two controllers and two sidecars, whose loops are called by hand, over engines in memory."""

    agents: dict[str, Agent]
    engines: dict[str, MemoryEngine]
    folder: Path

    def __getitem__(self, pod: str) -> Agent:
        """One process."""
        return self.agents[pod]

    @property
    def store(self) -> Store:
        """The database that all share."""
        return self.agents["controller-a"].store

    def tick(self, pod: str, loop: str, after_s: float = 0.0) -> str:
        """One call of one loop."""
        return str(self.agents[pod].loops._loops[loop](NOW + timedelta(seconds=after_s)))

    def fire(self, action: str, pod: str = "controller-a") -> None:
        """An alert comes in."""
        labels = {"alertname": "Complaints", "trimtab_action": action}
        alert = {"status": "firing", "labels": labels, "startsAt": NOW.isoformat(), "fingerprint": action}
        self.agents[pod].asks.take({"version": "4", "alerts": [alert]}, NOW)

    def record(self, kind: str) -> list[str]:
        """Lines of the record."""
        with self.store.transaction() as session:
            return list(session.exec(select(EventRow.text).where(EventRow.kind == kind).order_by("rowid")).all())

    def kill(self, office: Leader) -> None:
        """As a process that dies: the server ends the session that held the office."""
        assert office._connection is not None
        pid = office._connection.execute(text("SELECT pg_backend_pid()")).scalar()
        with self.store.engine.connect() as connection:
            connection.execute(text(f"SELECT pg_terminate_backend({pid})"))

    def promote(self) -> None:
        """home-v2 is accepted, proven and answers everyone."""
        made = adapter(self.folder / "shared" / "home-v2", b"two")
        digest = shelf.put(objects_at((self.folder / "objects").as_uri()), made, "home-v2")
        self.store.put_adapter(
            AdapterVersion(
                name="home-v2", alias="home", path=str(made), digest=digest, base_digest="b", parent="home-v1",
                status="accepted", created_at=NOW,
            )
        )  # fmt: skip
        self.store.add_exchanges([replace(answered("home-v2", n), started_at=NOW) for n in range(1, 30)])
        for second in range(8):
            for pod in ("sidecar-a", "sidecar-b"):
                self.tick(pod, "rollout", 300.0 * second)


@pytest.fixture
def fleet(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The controllers come first, as a Deployment may."""
    monkeypatch.setattr(leader, "LOOK_S", 0.0)
    adapter(tmp_path / "shared" / "home-v1", b"one")
    retrain = {"base_model_path": tmp_path, "launcher": "ray", "ray": {"address": "http://127.0.0.1:9"}}
    agents, engines = {}, {}
    for pod in ("controller-a", "controller-b", "sidecar-a", "sidecar-b"):
        role = pod.split("-")[0]
        more = {"retrain": retrain} if role == "controller" else {}
        agents[pod] = Agent(tree(tmp_path, database, pod, role, **more), "token")
        rollout = agents[pod].rollout
        if rollout is not None:
            engines[pod] = rollout._engine = rollout._holder._engine = MemoryEngine()
        else:
            assert agents[pod].loops._loops["policy"](NOW) in ("waits for a sidecar to begin with home-v1", LATER)
    yield Fleet(agents, engines, tmp_path)
    for agent in agents.values():
        agent.leader.resign()
        agent.mover.resign()
        agent.engine.close()
        agent.store.close()


LATER = "does not lead"


def test_each_does_its_part(fleet: Fleet) -> None:
    """A sidecar has the rollout alone, a controller all but that; each says who holds which office."""
    assert set(fleet["sidecar-a"].loops.health) == {"rollout", "keep"}
    assert set(fleet["controller-a"].loops.health) == {"watch", "judge", "policy", "launch", "report", "notify", "keep"}
    for pod in ("sidecar-b", "sidecar-a"):
        fleet.tick(pod, "rollout")
        assert list(fleet.engines[pod].loaded) == ["home-v1"]
    assert fleet.tick("controller-b", "policy") == LATER
    live = fleet["controller-b"].live.status()
    assert (live["role"], live["leader"], live["mover"]) == ("controller", "controller-a", "sidecar-b")
    assert (live["leads"], live["moves"], live["weights"]) == (False, False, {"home-v1": 1.0})
    assert fleet["sidecar-b"].live.status()["moves"] is True
    fleet.tick("controller-a", "policy")
    texts = {pod: agent.monitors.text().decode() for pod, agent in fleet.agents.items()}
    weight = 'trimtab_rollout_weight{alias="home",version="home-v1"} 1.0'
    assert [pod for pod, text in texts.items() if weight in text] == ["controller-a"]
    for office, holder in (("decides", "controller-a"), ("moves", "sidecar-b")):
        held = {
            pod: f'trimtab_office_held{{alias="home",office="{office}"}} 1.0' in text for pod, text in texts.items()
        }
        assert [pod for pod, holds in held.items() if holds] == [holder]
    assert "trimtab_capture_stored_total 0.0" in texts["controller-a"]  # by which alerts know who speaks for all


def test_a_controller_decides_a_sidecar_performs_and_who_dies_is_followed(fleet: Fleet) -> None:
    """Alarm, decision, rollback and order, with the holder of each office killed in between: everything once."""
    fleet.promote()
    row = fleet.store.rollout("home")
    assert row is not None
    assert (row.champion, row.phase) == ("home-v2", "steady")
    assert fleet["sidecar-a"].mover.leading

    fleet.fire("roll_back", "sidecar-b")
    fleet.tick("controller-a", "policy")
    assert fleet.record("rollout")[-1] == "home-v1 is unloaded; home-v2 is the champion"
    fleet.kill(fleet["sidecar-a"].mover)
    monitors.until(lambda: fleet.tick("sidecar-b", "rollout", 3000).startswith("rolled back to home-v1"))
    for _ in range(3):
        assert fleet.tick("sidecar-a", "rollout", 3001).startswith("does not lead")
        fleet.tick("sidecar-b", "rollout", 3001)
    assert {pod: list(engine.loaded) for pod, engine in fleet.engines.items()} == {
        "sidecar-a": ["home-v1"],
        "sidecar-b": ["home-v1"],
    }
    assert [one for one in fleet.record("rollout") if "rolled back" in one] == [
        "rolled back to home-v1: " + "; ".join(_decided(fleet, "roll_back")[0].reasons)
    ]

    fleet.store.add_exchanges([replace(answered("home-v1", n), started_at=NOW) for n in range(30, 60)])
    fleet.fire("retrain")
    fleet.tick("controller-a", "policy", 3010)
    assert len(fleet.store.orders()) == 1
    fleet.kill(fleet["controller-a"].leader)
    monitors.until(lambda: fleet.tick("controller-b", "policy", 3020) != LATER)
    assert fleet.tick("controller-a", "policy", 3030) == LATER
    assert len(fleet.store.orders()) == 1
    assert len(_decided(fleet, "retrain")) == len(_decided(fleet, "roll_back")) == 1
    assert fleet.record("leader") == [
        "controller-a leads", "sidecar-a moves versions", "sidecar-b moves versions", "controller-b leads",
    ]  # fmt: skip


def _decided(fleet: Fleet, action: str) -> list[DecisionRow]:
    with fleet.store.transaction() as session:
        return list(session.exec(select(DecisionRow).where(DecisionRow.action == action)).all())


def test_who_slept_through_a_change_of_office_grants_nothing(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mover that lost its session unnoticed performs the rollback in its own engine, and nothing of it is kept."""
    fleet.promote()
    fleet.fire("roll_back")
    fleet.tick("controller-a", "policy")
    asleep = fleet["sidecar-a"]
    fleet.kill(asleep.mover)
    monitors.until(fleet["sidecar-b"].mover.lead)
    assert asleep.rollout is not None
    monkeypatch.setattr(asleep.rollout, "_leads", lambda: True)
    with pytest.raises(NotLeading, match="another process moves versions by now"):
        fleet.tick("sidecar-a", "rollout", 3000)
    row = fleet.store.rollout("home")
    assert row is not None
    assert row.champion == "home-v2"
    assert fleet.tick("sidecar-b", "rollout", 3000).startswith("rolled back to home-v1")


def test_a_mixed_fleet_has_the_same_two_offices(fleet: Fleet, database: str, tmp_path: Path) -> None:
    """In the midst of an upgrade a process that does everything stands beside the others, and waits for its turn."""
    old = Agent(tree(tmp_path, database, "old", "all"), "token")
    assert old.rollout is not None
    old.rollout._engine = old.rollout._holder._engine = MemoryEngine()
    fleet.tick("sidecar-a", "rollout")
    fleet.tick("controller-a", "policy")
    assert str(old.loops._loops["policy"](NOW)) == LATER
    assert "does not lead" in str(old.loops._loops["rollout"](NOW))
    for office in (fleet["controller-a"].leader, fleet["sidecar-a"].mover):
        office.resign()
    assert str(old.loops._loops["policy"](NOW)) != LATER
    assert str(old.loops._loops["rollout"](NOW)) == "one version answers"
    assert fleet.tick("controller-a", "policy") == LATER
    old.leader.resign()
    old.mover.resign()
    old.engine.close()
    old.store.close()


def test_a_controller_runs_without_a_tap_or_an_engine(database: str, tmp_path: Path) -> None:
    """It answers status, metrics and alerts; it opens no socket, and takes no exchanges."""
    settings = tree(tmp_path, database, "c", "controller").model_dump(mode="json")
    with monitors.agent_running(settings, alert_token="t") as running:
        url = f"http://127.0.0.1:{running.settings.http.port}"
        status = httpx.get(f"{url}/v1/status").json()
        assert (status["live"]["role"], status["live"]["pod"]) == ("controller", "c")
        assert httpx.post(f"{url}/v1/alerts", json={}, headers={"authorization": "Bearer t"}).status_code == 422
        assert httpx.post(f"{url}/v1/exchanges", content=b"").status_code == 404
        assert "trimtab_start_time_seconds" in httpx.get(f"{url}/metrics").text
        assert not running.settings.socket.exists()
        assert running.store.rollout("home") is None


def _said(**changes: Any) -> list[str]:
    return list(contradictions(Settings.model_validate(changes)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"role": "controller"}, ("role controller", "store.url", "PostgreSQL")),
        ({"role": "sidecar"}, ("role sidecar", "store.url")),
        ({"role": "controller", "store": {"url": "postgresql://h/d"}, "champion": "c"}, ("objects.url",)),
        (
            {
                "role": "controller",
                "store": {"url": "postgresql://h/d"},
                "retrain": {"base_model_path": "b"},
                "objects": {"url": "s3://b"},
            },
            ("retrain.launcher local", "kubernetes or ray"),
        ),
    ],
)
def test_what_contradicts_a_role_is_refused_in_one_sentence(
    changes: dict[str, Any], named: tuple[str, ...], tmp_path: Path
) -> None:
    """It names both halves and says what to write instead, before anything is made."""
    (sentence,) = _said(**changes)
    assert all(name in sentence for name in named)
    assert ": set " in sentence
    with pytest.raises(InvalidInput) as refused:
        Agent(Settings.model_validate(changes | {"home": tmp_path / "home"}), "")
    assert str(refused.value) == sentence
    assert not (tmp_path / "home").exists()


def test_what_fits_a_role_is_taken() -> None:
    """The default, and a sidecar whose own launcher is never asked."""
    shared: dict[str, Any] = {
        "store": {"url": "postgresql://h/d"},
        "champion": "c",
        "retrain": {"base_model_path": "b"},
    }
    assert not _said()
    assert not _said(role="sidecar", **shared)
    assert role_of(Settings.model_validate({"role": "sidecar"} | shared)).decides is False
