"""A team that only wants to look must get a picture without naming anybody, and lose nothing of it later."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.app.observe import MOST_VERSIONS, SAYS, Observer, claim
from agent.app.steer import Steer
from agent.app.watch import Watch
from agent.rollout.adopt import adopt
from agent.settings import Settings
from agent.store import Store, artifacts
from agent.store.snapshot import snapshot
from agent.store.tables import RolloutRow
from agent.types import Exchange, InvalidInput, Message, Outcome, RemoteFault
from agent.web.page import page
from serving import wire
from tests.estate.monitors import agent_running, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ("lamp", "door", "heat", "blind", "radio")


def exchange(seq: int, model: str, prompt: str = "", status: int = 200) -> Exchange:
    """What a client asked of a served name, no alias table anywhere."""
    text = prompt or f"turn the {WORDS[seq * 7 % 5]} {seq % 3} please"
    return Exchange(
        id=f"x{seq}", worker="w", seq=seq, started_at=NOW + timedelta(seconds=seq), path="/v1/chat/completions",
        alias=model, version=model, status=status, outcome=Outcome.COMPLETE if status == 200 else Outcome.ERROR,
        messages=(Message(role="user", text=text),), answer=text.split()[2],
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store."""
    made = Store.at(tmp_path / "home")
    yield made
    made.close()


def settings(**changes: Any) -> Settings:
    """Next to nothing."""
    return Settings.model_validate({"drift": {"reference_rows": 60, "window_rows": 20}, **changes})


def absent() -> dict[str, str]:
    """An engine that nobody has started."""
    raise RemoteFault("nobody listens")


def look(store: Store, tree: Settings) -> tuple[Observer, Steer]:
    """The observer, and the policy that asks it."""
    observer = Observer(tree, store, store.add_exchanges, absent)
    return observer, Steer(tree, store, observe=observer.tick)


def test_each_served_name_is_a_version_with_a_detector_of_its_own(store: Store) -> None:
    """Two adapters and the base pass; each is watched apart, and failed names make no version."""
    tree = settings()
    observer, steer = look(store, tree)
    names = ("support-de", "support-en", "base")
    observer.add([exchange(n, names[n % 3]) for n in range(1, 301)])
    observer.add([exchange(301, "no-such-model", status=404)])
    watch = Watch(tree, store)
    while watch.tick(NOW):
        pass
    assert steer.tick(NOW) == SAYS
    assert watch.phase == "watching 3 of 3 versions"
    assert {(v.name, v.status, v.digest) for v in store.adapters("home")} == {(n, "unverified", "") for n in names}
    decision = store.last_decision("home")
    assert decision is not None
    assert decision.action == "hold"
    assert decision.reasons[0] == "observe only: no champion named"
    assert store.orders() == []
    seen = snapshot(store, "home", NOW, None)
    assert {name: seen.answered()[name] for name in names} == dict.fromkeys(names, 100)
    assert "Observing" in page(seen, {})


def test_what_the_detector_cannot_do_is_said_once_and_shown(store: Store) -> None:
    """Neighbours that are alike, and nobody named: the page says what to log, also after a restart; the record once."""
    tree = settings()
    observer, _ = look(store, tree)
    observer.add(
        [exchange(n, "one", f"{WORDS[n // 12 % 5]} {n // 12} again {WORDS[n // 12 % 5]}") for n in range(1, 91)]
    )
    watch = Watch(tree, store)
    while watch.tick(NOW):
        pass
    (note,) = snapshot(store, "home", NOW, None).drift.notes
    assert "give every exchange its user or its conversation" in note
    observer.add([exchange(n, "one") for n in range(91, 121)])
    again = Watch(tree, store)
    while again.tick(NOW):
        pass
    seen = snapshot(store, "home", NOW, None)
    assert seen.drift.notes == (note,)
    assert note[1:] in page(seen, {})
    assert [event.text for event in seen.events if event.kind == "detector"] == [f"one: {note}"]


def test_a_drift_is_said_of_its_version_and_opens_no_order(store: Store) -> None:
    """Only one of two adapters gets other traffic; the alarm names it, and nothing more is done."""
    tree = settings(policy={"retrain_on_drift_alone": True, "fresh_exchanges": 10}, drift={"reference_rows": 60})
    observer, steer = look(store, tree)
    observer.add([exchange(n, "one" if n % 2 else "two") for n in range(1, 201)])
    observer.add(
        [exchange(n, "one", f"zzz {n} play jazz, 12:{n}!") if n % 2 else exchange(n, "two") for n in range(201, 601)]
    )
    watch = Watch(tree, store)
    while watch.tick(NOW):
        pass
    steer.tick(NOW + timedelta(hours=1))
    seen = snapshot(store, "home", NOW + timedelta(hours=1), None)
    assert seen.alarm is not None
    assert seen.alarm.alarm.version == "one"
    assert seen.decision is not None
    assert any("drift alarm" in reason and " on one " in reason for reason in seen.decision.reasons)
    assert store.orders() == []
    assert "one has drifted" in page(seen, {})


def test_a_champion_that_is_named_later_finds_the_history(store: Store, tmp_path: Path) -> None:
    """First look at `my-adapter` under no alias of one's own; then name both: versions, counts and detector stay."""
    before = settings()
    claim(before, store, NOW)
    observer, steer = look(store, before)
    observer.add([exchange(n, "my-adapter") for n in range(1, 81)])
    first = Watch(before, store)
    first.tick(NOW)
    steer.tick(NOW)
    assert first.phase == "watching"
    folder = tmp_path / "my-adapter"
    folder.mkdir()
    (folder / artifacts.CONFIG).write_text("{}")
    (folder / artifacts.WEIGHTS).write_bytes(b"weights")
    artifacts.seal(folder, {"base_digest": "b"})
    after = settings(alias="my-adapter", champion=folder, champion_name="my-adapter")
    for _ in range(2):  # a second start changes nothing
        claim(after, store, NOW)
        adopt(after, store, NOW)
    row = store.rollout("my-adapter")
    assert row is not None
    assert row.champion == "my-adapter"
    (version,) = store.adapters("my-adapter")
    assert (version.status, version.path) == ("live", str(folder))
    assert snapshot(store, "my-adapter", NOW, None).answered() == {"my-adapter": 80}
    second = Watch(after, store)
    observer, _ = look(store, after)
    assert not observer.observing
    observer.add([exchange(81, "another")])
    stored = store.exchange("x81")
    assert stored is not None
    assert stored.alias == "another"
    second.tick(NOW)
    assert second.phase == "watching"


def test_counts_that_were_folded_move_with_the_alias(store: Store) -> None:
    """The tallies of the old name are added to those of the new one, to the last exchange."""
    from agent.store import tally

    claim(settings(), store, NOW)
    observer, _ = look(store, settings())
    observer.add([exchange(n, "one") for n in range(1, 11)])
    while tally.fold(store.engine):
        pass
    observer.add([exchange(n, "one") for n in range(11, 16)])
    claim(settings(alias="assistant"), store, NOW)
    assert snapshot(store, "assistant", NOW, None).answered() == {"one": 15}
    assert snapshot(store, "home", NOW, None).answered() == {}


def test_versions_are_bounded_and_restarts_know_them(store: Store) -> None:
    """Names without end make no rows without end; what passed before a restart gets its row after it."""
    observer, _ = look(store, settings())
    observer.add([exchange(9000, "a-name-that-nobody-serves", status=404)])
    observer.add([exchange(n, f"model-{n}") for n in range(1, MOST_VERSIONS + 20)])
    observer, steer = look(store, settings())
    steer.tick(NOW)
    named = [version.name for version in store.adapters("home")]
    assert len(named) == MOST_VERSIONS
    assert "a-name-that-nobody-serves" not in named


def test_what_the_engine_serves_is_there_before_it_answers(store: Store) -> None:
    """Names and folders of the engine's list are versions at once; the judge's is none."""
    tree = settings(quality={"judge_model": "judge"})
    served = {"base": "/models/base", "support-de": "/adapters/support-de", "judge": "/adapters/judge"}
    Observer(tree, store, store.add_exchanges, lambda: served).tick(NOW)
    assert {(v.name, v.path) for v in store.adapters("home")} == {
        ("base", "/models/base"), ("support-de", "/adapters/support-de"),
    }  # fmt: skip


def test_a_champion_named_by_another_sidecar_ends_the_observing(store: Store) -> None:
    """The observer steps aside as soon as the store knows who answers."""
    observer, _ = look(store, settings())
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=NOW))
    observer.add([exchange(1, "stray")])
    stored = store.exchange("x1")
    assert stored is not None
    assert stored.alias == "stray"
    assert not observer.observing


def test_the_whole_agent_runs_with_nothing_but_a_home() -> None:
    """Without champion and without engine: a tap's exchange and one handed in are on the page and in the metrics."""
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        tree = {"home": str(home), "tick_s": 0.1, "engine": {"url": "http://127.0.0.1:9"}}
        with agent_running(tree) as agent:
            url = f"http://127.0.0.1:{agent.settings.http.port}"
            line = {
                "request": {"model": "gpt-x", "messages": [{"role": "user", "content": "hello"}]},
                "response": {"id": "r1", "model": "gpt-x", "choices": [{"message": {"content": "hi"}}]},
            }
            assert httpx.post(f"{url}/v1/exchanges", content=json.dumps(line)).status_code == 200
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tap:
                tap.connect(str(home / "agent.sock"))
                tap.sendall(wire.encode_hello("c" * 32, os.getpid()) + wire.encode_capture(_capture()))

                def status() -> Any:
                    said = httpx.get(f"{url}/v1/status").json()
                    return said if {a["name"] for a in said["adapters"]} == {"gpt-x", "my-adapter"} else None

                said = until(status, within_s=60)
            assert said["decision"]["reasons"][0] == SAYS
            assert "observe only" in httpx.get(f"{url}/").text
            metrics = httpx.get(f"{url}/metrics").text
            assert 'version="my-adapter"' in metrics
            assert {name for name, loop in said["live"]["loops"].items() if loop["faults"]} == set()


def _capture() -> wire.Capture:
    body = json.dumps({"model": "my-adapter", "messages": [{"role": "user", "content": "hi"}]}).encode()
    said = {"id": "c1", "model": "my-adapter", "choices": [{"message": {"role": "assistant", "content": "ho"}}]}
    response = json.dumps(said).encode()
    return wire.Capture(
        worker="c" * 32, seq=1, started_at=1_790_000_000.0, method="POST", path="/v1/chat/completions", alias=None,
        version=None, status=200, outcome="complete", headers={}, request=body, response=response,
        marks=((1000, len(response)),), request_cut=0, response_cut=0, total_us=2000, dropped=0,
    )  # fmt: skip


def test_a_log_that_is_imported_is_observed_like_traffic(tmp_path: Path) -> None:
    """Lines that name models of their own are versions under the alias; an empty file is one sentence."""
    from agent.app.restore import run

    tree = settings(home=tmp_path / "h")
    lines = [json.dumps({"request": {"model": f"model-{n % 2}", "messages": [{"role": "user", "content": f"hi {n}"}]},
                         "response": {"choices": [{"message": {"content": "ho"}}]}}) for n in range(10)]  # fmt: skip
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    run(tree, [tmp_path / "log.jsonl"], lambda _said: None)
    store = Store.at(tree.home)
    assert snapshot(store, "home", NOW, None).answered() == {"model-0": 5, "model-1": 5}
    store.close()
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InvalidInput, match="there is no line in it: see"):
        run(tree, [tmp_path / "empty.jsonl"], lambda _said: None)
