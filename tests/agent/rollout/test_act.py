"""The rollout's acts over a real store and artifacts, with an engine in memory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.rollout import wish
from agent.rollout.act import Rollout, shares_wanted
from agent.rollout.adopt import adopt
from agent.rollout.hold import Holder
from agent.settings import Settings
from agent.store import Store, shelf
from agent.store.artifacts import seal
from agent.store.objects import objects_at
from agent.store.tables import RolloutRow
from agent.types import AdapterVersion, Exchange, Message, Outcome, RemoteFault
from tests.estate.engines import MemoryEngine

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def adapter(folder: Path, weights: bytes) -> Path:
    """A sealed artifact whose probes are what MemoryEngine answers for these weights."""
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(weights)
    asks = [f"ask {i}" for i in range(8)]
    probes = [{"messages": [{"role": "user", "content": ask}], "answer": f"{sum(weights) % 97} {ask}"} for ask in asks]
    (folder / "probes.json").write_text(json.dumps(probes))
    seal(folder, {"base_digest": "b"})
    return folder


def answered(version: str, seq: int, status: int = 200) -> Exchange:
    """One exchange as intake would store it."""
    return Exchange(
        id=f"x{seq}", worker="w", seq=seq, started_at=NOW, path="/v1/chat/completions", alias="home",
        version=version, status=status, outcome=Outcome.COMPLETE,
        messages=(Message(role="user", text="hi"),), answer="a",
    )  # fmt: skip


class World:
    """A store, an engine and the taps' table, with a clock of its own."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, champion=adapter(home / "adapters" / "home-v1", b"one"))
        self.store = Store.at(home)
        self.engine = MemoryEngine()
        self.table: Mapping[str, float] = {}
        self.now = NOW
        self.seq = 0
        adopt(self.settings, self.store, NOW)
        self.begin()

    def begin(self) -> None:
        """A new process: nothing is remembered but the store."""
        self.rollout = Rollout(self.settings, self.store, self.engine, self.push)

    def push(self, table: Mapping[str, Mapping[str, float]]) -> None:
        """What the taps would get."""
        self.table = table["home"]

    def tick(self, seconds: float = 1.0) -> str:
        """One tick later."""
        self.now += timedelta(seconds=seconds)
        return self.rollout.tick(self.now)

    def serve(self, version: str, n: int, status: int = 200) -> None:
        """`n` exchanges land."""
        first = self.seq
        self.seq += n
        self.store.add_exchanges([answered(version, first + i + 1, status) for i in range(n)])

    def accept(self, weights: bytes = b"two", name: str = "home-v2") -> Path:
        """The retraining job publishes a version."""
        folder = adapter(self.settings.home / "adapters" / name, weights)
        digest = json.loads((folder / "manifest.json").read_text())["digest"]
        self.store.put_adapter(
            AdapterVersion(
                name=name, alias="home", path=str(folder), digest=digest, base_digest="b", parent="home-v1",
                status="accepted", created_at=NOW + timedelta(seconds=1),
            )
        )  # fmt: skip
        return folder

    def ask_back(self, reason: str) -> wish.Wish:
        """Somebody decides that the newest version is to go."""
        row = self.store.rollout("home")
        assert row is not None
        with self.store.transaction() as session:
            return wish.write(session, self.store, row, reason, self.now)

    def status(self, name: str) -> str:
        """An adapter's place in life."""
        return next(v.status for v in self.store.adapters() if v.name == name)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world with a champion."""
    made = World(tmp_path)
    yield made
    made.store.close()


def test_the_whole_way_with_a_new_process_before_every_tick(world: World) -> None:
    """A crash between any two ticks changes nothing about where the rollout ends, and nothing is done twice."""
    world.tick()
    assert world.table == {"home-v1": 1.0}
    world.accept()
    seen = []
    for _ in range(12):
        world.begin()
        world.tick(6)
        world.serve("home-v2", 20)
        seen.append(dict(world.table))
    assert [t for i, t in enumerate(seen) if i == 0 or t != seen[i - 1]] == [
        {"home-v1": 1.0},
        {"home-v1": 0.9, "home-v2": 0.1},
        {"home-v1": 0.5, "home-v2": 0.5},
        {"home-v2": 1.0},
    ]
    assert world.engine.calls == ["load home-v1", "load home-v2", "unload home-v1"]
    assert (world.status("home-v1"), world.status("home-v2")) == ("retired", "live")


def test_an_engine_that_lost_its_adapters_gets_them_back(world: World) -> None:
    """VLLM forgets adapters when it restarts; the next tick loads them and pushes the table again."""
    world.tick()
    world.engine.crash()
    world.tick()
    assert world.engine.calls == ["load home-v1", "load home-v1"]


def test_a_version_that_answers_otherwise_than_evaluated_gets_no_traffic(world: World) -> None:
    """What is served must be what was evaluated, shown by its recorded answers."""
    folder = world.accept()
    probes = json.loads((folder / "probes.json").read_text())
    (folder / "probes.json").write_text(json.dumps([{**p, "answer": "other"} for p in probes]))
    digest = seal(folder, {"base_digest": "b"})
    world.store.put_adapter(dataclasses.replace(world.store.adapters()[-1], digest=digest))
    world.tick()
    assert "other answers than at its evaluation" in world.tick()
    assert world.table == {"home-v1": 1.0}
    assert world.status("home-v2") == "rejected"
    assert folder.exists()


def test_a_name_that_stands_for_another_folder_is_loaded_anew(world: World) -> None:
    """Whatever somebody else loaded under this name, what gets traffic comes from the published folder."""
    folder = world.accept()
    world.tick()
    world.engine.loaded["home-v2"] = world.engine.loaded["home-v1"]
    assert "recorded answers repeated" in world.tick()
    assert world.engine.loaded["home-v2"] == str(folder)


def test_a_changed_artifact_is_refused(world: World) -> None:
    """A file that is not what was published never reaches the engine."""
    folder = world.accept()
    (folder / "adapter_model.safetensors").write_bytes(b"evil")
    world.tick()
    assert "is not what was published" in world.tick()
    assert world.status("home-v2") == "rejected"
    assert "load home-v2" not in world.engine.calls


def test_a_failing_challenger_is_rolled_back(world: World) -> None:
    """Failures at a step send everyone back to the champion."""
    world.accept()
    for _ in range(3):
        world.tick()
    world.serve("home-v2", 10, status=500)
    assert "rolled back" in world.tick()
    assert world.table == {"home-v1": 1.0}
    world.tick()
    assert "home-v2" not in world.engine.loaded


def test_a_promoted_version_can_be_sent_back(world: World) -> None:
    """After the promotion too: the version before is loaded first, then everyone is sent to it."""
    world.accept()
    for _ in range(12):
        world.tick(6)
        world.serve("home-v2", 20)
    assert world.table == {"home-v2": 1.0}
    world.ask_back("worse than before")
    assert world.tick() == "rolled back to home-v1: worse than before"
    assert world.table == {"home-v1": 1.0}
    assert wish.standing(world.store, "home") is None
    for _ in range(3):
        world.tick(6)
    assert list(world.engine.loaded) == ["home-v1"]
    assert (world.status("home-v1"), world.status("home-v2")) == ("live", "rejected")


def test_an_engine_that_is_down_is_waited_for(world: World) -> None:
    """No call, no fault, and the table is pushed again when it is back."""
    world.engine.up = False
    assert world.tick() == "the engine does not answer"
    world.engine.up = True
    world.tick()
    assert world.table == {"home-v1": 1.0}


def test_without_a_champion_nobody_is_moved(tmp_path: Path) -> None:
    """A first start that names no adapter leaves the alias without a stand."""
    store = Store.at(tmp_path)
    adopt(Settings(home=tmp_path), store, NOW)
    assert (store.rollout("home"), store.adapters()) == (None, [])
    store.close()


def test_a_judge_that_cannot_be_had_stops_nobody(world: World, tmp_path: Path) -> None:
    """The judge is optional: its fault is said once, and the champion is loaded and answers."""
    quality = world.settings.quality.model_copy(update={"judge_model": "judge", "judge_path": tmp_path / "nothing"})
    world.settings = world.settings.model_copy(update={"quality": quality})
    world.begin()
    world.tick()
    world.tick()
    assert world.table == {"home-v1": 1.0}
    assert [e.text for e in world.store.events() if e.kind == "unservable"][1:] == []


def test_files_changed_after_the_evaluation_loaded_them_are_found(world: World) -> None:
    """The retraining job leaves the challenger loaded; its digest is checked again before it gets traffic."""
    folder = world.accept()
    world.engine.loaded["home-v2"] = str(folder)
    world.tick()
    (folder / "adapter_config.json").write_text("{ }")
    assert "is not what was published" in world.tick()
    assert world.status("home-v2") == "rejected"
    assert world.table == {"home-v1": 1.0}


HELD = "frozen by ann"


def hold(world: World) -> set[str]:
    """A rollout that moves nobody nearer to a new version while the set has a reason."""
    why: set[str] = set()
    world.rollout = Rollout(world.settings, world.store, world.engine, world.push, lambda _now: next(iter(why), None))
    return why


def test_what_is_held_takes_no_step_forward(world: World) -> None:
    """Before each step a freeze comes: nothing moves however long it lasts, it is said, and afterwards it goes on."""
    why = hold(world)
    world.tick()
    world.accept()
    stays: list[str] = []
    while world.status("home-v2") != "live":
        world.serve("home-v2", 20)
        before, row = dict(world.table), world.store.rollout("home")
        why.add(HELD)
        stays.append(world.tick())
        assert world.tick(10_000) == stays[-1]
        assert (dict(world.table), world.store.rollout("home")) == (before, row)
        why.clear()
        world.tick()
    assert stays == [
        f"home-v2 waits for its canary: {HELD}",
        f"home-v2 stays at 0% of users: {HELD}",
        f"home-v2 stays at 10% of users: {HELD}",
        f"home-v2 stays at 50% of users: {HELD}",
        f"home-v2 stays at 100% of users: {HELD}",
    ]
    why.add(HELD)
    assert "home-v1 is unloaded" in world.tick(6)


@pytest.mark.parametrize("how", ["errors", "a person's word"])
def test_what_is_held_still_goes_back(world: World, how: str) -> None:
    """A version that fails is taken back during a freeze: by the error limit, or because it is asked for."""
    why = hold(world)
    world.tick()
    world.accept()
    for _ in range(2):
        world.tick()
    assert world.table == {"home-v1": 0.9, "home-v2": 0.1}
    why.add(HELD)
    if how == "errors":
        world.serve("home-v2", 5, status=500)
        assert "5 of 5 exchanges of home-v2 failed" in world.tick()
    else:
        world.ask_back("ann says so")
        assert world.tick() == "rolled back: ann says so"
    assert (world.table, world.status("home-v2")) == ({"home-v1": 1.0}, "rejected")


def test_a_version_made_elsewhere_is_fetched_and_verified(tmp_path: Path) -> None:
    """Published by another machine into the object store: it is here, whole, before the engine is asked to load it."""
    objects = objects_at((tmp_path / "objects").as_uri())
    world = World(tmp_path / "home")
    world.rollout = Rollout(world.settings, world.store, world.engine, world.push, objects=objects)
    world.tick()
    folder = world.accept()
    shelf.put(objects, folder, "home-v2")
    folder.rename(tmp_path / "elsewhere")
    for _ in range(3):
        world.tick()
    assert (folder / "manifest.json").exists()
    assert world.engine.models()["home-v2"] == str(folder)


def test_an_object_store_that_is_away_rolls_nothing_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that cannot be fetched now waits; one that the store does not have is refused."""
    objects = objects_at((tmp_path / "objects").as_uri())
    world = World(tmp_path / "home")
    world.rollout = Rollout(world.settings, world.store, world.engine, world.push, objects=objects)
    world.tick()
    world.accept().rename(tmp_path / "elsewhere")

    def away(*_: object) -> bool:
        raise RemoteFault("it does not answer")

    with monkeypatch.context() as broken:
        broken.setattr(shelf, "bring", away)
        world.tick()
        for _ in range(3):
            with pytest.raises(RemoteFault):
                world.tick()
    assert world.status("home-v2") == "accepted"
    assert "neither in" in world.tick()
    assert world.status("home-v2") == "rejected"


def test_a_sidecar_that_does_not_lead_follows_with_its_own_engine(world: World) -> None:
    """It loads what is wanted, tells its own taps, and lets go, tick by tick behind the leader; it moves nothing."""
    engine, tables = MemoryEngine(), list[Mapping[str, float]]()
    follower = Rollout(
        world.settings, world.store, engine, lambda table: tables.append(table["home"]), leads=lambda: False
    )
    world.accept()
    moved = world.store.rollout("home")
    assert "does not lead" in follower.tick(world.now)
    assert world.store.rollout("home") == moved
    for _ in range(12):
        world.tick(6)
        follower.tick(world.now)
        world.serve("home-v2", 20)
    assert tables == [
        {"home-v1": 1.0},
        {"home-v1": 0.9, "home-v2": 0.1},
        {"home-v1": 0.5, "home-v2": 0.5},
        {"home-v2": 1.0},
    ]
    assert engine.calls == ["load home-v1", "load home-v2", "unload home-v1"]


def test_a_follower_that_cannot_load_stops_nobody(world: World) -> None:
    """A folder that is damaged where the follower reads it: it says so once and keeps what it has."""
    engine, tables = MemoryEngine(), list[Mapping[str, float]]()
    follower = Rollout(
        world.settings, world.store, engine, lambda table: tables.append(table["home"]), leads=lambda: False
    )
    follower.tick(world.now)
    folder = world.accept()
    for _ in range(2):
        world.tick()
    (folder / "adapter_model.safetensors").write_bytes(b"torn")
    for _ in range(3):
        assert "is not what was published" in follower.tick(world.now)
    row = world.store.rollout("home")
    assert row is not None
    assert (row.challenger, row.phase in ("probe", "shift")) == ("home-v2", True)
    assert tables == [{"home-v1": 1.0}]
    assert [event.kind for event in world.store.events()].count("unservable") == 1


def promoted(world: World) -> World:
    """home-v2 answers everyone, home-v1 was before it."""
    world.tick()
    world.accept()
    while world.status("home-v2") != "live":
        world.tick(6)
        world.serve("home-v2", 20)
    for _ in range(2):
        world.tick(6)
    assert world.engine.models() == {"base": "", "home-v2": str(world.settings.home / "adapters" / "home-v2")}
    return world


def lines(world: World) -> list[str]:
    """What the record says of the rollout."""
    return [event.text for event in world.store.events() if event.kind == "rollout"]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize(
    ("who", "where"), [(Holder, "load"), (Holder, "check"), (Rollout, "_move"), (Rollout, "_set_weights")]
)
def test_a_crash_anywhere_on_the_way_back_rolls_back_once(
    world: World, who: type, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before or after each of its acts: the next process ends where it should, and the record has it once."""
    promoted(world)
    world.ask_back("it is rude")

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(who, where, killed)
        with pytest.raises(Killed):
            world.tick()
    for _ in range(4):
        world.begin()
        world.tick(6)
    assert world.table == {"home-v1": 1.0}
    assert list(world.engine.loaded) == ["home-v1"]
    assert (world.status("home-v1"), world.status("home-v2")) == ("live", "rejected")
    assert [line for line in lines(world) if line.startswith("rolled back")] == ["rolled back to home-v1: it is rude"]


def test_the_move_and_the_end_of_the_wish_are_one_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wish that cannot be cleared leaves the stand as it was, so that it is granted once and not lost."""
    promoted(world)
    world.ask_back("it is rude")

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(wish, "clear", killed)
        with pytest.raises(Killed):
            world.tick()
    row = world.store.rollout("home")
    assert row is not None
    assert (row.champion, row.phase, world.status("home-v2")) == ("home-v2", "steady", "live")
    assert wish.standing(world.store, "home") is not None


def test_a_wish_about_a_version_that_is_gone_is_dropped_and_recorded(world: World) -> None:
    """Wished for while the challenger was on trial; by then the error limit had taken it back."""
    world.tick()
    world.accept()
    for _ in range(2):
        world.tick()
    asked = world.ask_back("ann says so")
    world.store.put_rollout(RolloutRow(alias="home", champion="home-v1", phase="steady", updated_at=NOW))
    assert asked.version == "home-v2"
    assert world.tick() == "home-v2 is not rolled back: home-v2 neither answers nor is on trial any more"
    assert wish.standing(world.store, "home") is None
    assert lines(world)[-1].startswith("home-v2 is not rolled back")


def test_a_challenger_that_was_promoted_meanwhile_still_goes(world: World) -> None:
    """The wish is about the version, wherever it stands when somebody looks."""
    world.tick()
    world.accept()
    for _ in range(2):
        world.tick()
    world.ask_back("ann says so")
    row = world.store.rollout("home")
    assert row is not None
    row.champion, row.challenger, row.phase = "home-v2", "home-v1", "drain"
    world.store.put_rollout(row, {"home-v2": "live"})
    assert world.tick() == "rolled back to home-v1: ann says so"
    assert world.table == {"home-v1": 1.0}


def test_what_has_nothing_before_it_or_cannot_be_loaded_is_not_rolled_back(world: World) -> None:
    """It is said once, and the rollout goes on."""
    world.tick()
    world.ask_back("ann says so")
    assert world.tick() == "home-v1 is not rolled back: home-v1 has no version before it to go back to"
    promoted(world)
    (world.settings.home / "adapters" / "home-v1" / "adapter_config.json").write_text("{ }")
    world.ask_back("bob says so")
    assert "is not what was published" in world.tick()
    assert world.tick() == "one version answers"
    assert world.table == {"home-v2": 1.0}


def test_only_who_moves_versions_grants_a_wish_and_without_an_engine_gives_that_up(world: World) -> None:
    """A follower leaves the wish alone; the mover whose engine is down lets another have the office."""
    promoted(world)
    world.ask_back("it is rude")
    gave_up: list[bool] = []
    follower = Rollout(world.settings, world.store, MemoryEngine(), world.push, leads=lambda: False)
    assert "does not lead" in follower.tick(world.now)
    assert wish.standing(world.store, "home") is not None
    engine = MemoryEngine()
    engine.up = False
    away = Rollout(world.settings, world.store, engine, world.push, resign=lambda: gave_up.append(True))
    assert away.tick(world.now) == "the engine does not answer"
    assert gave_up == [True]


def test_who_has_no_taps_says_what_the_store_wants(world: World) -> None:
    """The shares of a controller are those that the sidecars tell their taps."""
    world.tick()
    world.accept()
    for _ in range(3):
        world.tick()
        assert shares_wanted(world.settings, world.store) == world.table
