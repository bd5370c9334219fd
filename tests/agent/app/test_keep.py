"""The janitor among the real loops, and a disk that is really full."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select

from agent.app.keep import Janitor, text_gate
from agent.app.loops import Loops
from agent.app.watch import Watch
from agent.app.watch_state import STATE as WATCH
from agent.intake import IntakeServer, Redactor
from agent.profile.features import features
from agent.quality.room import STATE_KEY as JUDGE
from agent.settings import Settings
from agent.store import Store
from agent.store.gate import HOLD_FIRST_S, TextGate
from agent.store.tables import EventRow, OrderRow, ProfileRow, RolloutRow
from agent.types import Exchange, Grade
from serving.middleware import TapSettings, Trimtab
from tests.agent.intake.captures import CHAT
from tests.agent.intake.test_restart import app, until
from tests.agent.store.traffic import START, exchange

MB = 1_000_000
DAY = timedelta(days=1)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store whose alias is answered by home-v1."""
    made = Store.at(tmp_path / "home")
    made.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=START))
    yield made
    made.close()


def settings(store_home: Path, *, reference_rows: int = 1000, **capture: Any) -> Settings:
    """Small windows, and no more than the newest twenty rows held for an order."""
    return Settings.model_validate(
        {
            "home": store_home,
            "capture": {"min_free_mb": 0, **capture},
            "drift": {"window_rows": 20, "reference_rows": reference_rows},
            "retrain": {"max_fresh_rows": 10, "holdout_rows": 10},
        }
    )


def open_gate(store: Store, free: list[int], min_free: int = 100) -> TextGate:
    """A gate that believes `free[0]` bytes to be free and `free[1]` seconds to have passed."""
    return TextGate(
        store,
        min_free_bytes=min_free,
        measure=features,
        free_bytes=lambda: free[0],
        now=lambda: START,
        clock=lambda: float(free[1]),
    )


def texts(store: Store) -> list[bool]:
    """Which exchanges have their text, in order."""
    return [e.has_text for _, e in store.exchanges_after(0, 10_000)]


def record(store: Store) -> list[str]:
    """What the record says about the disk."""
    with store.transaction() as session:
        return [e.text for e in session.exec(select(EventRow).where(EventRow.kind == "disk"))]


# -- thinning and deletion among the loops ------------------------------------------------------------


def test_thinning_waits_for_every_reader(store: Store, tmp_path: Path) -> None:
    """Text goes only where watch and judge have been, no window fills, no order reads, and nothing new is."""
    chosen = settings(tmp_path / "home", keep_per_window=5)
    store.add_exchanges([exchange(n) for n in range(1, 211)])
    janitor = Janitor(chosen, store, text_gate(chosen, store, lambda: START), judging=True)
    assert janitor.settled() == 0
    watch = Watch(chosen, store)
    watch.tick(START)
    assert janitor.settled() == 0, "the judge has not come yet"
    with store.transaction() as session:
        store.save_state(session, JUDGE, 150, b"")
    assert janitor.settled() == 150
    with store.transaction() as session:
        store.save_state(session, JUDGE, 210, b"")
        order = {"data": {"since_rowid": 130, "until_rowid": 160}}
        session.add(OrderRow(id="o", alias="home", status="running", reason="r", document=order, opened_at=START))
    assert janitor.settled() == 130
    janitor.tick(START)
    assert [sum(texts(store)[start : start + 20]) for start in range(0, 200, 20)] == [5] * 6 + [20] * 4
    store.update_order("o", status="done")
    assert janitor.settled() == min(store.load_state(WATCH)[0], 190, 200)
    janitor.tick(START)
    assert [sum(texts(store)[start : start + 20]) for start in range(0, 200, 20)] == [5] * 9 + [20]


def test_a_restart_sees_the_same_profiles_after_thinning(store: Store, tmp_path: Path) -> None:
    """The half-filled window is computed again from stored texts, so thinning must not have touched it."""
    chosen = settings(tmp_path / "home", keep_per_window=1)
    janitor = Janitor(chosen, store, text_gate(chosen, store, lambda: START), judging=False)
    other = Store.at(tmp_path / "other")
    other.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=START))
    for start in range(1, 131, 26):
        batch = [exchange(n) for n in range(start, start + 26)]
        for one in (store, other):
            one.add_exchanges(batch)
            Watch(chosen, one).tick(START)
        janitor.tick(START)
    assert texts(store).count(False) > 60
    assert _profiles(store) == _profiles(other)
    other.close()


def _profiles(store: Store) -> list[tuple[str, int]]:
    with store.transaction() as session:
        return [(p.window_id, p.rows) for p in session.exec(select(ProfileRow).order_by(col(ProfileRow.window_id)))]


def test_what_is_too_big_and_must_stay_is_said_once(store: Store, tmp_path: Path) -> None:
    """A database that cannot be brought down to its size is a line in the record, not one a minute."""
    chosen = settings(tmp_path / "home", keep_bytes=1024**2)
    store.add_exchanges([exchange(n, answer="x" * 4000) for n in range(1, 400)])
    store.add_grades(
        [Grade(exchange_id=exchange(n).id, source="ada", score=1, truth=True, at=START) for n in range(1, 400)]
    )
    janitor = Janitor(chosen, store, text_gate(chosen, store, lambda: START), judging=False)
    janitor.tick(START + DAY)
    janitor.tick(START + DAY)
    assert len(texts(store)) == 399
    assert [text[:15] for text in record(store)] == ["the database is"]


def test_age_is_counted_from_the_settings(store: Store, tmp_path: Path) -> None:
    """`keep_days` reaches the deletion, counts stay, and the round says what it did."""
    chosen = settings(tmp_path / "home", keep_days=2)
    store.add_exchanges([exchange(n, started_at=START + n * DAY) for n in range(1, 11)])
    janitor = Janitor(chosen, store, text_gate(chosen, store, lambda: START), judging=False)
    assert "7 deleted" in janitor.tick(START + 10 * DAY)
    assert store.capture_counts()["stored"] == 10


def test_a_chore_that_fails_keeps_no_other_from_its_turn(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fault is raised for the ring around the loops to count, after everything else was done."""
    chosen = settings(tmp_path / "home", keep_days=2, keep_per_window=1)

    def broken(*_: Any, **__: Any) -> int:
        raise OverflowError("date value out of range")

    monkeypatch.setattr("agent.app.keep.thin", broken)
    store.add_exchanges([exchange(n, started_at=START + n * DAY) for n in range(1, 11)])
    janitor = Janitor(chosen, store, text_gate(chosen, store, lambda: START), judging=False)
    with pytest.raises(OverflowError):
        janitor.tick(START + 10 * DAY)
    assert len(texts(store)) == 3


# -- no room ------------------------------------------------------------------------------------------


def test_texts_stop_below_the_bound_and_come_back_above_it(store: Store) -> None:
    """Numbers and features go on; text returns at one and a half times the bound; both are said once."""
    free = [1000, 0]
    gate = open_gate(store, free)
    gate.add_exchanges([exchange(1)])
    free[0] = 99
    gate.add_exchanges([exchange(2), exchange(3, status=500)])
    free[0] = 149
    gate.add_exchanges([exchange(4)])
    assert (gate.paused, gate.without_text) == (True, 3)
    free[0] = 150
    gate.add_exchanges([exchange(5)])
    assert texts(store) == [True, False, False, False, True]
    found = [e for _, e in store.exchanges_after(0, 9)]
    assert found[1].features is not None
    assert found[1].features.numbers
    assert (found[1].profiled, found[2].features, found[1].text_gone) == (True, None, "paused")
    assert found[1].answer_tokens == exchange(2).answer_tokens
    assert ["no texts" in text for text in record(store)] == [True, False]


def test_a_write_without_room_costs_the_text_and_nothing_else(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """When SQLite says full, the same batch is stored bare at once; text stays away for a minute, then is tried."""
    free, real = [10**9, 0], store.add_exchanges
    full = True

    def add(batch: Sequence[Exchange]) -> int:
        if full and any(e.has_text for e in batch):
            store.engine.dispose()
            with store.engine.begin() as connection:
                connection.exec_driver_sql("PRAGMA max_page_count=1")
                connection.exec_driver_sql("CREATE TABLE big AS SELECT randomblob(1000000) AS x")
        return real(batch)

    monkeypatch.setattr(store, "add_exchanges", add)
    gate = open_gate(store, free)
    assert gate.add_exchanges([exchange(1)]) == 1
    free[1] = int(HOLD_FIRST_S) - 1
    assert gate.add_exchanges([exchange(2)]) == 1
    full, free[1] = False, int(HOLD_FIRST_S)
    assert gate.add_exchanges([exchange(3)]) == 1
    assert texts(store) == [False, False, True]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of sixty-four megabytes, where this user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    asked = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(asked, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root: run this test as root in a container that may mount")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(path: Path, most: int = 1 << 30) -> None:
    """Write until there is no room, or so much."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while file.tell() < most and file.write(b"x" * min(65536, most - file.tell())):
            pass


async def ask(tap: Trimtab, n: int) -> None:
    """One request of twelve kilobytes, as many requests are."""
    body = json.dumps({**CHAT, "messages": [{"role": "user", "content": f"q{n} {'of no weight ' * 900}"}]}).encode()
    asked = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return asked.pop()

    async def send(_: Any) -> None:
        pass

    await tap({"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}, receive, send)


async def fill_and_free(disk: Path, tap: Trimtab, store: Store, gate: TextGate, wait: Callable[[], None]) -> int:
    """Traffic until texts stop; a stranger takes the last byte, traffic goes on; room again, traffic goes on.

    Returns the number of requests.
    """
    spool, asked = tap.spool, 0
    assert spool is not None

    async def requests(n: int) -> None:
        nonlocal asked
        for _ in range(n):
            await ask(tap, asked)
            asked += 1

    while not gate.paused and asked < 2000:
        await requests(50)
        await until(lambda: spool.waiting == 0)
    assert gate.paused
    await requests(50)
    await until(lambda: spool.waiting == 0)
    assert store.last_rowid() == asked
    fill(disk / "ballast")
    await requests(100)
    await asyncio.sleep(1)
    assert spool.waiting + store.last_rowid() >= asked
    (disk / "ballast").unlink()
    (disk / "others").unlink()
    wait()
    await until(lambda: spool.waiting == 0 and not gate.paused)
    await requests(1)
    await until(lambda: store.last_rowid() == asked and spool.waiting == 0)
    assert spool.dropped == spool.faults == 0
    return asked


def test_a_full_disk_loses_nothing_but_texts(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real tap, socket, intake, store and loops on a disk of 64 MB: it fills, all live, and all is counted.

    First the bound stops the texts. Then a stranger takes the last byte: what cannot be written stays with the tap.
    When there is room again everything lands, and texts are stored again, without anybody's help.
    """
    monkeypatch.setattr("agent.app.windows.WINDOW_S", 0.0)  # a window holds twenty, however fast they come
    home = small_disk / "h"
    chosen = settings(home, min_free_mb=12, reference_rows=50)
    store = Store.at(home)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=START))
    ahead = [0.0]
    gate = text_gate(chosen, store, lambda: datetime.now(UTC), lambda: time.monotonic() + ahead[-1])
    watch, janitor = Watch(chosen, store), Janitor(chosen, store, gate, judging=False)
    loops = Loops({"watch": watch.tick, "keep": janitor.tick}, 0.05)
    fill(small_disk / "others", 44 * MB)

    async def scene() -> int:
        server = IntakeServer(home / "s", gate.add_exchanges, store.note_worker, Redactor(), lambda: datetime.now(UTC))
        server.push_table({"home": {"home-v1": 1.0}})
        await server.start()
        tap = Trimtab(app, TapSettings(socket=str(home / "s")))  # type: ignore[arg-type]
        loops.start()
        try:
            # A write that failed keeps texts away for a while: two hours pass in a moment.
            asked = await fill_and_free(small_disk, tap, store, gate, lambda: ahead.append(7200.0))
            await until(lambda: watch.cursor == asked)
        finally:
            await asyncio.to_thread(loops.stop)
            if tap.spool is not None:
                await tap.spool.stop()
            await server.stop()
        return asked

    asked = asyncio.run(scene())
    counts = store.capture_counts()
    assert (counts["assigned"], counts["stored"], counts["lost"]) == (asked, asked, 0)
    found = [e for _, e in store.exchanges_after(0, 5000)]
    assert found[0].has_text
    assert found[-1].has_text
    bare = [e for e in found if not e.has_text]
    assert len(bare) == gate.without_text >= 50
    assert all(e.features is not None and e.text_gone == "paused" and not e.messages for e in bare)
    with store.transaction() as session:
        profiled = sum(p.rows for p in session.exec(select(ProfileRow)))
    assert profiled == sum(n // 20 * 20 for n in Counter(e.version for e in found).values())
    said = record(store)
    assert "no texts are stored" in said[0]
    assert "there is room again" in said[-1]
    store.close()
