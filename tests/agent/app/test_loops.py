"""The loops where rooms meet: exactly once, whatever fails in between."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete
from sqlmodel import Session, select

from agent.app.steer import Steer
from agent.app.watch import Watch
from agent.app.watch_state import STATE, first_window
from agent.quality.room import estimate_once
from agent.rollout import wish
from agent.settings import Settings
from agent.store import Store, convert
from agent.store.snapshot import snapshot
from agent.store.tables import AlarmRow, DecisionRow, OrderRow, ProfileRow, ReadingRow, RolloutRow, StateRow
from agent.types import AdapterVersion, Exchange, Grade, Message, Outcome, RemoteFault, Unservable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VERBS, ROOMS = ("open", "close", "light", "heat"), ("kitchen", "hall", "attic", "porch", "study")


def exchange(seq: int, prompt: str | None = None) -> Exchange:
    """One whole exchange of home-v1."""
    text = prompt or f"{VERBS[seq * 7 % 4]} the {ROOMS[seq * 3 % 5]} please"
    return Exchange(
        id=f"x{seq}", worker="w", seq=seq, started_at=NOW + timedelta(seconds=seq), path="/v1/chat/completions",
        alias="home", version="home-v1", status=200, outcome=Outcome.COMPLETE,
        messages=(Message(role="user", text=text),), answer=text.split()[0],
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store whose alias is answered by home-v1."""
    made = Store.at(tmp_path)
    made.put_adapter(
        AdapterVersion(
            name="home-v1", alias="home", path=str(tmp_path), digest="d", base_digest="b", parent=None,
            status="live", created_at=NOW,
        )
    )  # fmt: skip
    made.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    yield made
    made.close()


def settings(home: Path) -> Settings:
    """Settings with a reference like the traffic, and small windows."""
    lines = [json.dumps({"prompt": exchange(n).prompt, "answer": exchange(n).answer}) for n in range(200)]
    (home / "reference.jsonl").write_text("\n".join(lines))
    return Settings.model_validate(
        {
            "home": home,
            "reference": home / "reference.jsonl",
            "drift": {"window_rows": 20},
            "policy": {"fresh_exchanges": 50},
            "retrain": {"base_model_path": home},
        }
    )


def produced(store: Store) -> tuple[int, int, float]:
    """(profiles, distances, last evidence) in the store."""
    with store.transaction() as session:
        profiles = len(session.exec(select(ProfileRow)).all())
        readings = session.exec(select(ReadingRow)).all()
    evidence = [r.value for r in readings if r.measure == "log10_evidence"]
    return profiles, sum(r.feature != "detector" for r in readings), evidence[-1]


def test_a_batch_whose_commit_fails_is_looked_at_once(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory never runs ahead of the cursor: after a fault the loop begins from its last commit."""
    store.add_exchanges([exchange(n) for n in range(1, 31)])
    watch = Watch(settings(tmp_path), store)
    save = Store.save_state

    def full(session: Session, key: str, cursor: int, state: bytes) -> None:
        raise OSError(28, "No space left on device")

    for _ in range(3):
        monkeypatch.setattr(Store, "save_state", staticmethod(full))
        with pytest.raises(OSError, match="No space"):
            watch.tick(NOW)
    monkeypatch.setattr(Store, "save_state", staticmethod(save))
    assert watch.tick(NOW) == 30
    once = produced(store)
    other = Store.at(tmp_path / "other")
    other.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    other.add_exchanges([exchange(n) for n in range(1, 31)])
    Watch(settings(tmp_path), other).tick(NOW)
    assert produced(other) == once
    other.close()


def test_a_restart_between_batches_changes_nothing(store: Store, tmp_path: Path) -> None:
    """A new process at every batch sees the same windows and the same evidence as one that lived on."""
    other = Store.at(tmp_path / "other")
    other.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    steady = Watch(settings(tmp_path), other)
    for start in range(1, 90, 13):
        batch = [exchange(n, "play some jazz" if n > 60 else None) for n in range(start, start + 13)]
        store.add_exchanges(batch)
        other.add_exchanges(batch)
        Watch(settings(tmp_path), store).tick(NOW)
        steady.tick(NOW)
    assert produced(store) == produced(other)
    other.close()


def breach(store: Store) -> None:
    """Drift since exchange 10, and answers that people call wrong."""
    store.add_exchanges([exchange(n) for n in range(1, 101)])
    store.add_grades(
        [
            Grade(exchange_id=f"x{n}", source="p", score=float(n % 5 == 0), truth=True, at=NOW, correction="y")
            for n in range(20, 60)
        ]
    )
    with store.transaction() as session:
        session.add(
            AlarmRow(
                alias="home", version="home-v1", exchange_rowid=30, at=NOW, onset_at=NOW, row=29, onset_row=10,
                kind="input", evidence=5.0, threshold=4.7, features=[], examples=[], reason="new words",
            )
        )  # fmt: skip


def test_one_breach_opens_one_order(store: Store, tmp_path: Path) -> None:
    """However often the policy looks, by whichever process, there is one order, with its reasons and its data."""
    breach(store)
    for tick in range(4):
        Steer(settings(tmp_path), store).tick(NOW + timedelta(seconds=tick))
    with store.transaction() as session:
        orders = session.exec(select(OrderRow)).all()
        decisions = session.exec(select(DecisionRow)).all()
    assert [o.status for o in orders] == ["open"]
    assert orders[0].document["challenger"] == "home-v2"
    assert orders[0].document["data"]["since_rowid"] == 10
    assert "below the floor" in orders[0].reason
    assert [d.action for d in decisions] == ["retrain", "watch"]


def test_a_rollback_is_wished_for_once(store: Store, tmp_path: Path) -> None:
    """The decision and its wish are one commit; while it waits to be granted nothing else is decided."""
    breach(store)
    store.put_adapter(
        AdapterVersion(
            name="home-v0", alias="home", path=str(tmp_path), digest="d", base_digest="b", parent=None,
            status="retired", created_at=NOW - timedelta(days=1),
        )
    )  # fmt: skip
    store.put_adapter(
        AdapterVersion(
            name="home-v1", alias="home", path=str(tmp_path), digest="d", base_digest="b", parent="home-v0",
            status="live", created_at=NOW,
        )
    )  # fmt: skip
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", promoted_at=NOW, updated_at=NOW))
    good = [exchange(n) for n in range(200, 260)]
    store.add_exchanges([dataclasses.replace(e, version="home-v0") for e in good])
    store.add_grades([Grade(exchange_id=e.id, source="p", score=1.0, truth=True, at=NOW) for e in good])
    estimate_once(store, "home-v0", settings(tmp_path), NOW)
    steer = Steer(settings(tmp_path), store)
    steer.tick(NOW)
    wished = wish.standing(store, "home")
    assert wished is not None
    assert (wished.version, wished.at) == ("home-v1", NOW)
    assert "worse than the one it replaces" in wished.reason
    assert steer.tick(NOW + timedelta(seconds=1)) == "waits until home-v1 is rolled back"
    assert wish.standing(store, "home") == wished
    with store.transaction() as session:
        assert [d.action for d in session.exec(select(DecisionRow)).all()] == ["roll_back"]


def test_an_alarm_shows_what_comes_less_through_the_redactor(store: Store, tmp_path: Path) -> None:
    """Texts of the reference file are looked up when an alarm fires, pass the choke point, and reach the page."""
    chosen = settings(tmp_path)
    store.add_exchanges([exchange(n, f"play some jazz number {n}") for n in range(1, 181)])
    watch = Watch(chosen, store, lambda text: text.replace("hall", "[ROOM]"))
    watch.tick(NOW)
    with store.transaction() as session:
        fired = convert.alarm(session.exec(select(AlarmRow)).one())
        told = watch.vanished(dataclasses.replace(fired, vanished=("3",)))
        session.add(convert.alarm_row(fired, 180, told))
    seen = snapshot(store, "home", NOW, None).alarm
    assert seen is not None
    assert [(one.exchange_id, one.prompt) for one in seen.vanished] == [("3", "light the [ROOM] please")]
    assert Watch(chosen, store).vanished(dataclasses.replace(fired, vanished=("3",))) == []


def test_a_detector_of_another_version_is_learnt_anew(store: Store, tmp_path: Path) -> None:
    """State that this program cannot read costs the evidence so far, never the loop."""
    chosen = settings(tmp_path)
    store.add_exchanges([exchange(n) for n in range(1, 31)])
    Watch(chosen, store).tick(NOW)
    cursor, state = store.load_state(STATE)
    assert state is not None
    old = json.loads(state)
    old["streams"]["home-v1"]["detector"] = base64.b64encode(b"of another time").decode()
    with store.transaction() as session:
        store.save_state(session, STATE, cursor, json.dumps(old).encode())
    store.add_exchanges([exchange(n) for n in range(31, 41)])
    assert Watch(chosen, store).tick(NOW) == 10
    assert [event.text for event in store.events() if event.kind == "reference"] == [
        "watching home-v1 against its 200 reference exchanges"
    ] * 2


def earlier(store: Store, *, single: bool) -> None:
    """Write the state as earlier programs did: all in one JSON, base64 within; the first ones knew one stream only."""
    cursor, state = store.load_state(STATE)
    said = json.loads(state)
    ((version, kept),) = said.pop("streams").items()
    kept["detector"] = base64.b64encode(store.load_state(f"{STATE}/detector/{version}")[1]).decode()
    said["reference_window"] = {version: base64.b64encode(first_window(store, version)).decode()}
    said |= kept | {"version": version} if single else {"streams": {version: kept}}
    with store.transaction() as session:
        session.execute(delete(StateRow))
        store.save_state(session, STATE, cursor, json.dumps(said).encode())


@pytest.mark.parametrize("single", [True, False], ids=["one stream", "several"])
def test_the_state_of_an_earlier_program_is_gone_on_with(store: Store, tmp_path: Path, single: bool) -> None:
    """Detectors and first windows once stood within the rest: evidence and distances go on, and move to their rows."""
    chosen = settings(tmp_path)
    other = Store.at(tmp_path / "other")
    other.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    for start in (1, 31, 51):
        if start == 31:
            window = first_window(store, "home-v1")
            earlier(store, single=single)
        for one in (store, other):
            one.add_exchanges([exchange(n) for n in range(start, start + (30 if start == 1 else 20))])
            Watch(chosen, one).tick(NOW)
    assert produced(store) == produced(other)
    assert {event.text for event in store.events()} == {event.text for event in other.events()}
    for key in (STATE, f"{STATE}/detector/home-v1"):
        assert (key, store.load_state(key)) == (key, other.load_state(key))
    assert first_window(store, "home-v1") == window
    other.close()


def test_a_detector_that_nobody_needs_any_more_leaves_no_state_behind(store: Store, tmp_path: Path) -> None:
    """Each version's detector has a row of its own, which goes with the stream."""
    watch = Watch(settings(tmp_path), store)
    store.add_exchanges([exchange(1)])
    watch.tick(NOW)
    store.put_rollout(RolloutRow(alias="home", champion="home-v2", updated_at=NOW))
    store.add_exchanges([exchange(2)])
    watch.tick(NOW)
    with store.transaction() as session:
        assert session.exec(select(StateRow.key)).all() == [STATE]


def test_under_heavy_traffic_windows_last_a_second(store: Store, tmp_path: Path) -> None:
    """Fifty times as many exchanges in a second make no more profiles; at a restart the open window is filled on."""
    chosen = settings(tmp_path)

    def busy(first: int, last: int) -> None:
        for n in range(first, last):
            at = NOW + timedelta(milliseconds=n)
            store.add_exchanges([dataclasses.replace(exchange(n), started_at=at)])

    busy(1, 200)
    Watch(chosen, store).tick(NOW)
    with store.transaction() as session:
        assert session.exec(select(ProfileRow)).all() == []
    busy(200, 1100)
    Watch(chosen, store).tick(NOW)
    with store.transaction() as session:
        whole = [row.rows for row in session.exec(select(ProfileRow)).all() if row.slice == "all"]
    assert whole == [1001]


def test_a_few_exchanges_wait_for_company(store: Store, tmp_path: Path) -> None:
    """All that the detector knows is written at each look: not for every exchange, but at once for a hundred."""
    watch = Watch(settings(tmp_path), store)
    store.add_exchanges([exchange(1)])
    assert watch.paced(NOW) == 1
    store.add_exchanges([exchange(2)])
    assert watch.paced(NOW) == 0
    store.add_exchanges([exchange(n) for n in range(3, 150)])
    assert watch.paced(NOW) == 148


def test_far_behind_the_detector_hears_a_fair_share(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more waiting than can be followed every exchange is profiled, and a quarter is ranked."""
    monkeypatch.setattr("agent.app.watch.BATCH", 100)
    monkeypatch.setattr("agent.app.watch.FAR_BEHIND", 50)
    monkeypatch.setattr("agent.app.watch.TICK_S", 600.0)  # however slow the machine is
    store.add_exchanges([exchange(n) for n in range(1, 201)])
    watch = Watch(settings(tmp_path), store)
    assert watch.tick(NOW) == 200
    detector = watch._streams.of["home-v1"].detector
    assert detector is not None
    assert 110 < detector.core.rows < 150
    assert produced(store)[0] == 10


def from_afar(home: Path) -> Settings:
    """Settings of a version that brings its reference along."""
    return settings(home).model_copy(update={"reference": None})


def test_a_version_that_lies_elsewhere_is_brought_before_its_reference_is_looked_for(
    store: Store, tmp_path: Path
) -> None:
    """The object store is away at first: nothing is learnt from first answers, and the next tick asks again."""
    chosen = from_afar(tmp_path)
    lines = (tmp_path / "reference.jsonl").read_bytes()
    (tmp_path / "reference.jsonl").unlink()
    store.add_exchanges([exchange(n) for n in range(1, 31)])
    asked: list[AdapterVersion] = []

    def bring(version: AdapterVersion) -> None:
        asked.append(version)
        if len(asked) == 1:
            raise RemoteFault("the object store does not answer")
        (Path(version.path) / "reference.jsonl").write_bytes(lines)

    watch = Watch(chosen, store, bring=bring)
    with pytest.raises(RemoteFault, match="does not answer"):
        watch.tick(NOW)
    assert (watch.phase, store.load_state(STATE), store.events()) == ("learning 0/300", (0, b""), [])
    assert watch.tick(NOW) == 30
    said = [event.text for event in store.events() if event.kind == "reference"]
    assert said == ["watching home-v1 against its 200 reference exchanges"]
    assert {(version.name, version.path) for version in asked} == {("home-v1", str(tmp_path))}


def test_a_version_that_is_nowhere_to_be_had_is_watched_without_its_reference(store: Store, tmp_path: Path) -> None:
    """Asking again would not help: what it answers first is learnt from, and the record says why."""
    chosen = from_afar(tmp_path)
    (tmp_path / "reference.jsonl").unlink()
    store.add_exchanges([exchange(n) for n in range(1, 11)])

    def bring(version: AdapterVersion) -> None:
        raise Unservable(f"{version.name} was never put up")

    watch = Watch(chosen, store, bring=bring)
    assert watch.tick(NOW) == 10
    assert watch.phase == "learning 10/300"
    assert [event.text for event in store.events()] == [
        "home-v1 cannot be brought here: home-v1 was never put up",
        "home-v1 brings no reference: learning from its first answers",
    ]
