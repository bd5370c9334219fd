"""From the buffer to the agent, over a real unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from serving import spool as spools
from serving import wire
from serving.alias import Alias
from serving.spool import Spool
from tests.estate.ear import Ear, until
from tests.serving.asgi import Upstream

Body = Callable[[Path], Coroutine[Any, Any, None]]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Body], None]:
    """Runs a test on Python's loop and on the one that vLLM uses."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def runner(body: Body) -> None:
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(asyncio.wait_for(body(tmp_path / "agent.sock"), 20.0))

    return runner


def give(spool: Spool, size: int = 10) -> int:
    """One exchange with a request of `size` bytes, as the tap gives it."""
    seq = spool.admit(size)
    if seq:
        names = wire.pack_names("w", "POST", "/", None, None)
        body = [b"x" * size]
        spool.put(seq, wire.pack(names, seq, 0, 0, 0, 200, 0, [], body, size, [], 0, [], [], 0, 0, spool.dropped))
    return seq


def test_exchanges_arrive_and_are_forgotten(run: Callable[[Body], None]) -> None:
    """The agent hears who speaks, how far it counted, every exchange once, and the buffer empties with its ACKs."""

    async def body(path: Path) -> None:
        ear, spool = Ear(path), Spool(str(path), "w", 10_000)
        await ear.open()
        spool.start()
        for _ in range(5):
            give(spool)
        await until(lambda: len(ear.captures) == 5 and not spool.waiting)
        assert ear.seqs == [1, 2, 3, 4, 5]
        assert ear.hellos[0]["worker"] == "w"
        assert ear.stats[0] in ({"seq": 0, "dropped": 0}, {"seq": 5, "dropped": 0})
        assert spool.held_bytes == 0
        await spool.stop()
        await ear.close()

    run(body)


def test_an_agent_that_comes_late_gets_all(run: Callable[[Body], None]) -> None:
    """What ended before the agent was there waits for it, in order."""

    async def body(path: Path) -> None:
        spool = Spool(str(path), "w", 10_000)
        spool.start()
        for _ in range(3):
            give(spool)
        await asyncio.sleep(0.1)
        ear = Ear(path)
        await ear.open()
        await until(lambda: ear.seqs == [1, 2, 3])
        await spool.stop()
        await ear.close()

    run(body)


def test_an_agent_that_dies_gets_the_unacknowledged_again(run: Callable[[Body], None]) -> None:
    """After a reconnect exactly those come again that were not acknowledged, then the new ones."""

    async def body(path: Path) -> None:
        ear, spool = Ear(path, ack=False), Spool(str(path), "w", 10_000)
        await ear.open()
        spool.start()
        for _ in range(3):
            give(spool)
        await until(lambda: ear.seqs == [1, 2, 3])
        ear.say(wire.encode_ack([2]))
        await until(lambda: spool.waiting == 2)
        await ear.close()
        await until(lambda: spool._link is None)
        give(spool)
        again = Ear(path)
        await again.open()
        await until(lambda: again.seqs == [1, 3, 4] and not spool.waiting)
        await spool.stop()
        await again.close()

    run(body)


def test_a_full_buffer_drops_the_newest_and_the_count_is_exact(run: Callable[[Body], None]) -> None:
    """With nobody listening the buffer keeps the oldest; last number less stored is what was lost."""

    async def body(path: Path) -> None:
        spool = Spool(str(path), "w", 1000)
        spool.start()
        given = [give(spool, 200) for _ in range(9)]
        assert given[:3] == [1, 2, 3]
        assert given[-1] == 0
        assert spool.held_bytes <= 1000 + 100
        ear = Ear(path)
        await ear.open()
        await until(lambda: bool(ear.stats) and not spool.waiting)
        assert ear.stats[-1] == {"seq": 9, "dropped": spool.dropped}
        assert len(ear.captures) == 9 - spool.dropped
        assert give(spool, 200) == 10  # room again
        await spool.stop()
        await ear.close()

    run(body)


def test_an_agent_that_does_not_read_costs_no_second_buffer(run: Callable[[Body], None]) -> None:
    """While the socket is full frames wait in the buffer alone, and all arrive once somebody reads."""

    async def body(path: Path) -> None:
        reading = asyncio.Event()
        seqs: list[int] = []

        async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            decoder = wire.Decoder()
            await reading.wait()
            while data := await reader.read(1 << 16):
                seqs.extend(wire.decode_capture(p).seq for k, p in decoder.feed(data) if k == wire.EXCHANGE)
            writer.close()

        server = await asyncio.start_unix_server(slow, path, limit=1 << 12)
        spool = Spool(str(path), "w", 64 << 20)
        spool.start()
        for _ in range(200):
            give(spool, 100_000)
        await until(lambda: spool._link is not None and not spool._link.open)
        assert len(spool._unsent) > 100
        reading.set()
        await until(lambda: len(seqs) == 200, 15.0)
        assert seqs == sorted(seqs)
        await spool.stop()
        server.close()
        await server.wait_closed()

    run(body)


def test_a_table_reaches_the_alias(run: Callable[[Body], None]) -> None:
    """What the agent pushes is handed on; nonsense is counted and the connection lives."""

    async def body(path: Path) -> None:
        tables: list[dict[str, Any]] = []
        ear, spool = Ear(path), Spool(str(path), "w", 1000, tables.append)
        await ear.open()
        spool.start()
        await until(lambda: bool(ear.hellos))
        ear.say(wire.frame(wire.TABLE, b"{nonsense"))
        ear.say(wire.frame(wire.ACK, b'{"seqs":5}'))
        ear.say(wire.frame(99, b"from the future"))
        ear.say(wire.encode_table({"home": {"v1": 1.0}}))
        await until(lambda: bool(tables))
        assert (tables, spool.faults) == ([{"aliases": {"home": {"v1": 1.0}}}], 2)
        await spool.stop()
        await ear.close()

    run(body)


def test_a_stream_out_of_step_is_made_anew(run: Callable[[Body], None]) -> None:
    """Bytes that are no frames end the connection, and the next one loses nothing."""

    async def body(path: Path) -> None:
        ear, spool = Ear(path), Spool(str(path), "w", 1000)
        await ear.open()
        spool.start()
        await until(lambda: len(ear.hellos) == 1)
        ear.say(b"\x00\x00\x00\x00\x00")
        await until(lambda: len(ear.hellos) == 2)
        give(spool)
        await until(lambda: ear.seqs == [1])
        assert spool.faults == 1
        await spool.stop()
        await ear.close()

    run(body)


@pytest.mark.parametrize(
    "path", ["/nowhere/agent.sock", "/" + "x" * 200, "{}", "{}/file", "{}/file/agent.sock", "a\0b", "", "{}/closed/s"]
)
def test_a_socket_that_cannot_be_is_patience(path: str, tmp_path: Path) -> None:
    """A path that leads nowhere, is too long, a folder, a file or forbidden, never raises into the server."""
    (tmp_path / "file").write_text("no socket")
    (tmp_path / "closed").mkdir(mode=0)

    async def body() -> None:
        spool = Spool(path.replace("{}", str(tmp_path)), "w", 1000)
        spool.start()
        spool.start()
        await asyncio.sleep(0.1)
        assert spool._task is not None
        assert not spool._task.done()
        assert give(spool) == 1
        await spool.stop()

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(body())


HOSTILE = [
    bytes(range(255, -1, -1)) * 40,
    wire.frame(wire.ACK, b"[" * 100_000),
    wire.frame(wire.ACK, b'{"seqs":[[1],{},null,1e999,-1]}'),
    wire.frame(wire.TABLE, b'{"aliases":{"a":{"v":1' + b"0" * 400 + b"}}}"),
    wire.frame(wire.EXCHANGE, b"yours"),
    b"\x7f\xff\xff\xff\x10",
]


@pytest.mark.parametrize("said", HOSTILE)
def test_an_agent_that_talks_nonsense_harms_nobody(run: Callable[[Body], None], said: bytes) -> None:
    """Whatever comes, nothing is raised, nothing is taken for an acknowledgement, and the spool comes back."""

    async def body(path: Path) -> None:
        ear, alias = Ear(path, ack=False), Alias(Upstream())
        await ear.open()
        spool = Spool(str(path), "w", 10_000, alias.adopt)
        spool.start()
        give(spool)
        await until(lambda: ear.seqs == [1])
        ear.say(said)
        await until(lambda: spool.faults > 0 or said == HOSTILE[4])
        ear.ack = True
        give(spool)
        await until(lambda: 2 in ear.seqs)
        await until(lambda: spool.waiting <= 1)  # the answer to what the ear has just heard is still on its way
        assert spool.waiting <= 1
        assert alias.table == {}
        await spool.stop()
        await ear.close()

    run(body)


def test_an_agent_that_hangs_up_at_once_is_not_called_again_at_once(
    run: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pauses grow while connections do not last, so that a broken agent costs no CPU."""
    pauses: list[float] = []

    async def body(path: Path) -> None:
        slept = asyncio.sleep

        async def sleep(delay_s: float) -> None:
            pauses.append(delay_s)
            await slept(0.001)

        def slam(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_unix_server(slam, path)
        monkeypatch.setattr(asyncio, "sleep", sleep)
        spool = Spool(str(path), "w", 1000)
        spool.start()
        while len(pauses) < 8:
            await slept(0.005)
        monkeypatch.undo()
        await spool.stop()
        server.close()
        await server.wait_closed()

    run(body)
    assert pauses[:6] == sorted(pauses[:6])
    assert pauses[-1] == spools.BACKOFF_LAST_S


def test_a_stop_is_heard_while_the_agent_hangs_up(run: Callable[[Body], None]) -> None:
    """Both in one turn of the loop: the server's shutdown does not wait for ever."""

    async def body(path: Path) -> None:
        ear, spool = Ear(path), Spool(str(path), "w", 0)
        await ear.open()
        spool.start()
        await until(lambda: bool(ear.stats) and spool._link is not None)
        link = spool._link
        assert link is not None
        link.gone.set()
        async with asyncio.timeout(5.0):
            await spool.stop()
        assert spool._task is not None
        assert spool._task.cancelled()
        await ear.close()

    run(body)


def test_the_counters_are_told_while_idle(run: Callable[[Body], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle server still says how far it counted, again and again."""
    monkeypatch.setattr(spools, "STATS_EVERY_S", 0.01)

    async def body(path: Path) -> None:
        ear, spool = Ear(path), Spool(str(path), "w", 0)
        await ear.open()
        spool.start()
        await until(lambda: len(ear.stats) >= 3)
        assert give(spool) == 0
        told = len(ear.stats)
        await until(lambda: len(ear.stats) >= told + 2)
        assert ear.stats[-1] == {"seq": 1, "dropped": 1}
        await spool.stop()
        await ear.close()

    run(body)
