"""Several sidecars on one PostgreSQL: one fleet view, one leader, and a server that may die under load."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from rich.console import Console
from sqlalchemy.exc import DBAPIError
from sqlmodel import select

from agent.app import archive, restore, status
from agent.app.database import open_store, reading_store
from agent.app.main import Agent
from agent.app.waiting import patiently
from agent.app.watch import Watch
from agent.export.table import KEPT_IN_STORE, OF_EACH
from agent.intake import IntakeServer, Redactor
from agent.intake import server as intake
from agent.intake.attach.lines import read_lines
from agent.profile.features import features
from agent.profile.profiler import Profiler
from agent.profile.reference import profile_of_traffic
from agent.settings import Settings
from agent.store import Store, leader
from agent.store.tables import ProfileRow, ReadingRow, RolloutRow, WorkerRow
from agent.types import Grade, RemoteFault
from serving.middleware import TapSettings, Trimtab
from tests.agent.intake.test_restart import app, ask, until
from tests.agent.store.traffic import START, exchange
from tests.estate.postgres import Postgres
from tests.estate.server import free_port

DAY = timedelta(days=1)


def tree(home: Path, url: str | None, pod: str) -> Settings:
    """Settings of one sidecar."""
    return Settings.model_validate(
        {
            "home": home / pod, "store": {"url": url, "pod": pod, "connections": 4}, "tick_s": 0.1,
            "engine": {"url": "http://127.0.0.1:9"}, "drift": {"window_rows": 20},
        }
    )  # fmt: skip


@pytest.fixture
def fleet(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Agent, Agent]]:
    """Two sidecars, of which the first leads; their loops are called by hand."""
    monkeypatch.setattr(leader, "LOOK_S", 0.0)
    store = Store(database)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=START))
    store.close()
    both = Agent(tree(tmp_path, database, "pod-a"), "token"), Agent(tree(tmp_path, database, "pod-b"), "token")
    assert both[0].leader.lead()
    yield both
    for one in both:
        one.leader.resign()
        one.engine.close()
        one.store.close()


def tick(agent: Agent, loop: str) -> str:
    """One call of one loop."""
    return str(agent.loops._loops[loop](datetime.now(UTC)))


def windows(store: Store) -> tuple[list[tuple[str, int]], list[tuple[str, str, float]]]:
    """What was made of the stream: whole windows with their rows, and all distances of their profiles."""
    with store.transaction() as session:
        profiles = session.exec(select(ProfileRow).where(ProfileRow.slice == "all")).all()
        readings = session.exec(select(ReadingRow).where(ReadingRow.feature != "detector")).all()
    far = sorted((row.window_id, f"{row.feature} {row.measure}", row.value) for row in readings)
    return sorted((row.window_id, row.rows) for row in profiles), far


def test_the_traffic_of_all_pods_is_one_stream(fleet: tuple[Agent, Agent], tmp_path: Path) -> None:
    """Windows, profiles and distances are those of one sidecar that saw it all, though the leader changed midway."""
    first, second = fleet
    batches = [[exchange(n, worker=f"tap-{n % 2}") for n in range(start, start + 10)] for start in range(1, 101, 10)]
    for n, batch in enumerate(batches):
        (first, second)[n % 2].gate.add_exchanges(batch)
        if n == 6:
            assert tick(second, "watch") == "does not lead"
            tick(first, "watch")
            first.leader.resign()
            assert second.leader.lead()
    tick(second, "watch")
    assert tick(first, "watch") == "does not lead"

    alone = Store.at(tmp_path / "alone")
    alone.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=START))
    watch = Watch(tree(tmp_path, None, "alone"), alone)
    for n, batch in enumerate(batches):
        alone.add_exchanges(batch)
        if n in (6, 9):
            watch.tick(datetime.now(UTC))
    assert windows(second.store) == windows(alone)
    counts, far = windows(alone)
    assert [rows for _, rows in counts] == [20] * 5
    assert far
    alone.close()


def test_profiles_of_pods_merge_to_the_profile_of_the_fleet(fleet: tuple[Agent, Agent]) -> None:
    """Each pod's own profile, merged, counts what `trimtab profile` of the shared database counts, column by column."""
    parts: list[bytes] = []
    for pod, seqs in zip(fleet, (range(1, 31), range(31, 71)), strict=True):
        batch = [exchange(n, worker=pod.pod) for n in seqs]
        pod.gate.add_exchanges(batch)
        profiler = Profiler(START)
        profiler.track([features(one) for one in batch])
        parts.append(profiler.serialize())
    whole, rows = profile_of_traffic(
        fleet[1].store, alias="home", version="home-v1", since=START - DAY, until=START + DAY
    )
    assert rows == 70
    merged = Profiler.merge(*parts)
    assert means(merged) == pytest.approx(means(whole))


def means(profile: bytes) -> dict[str, float]:
    """Count and mean of every column of numbers."""
    from agent.profile.reading import read_view

    found: dict[str, float] = {}
    for name, column in read_view(profile).get_columns().items():
        summary = column.to_summary_dict()
        found[f"{name} n"] = summary["counts/n"]
        found[f"{name} mean"] = summary.get("distribution/mean") or 0.0
    assert len(found) > 10
    return found


def test_only_the_leader_decides(fleet: tuple[Agent, Agent]) -> None:
    """The follower's loops that move or spend anything rest; after a resignation they are its own."""
    first, second = fleet
    mine = ("watch", "judge", "policy", "launch", "report", "notify", "keep")
    assert [loop for loop in mine if tick(second, loop) == "does not lead"] == list(mine)
    assert [loop for loop in mine if tick(first, loop) == "does not lead"] == []
    first.leader.resign()
    assert tick(second, "policy") != "does not lead"
    live = second.live.status()
    assert (live["pod"], live["leads"], live["leader"]) == ("pod-b", True, "pod-b")


def test_two_pods_take_from_one_source(fleet: tuple[Agent, Agent]) -> None:
    """Lines that come in at two sidecars at once get numbers of their own: none takes another's place."""
    for n, pod in enumerate(fleet):
        lines = [
            json.dumps({"prompt": f"p{n}-{i}", "response": "r", "id": f"id-{n}-{i}", "timestamp": START.timestamp()})
            for i in range(5)
        ]
        taken = pod.doors._desk.take("lines", read_lines("\n".join(lines).encode(), time.time()))
        assert taken.stored == 5, taken
    store = fleet[0].store
    with store.transaction() as session:
        names = sorted(session.exec(select(WorkerRow.worker)).all())
    assert names == ["attach-lines@pod-a", "attach-lines@pod-b"]
    assert store.capture_counts() | {"dropped": 0, "unreadable": 0} == {
        "assigned": 10, "stored": 10, "dropped": 0, "unreadable": 0, "lost": 0,
    }  # fmt: skip


@pytest.mark.parametrize(("buffer_bytes", "loses"), [(64 << 20, False), (30_000, True)])
def test_a_server_killed_under_load_loses_what_the_counters_say(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, buffer_bytes: int, *, loses: bool
) -> None:
    """SIGKILL for PostgreSQL in the middle of storing: what found room in a buffer lands once, the rest is counted."""
    monkeypatch.setattr(intake, "BACKOFF_LAST_S", 0.2)
    monkeypatch.setattr(intake, "INBOX_BYTES", 20_000)
    store = Store(postgres.clone(), connections=4)

    async def scene() -> int:
        server = IntakeServer(
            tmp_path / "a.sock", store.add_exchanges, store.note_worker, Redactor(), lambda: datetime.now(UTC)
        )
        await server.start()
        server.push_table({"home": {"home-v1": 1.0}})
        tap = Trimtab(app, TapSettings(socket=str(tmp_path / "a.sock"), buffer_bytes=buffer_bytes))  # type: ignore[arg-type]
        assert tap.spool is not None
        spool = tap.spool
        await ask(tap, 0)
        await until(lambda: spool.waiting == 0)
        for n in range(1, 300):
            await ask(tap, n)
            if n % 10 == 0:
                await asyncio.sleep(0.005)
            if n == 60:
                await asyncio.to_thread(postgres.kill)
            if n == 240:
                await asyncio.to_thread(postgres.start)
        await until(lambda: spool.waiting == 0)
        await until(lambda: server.queued[0] == 0)
        await spool.stop()
        await server.stop()
        assert server.counts.store_faults > 0
        return spool.dropped

    dropped = asyncio.run(scene())
    counts = store.capture_counts()
    found = [e.seq for _, e in store.exchanges_after(0, 1000)]
    assert len(found) == len(set(found)) == counts["stored"]
    assert (dropped > 0) == loses
    assert counts["stored"] == 300 - dropped
    store.close()


def test_what_one_database_exports_the_other_imports(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of SQLite into PostgreSQL, named by the environment alone, and out again: the same lines and grades."""
    old, new = Settings.model_validate({"home": tmp_path / "old"}), Settings.model_validate({"home": tmp_path / "new"})
    store = open_store(old)
    store.add_exchanges([exchange(n) for n in range(1, 31)])
    store.add_grades([Grade(exchange_id=exchange(2).id, source="ada", score=1, truth=True, at=START)])
    store.close()
    assert archive.write(old, archive.Choice(), str(tmp_path / "a.jsonl.gz")) == 30
    monkeypatch.setenv("TRIMTAB_STORE_URL", database)
    said: list[str] = []
    restore.run(new, [tmp_path / "a.jsonl.gz"], said.append)
    assert said == ["30 stored, 0 there already, 0 bad, 1 grades"]
    restore.run(new, [tmp_path / "a.jsonl.gz"], said.append)
    assert said[1] == "0 stored, 30 there already, 0 bad, 0 grades"
    assert archive.write(new, archive.Choice(), str(tmp_path / "b.jsonl")) == 30
    first, again = gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()), (tmp_path / "b.jsonl").read_bytes()
    assert again == first
    assert not (tmp_path / "new" / "trimtab.db").exists()
    reading = reading_store(new)
    with pytest.raises(DBAPIError, match="read-only"):
        reading.record("note", "this cannot be", START)
    reading.close()


def test_who_watches_hears_of_a_database_that_is_away(fleet: tuple[Agent, Agent]) -> None:
    """A scrape that failed would silence the very alert: the process tells of itself, and nothing of the fleet."""
    monitors = fleet[0].monitors
    assert b"\ntrimtab_store_answers 1.0\n" in monitors.text()
    with fleet[0].store.engine.begin() as connection:
        connection.exec_driver_sql("drop table exchange cascade")
    for text in (monitors.text().decode(), monitors.openmetrics().decode()):
        told = {line.split()[0].partition("{")[0] for line in text.splitlines() if not line.startswith("#")}
        assert "\ntrimtab_store_answers 0.0\n" in text
        assert told == OF_EACH - KEPT_IN_STORE


def test_a_database_that_is_away_at_the_start_is_waited_for(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One sentence without the password, a process that says it lives, and a start as soon as the database is there."""
    nobody = database.replace("postgres@", "postgres:secret@").replace("tt-pg-", "nobody-")
    urls, port = iter([nobody, nobody, database]), free_port()
    asked: list[int] = []
    scraped: list[str] = []

    def looked(_: float) -> None:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            scraped.append(answer.read().decode())
        with pytest.raises(RemoteFault, match="lives, but it is waiting for the database"):
            status.show(Settings(), f"http://127.0.0.1:{port}", as_json=False, console=Console())
        with urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
            asked.append(answer.status)
        with pytest.raises(HTTPError) as refused:
            urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5)
        asked.append(refused.value.code)
        refused.value.close()

    with caplog.at_level(logging.WARNING):
        store = patiently(lambda: Store(next(urls)), "127.0.0.1", port, sleep=looked)
    assert asked == [200, 503, 200, 503]
    assert all("\ntrimtab_store_answers 0\n" in text for text in scraped)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "cannot be used" in said
    assert "secret" not in said
    store.close()
    assert threading.active_count() < 20
    with pytest.raises(RemoteFault, match="start it, or correct"):
        Store(nobody)
