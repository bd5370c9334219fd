"""The socket's agent end: nothing is lost, nothing is stored twice, nothing stops it."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from agent.intake.assemble import assemble
from agent.intake.models import Models
from agent.intake.redact import Redactor
from agent.intake.server import GIVE_UP_ROUNDS, IntakeServer
from agent.types import Exchange, InvalidInput, Outcome
from serving import wire
from tests.agent.intake.captures import CHAT, CHAT_ANSWER, WORKER, capture

START = datetime(2026, 1, 1, tzinfo=UTC)
DISK_FULL = OperationalError("insert", {}, sqlite3.OperationalError("database or disk is full"))


class Shelf:
    """An in-memory store with the promises of the real one, and faults on demand."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], Exchange] = {}
        self.notes: dict[str, tuple[int, int, int]] = {}
        self.fault: Callable[[list[Exchange]], Exception | None] = lambda batch: None
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.now = START
        self.heard: list[str] = []

    def store_batch(self, batch: list[Exchange]) -> int:
        """Keep a batch, or raise what `fault` gives."""
        self.threads.add(threading.get_ident())
        error = self.fault(batch)
        if error is not None:
            raise error
        self.batches.append(len(batch))
        for exchange in batch:
            self.rows.setdefault((exchange.worker, exchange.seq), exchange)
        return len(batch)

    def note_worker(self, worker: str, pid: int, seen_at: datetime, assigned: int, dropped: int) -> None:
        """Keep what a tap said."""
        self.notes[worker] = (pid, assigned, dropped)

    def server(self, socket: Path) -> IntakeServer:
        """A server on this shelf."""
        return IntakeServer(socket, self.store_batch, self.note_worker, Redactor(), lambda: self.now, self.heard.append)


class Tap:
    """A tap made of bare frames."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.acked: set[int] = set()
        self.tables: list[dict[str, Any]] = []
        self._decoder = wire.Decoder()

    @classmethod
    async def connect(cls, socket: Path, worker: str = WORKER) -> Tap:
        """Connect and greet."""
        tap = cls(*await asyncio.open_unix_connection(str(socket)))
        tap.writer.write(wire.encode_hello(worker, 42))
        return tap

    def send(self, *seqs: int, worker: str = WORKER, **changes: Any) -> None:
        """Send a good exchange for each number."""
        for seq in seqs:
            answer = {**CHAT_ANSWER, "id": f"chatcmpl-{worker[:4]}-{seq}"}
            self.writer.write(wire.encode_capture(capture(CHAT, answer, seq=seq, worker=worker, **changes)))

    async def until(self, done: Callable[[], bool]) -> None:
        """Read until something is true; ConnectionResetError when the agent closes first."""
        async with asyncio.timeout(20):
            while not done():
                data = await self.reader.read(65536)
                if not data:
                    raise ConnectionResetError
                for kind, payload in self._decoder.feed(data):
                    message = wire.decode_json(payload)
                    if kind == wire.ACK:
                        self.acked |= set(message["seqs"])
                    else:
                        self.tables.append(message["aliases"])

    async def close(self) -> None:
        """Hang up."""
        self.writer.close()
        await self.writer.wait_closed()


@asynccontextmanager
async def running(shelf: Shelf, socket: Path) -> AsyncIterator[IntakeServer]:
    """A started server, stopped at the end."""
    server = shelf.server(socket)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def eventually(done: Callable[[], bool]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(20):
        while not done():  # noqa: ASYNC110 - the condition lies in another thread
            await asyncio.sleep(0.005)


def test_exchanges_are_acknowledged_once_stored(tmp_path: Path) -> None:
    """Every exchange of every tap is stored, in a thread, in batches, and then acknowledged to the tap that sent it."""
    shelf = Shelf()

    async def scene() -> None:
        async with running(shelf, tmp_path / "s") as server:
            taps = [await Tap.connect(tmp_path / "s", worker) for worker in ("a" * 32, "b" * 32)]
            for tap, worker in zip(taps, ("a" * 32, "b" * 32), strict=True):
                tap.send(*range(1, 401), worker=worker)
            for tap in taps:
                await tap.until(lambda tap=tap: len(tap.acked) == 400)  # type: ignore[misc]
            assert server.workers == 2
            assert server.counts.received == server.counts.stored == 800
            for tap in taps:
                await tap.close()

    asyncio.run(scene())
    assert len(shelf.rows) == 800
    assert max(shelf.batches) <= 256
    assert len(shelf.batches) < 50
    assert threading.get_ident() not in shelf.threads
    assert shelf.notes == {"a" * 32: (42, 400, 0), "b" * 32: (42, 400, 0)}


def test_the_next_turn_of_a_conversation_is_known_by_its_history(tmp_path: Path) -> None:
    """No client names it: the request repeats an answer that was given before, to this tap or another."""
    shelf = Shelf()
    answer = {**CHAT_ANSWER, "id": "chatcmpl-first"}
    said = [{"role": "user", "content": "turn on the light"}, {"role": "assistant", "content": "it is on"}]
    then = {**CHAT, "messages": [*said, {"role": "user", "content": "and off again"}]}

    async def scene() -> None:
        async with running(shelf, tmp_path / "s"):
            tap = await Tap.connect(tmp_path / "s")
            for seq, (body, reply) in enumerate(((CHAT, answer), (then, {**CHAT_ANSWER, "id": "chatcmpl-then"})), 1):
                tap.writer.write(wire.encode_capture(capture(body, reply, seq=seq)))
            await tap.until(lambda: len(tap.acked) == 2)
            await tap.close()

    asyncio.run(scene())
    assert [row.conversation for row in shelf.rows.values()] == [None, Redactor().hash("chatcmpl-first")]


def test_bytes_in_any_pieces_are_the_same_frames(tmp_path: Path) -> None:
    """A tap whose bytes arrive one by one is understood."""
    shelf = Shelf()

    async def scene() -> None:
        async with running(shelf, tmp_path / "s"):
            tap = await Tap.connect(tmp_path / "s")
            for byte in wire.encode_capture(capture(CHAT, CHAT_ANSWER)):
                tap.writer.write(bytes([byte]))
                await tap.writer.drain()
            await tap.until(lambda: tap.acked == {1})
            await tap.close()

    asyncio.run(scene())
    assert shelf.rows[WORKER, 1].answer == "light on"


def test_the_table_reaches_every_tap(tmp_path: Path) -> None:
    """A table pushed before a tap connects is its greeting; one pushed later, from any thread, comes at once."""
    shelf = Shelf()
    first, second = {"home": {"home-v1": 1.0}}, {"home": {"home-v1": 0.5, "home-v2": 0.5}}

    async def scene() -> None:
        server = shelf.server(tmp_path / "s")
        server.push_table(first)
        await server.start()
        tap = await Tap.connect(tmp_path / "s")
        await tap.until(lambda: tap.tables == [first])
        await asyncio.to_thread(server.push_table, second)
        await tap.until(lambda: tap.tables == [first, second])
        late = await Tap.connect(tmp_path / "s", "b" * 32)
        await late.until(lambda: late.tables == [second])
        await tap.close()
        await late.close()
        await server.stop()

    asyncio.run(scene())


def test_a_full_disk_is_waited_out(tmp_path: Path) -> None:
    """While the store fails nothing is acknowledged and people hear of it once; then everything is stored."""
    shelf = Shelf()
    shelf.fault = lambda batch: DISK_FULL

    async def scene() -> None:
        async with running(shelf, tmp_path / "s") as server:
            tap = await Tap.connect(tmp_path / "s")
            tap.send(*range(1, 51))
            await eventually(lambda: server.counts.store_faults >= 3)
            assert server.counts.stored == 0
            assert len(shelf.heard) == 1
            assert "disk is full" in shelf.heard[0]
            shelf.now += timedelta(minutes=2)
            await eventually(lambda: len(shelf.heard) == 2)
            shelf.fault = lambda batch: None
            await tap.until(lambda: len(tap.acked) == 50)
            assert server.counts.given_up == 0
            await tap.close()

    asyncio.run(scene())
    assert len(shelf.rows) == 50


def test_a_poisoned_exchange_loses_its_text_and_blocks_nobody(tmp_path: Path) -> None:
    """An exchange that the database cannot take is stored without text; the others of its batch are untouched."""
    shelf = Shelf()
    shelf.fault = lambda batch: (
        UnicodeEncodeError("utf-8", "x", 0, 1, "no") if any(e.seq == 7 and e.answer for e in batch) else None
    )

    async def scene() -> None:
        async with running(shelf, tmp_path / "s"):
            tap = await Tap.connect(tmp_path / "s")
            tap.send(*range(1, 21))
            await tap.until(lambda: len(tap.acked) == 20)
            await tap.close()

    asyncio.run(scene())
    assert [e.seq for e in shelf.rows.values() if e.outcome is Outcome.UNREADABLE] == [7]
    assert all(e.answer == "light on" for e in shelf.rows.values() if e.seq != 7)


def test_what_can_never_be_stored_is_given_up_and_counted(tmp_path: Path) -> None:
    """An exchange that fails even without text is let go after some rounds, while the others go on at once."""
    shelf = Shelf()
    tries = []

    def fault(batch: list[Exchange]) -> Exception | None:
        if any(e.seq == 7 for e in batch):
            tries.append(len(batch))
            return OverflowError("Python int too large to convert to SQLite INTEGER")
        return None

    shelf.fault = fault

    async def scene() -> None:
        async with running(shelf, tmp_path / "s") as server:
            tap = await Tap.connect(tmp_path / "s")
            tap.send(6, 7, 8)
            await tap.until(lambda: tap.acked == {6, 8})
            for seq in range(9, 60):
                tap.send(seq)
                await tap.until(lambda seq=seq: seq in tap.acked)  # type: ignore[misc]
                if 7 in tap.acked:
                    break
            assert 7 in tap.acked
            assert server.counts.given_up == 1
            await tap.close()

    asyncio.run(scene())
    assert (WORKER, 7) not in shelf.rows
    assert len(tries) >= GIVE_UP_ROUNDS


def test_a_corrupt_stream_closes_its_tap_alone(tmp_path: Path) -> None:
    """Bytes that are no frames end that connection and are counted; another tap goes on."""
    shelf = Shelf()

    async def scene() -> None:
        async with running(shelf, tmp_path / "s") as server:
            good, bad = await Tap.connect(tmp_path / "s"), await Tap.connect(tmp_path / "s", "b" * 32)
            bad.writer.write(b"\xff" * 64)
            with pytest.raises(ConnectionResetError):
                await bad.until(lambda: False)
            good.send(1)
            await good.until(lambda: good.acked == {1})
            assert server.counts.corrupt == 1
            await good.close()
            await bad.close()

    asyncio.run(scene())


def test_a_damaged_exchange_sent_again_counts_as_unreadable(tmp_path: Path) -> None:
    """A tap that must send a damaged capture again after its connection was closed is not shut out for ever."""
    shelf = Shelf()
    whole = wire.encode_capture(capture(CHAT, CHAT_ANSWER, seq=5))
    damaged = wire.frame(wire.EXCHANGE, whole[5:-9])

    async def scene() -> None:
        async with running(shelf, tmp_path / "s"):
            tap = await Tap.connect(tmp_path / "s")
            tap.writer.write(damaged)
            with pytest.raises(ConnectionResetError):
                await tap.until(lambda: False)
            await tap.close()
            tap = await Tap.connect(tmp_path / "s")
            tap.writer.write(damaged)
            tap.send(6)
            await tap.until(lambda: tap.acked == {5, 6})
            await tap.close()

    asyncio.run(scene())
    assert shelf.rows[WORKER, 5].outcome is Outcome.UNREADABLE


@pytest.mark.parametrize("hello", [b'{"protocol": 9}', b"[]", b"{"])
def test_a_tap_of_another_protocol_is_cut_off(tmp_path: Path, hello: bytes) -> None:
    """A greeting that this agent does not understand ends the connection and is counted."""
    shelf = Shelf()

    async def scene() -> None:
        async with running(shelf, tmp_path / "s") as server:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "s"))
            writer.write(wire.frame(wire.HELLO, hello))
            assert await reader.read() == b""
            assert server.counts.corrupt == 1
            writer.close()
            await writer.wait_closed()

    asyncio.run(scene())


def test_what_taps_count_is_noted(tmp_path: Path) -> None:
    """STATS frames reach the store even when no exchange does, so that loss is known."""
    shelf = Shelf()

    async def scene() -> None:
        async with running(shelf, tmp_path / "s"):
            tap = await Tap.connect(tmp_path / "s")
            tap.writer.write(wire.encode_stats(9, 4))
            await eventually(lambda: shelf.notes.get(WORKER) == (42, 9, 4))
            await tap.close()

    asyncio.run(scene())


def test_numbers_alone_are_noted_once_a_second(tmp_path: Path) -> None:
    """Stored rows prove how far a tap has counted; a drop is noted at once, and whatever was last said when it ends."""
    shelf = Shelf()

    async def scene() -> None:
        async with running(shelf, tmp_path / "s") as server:
            tap = await Tap.connect(tmp_path / "s")

            async def told(assigned: int, dropped: int) -> tuple[int, int, int]:
                tap.writer.write(wire.encode_stats(assigned, dropped))
                await eventually(lambda: assigned in {worker.assigned for worker in server._workers.values()})
                await server._note()
                return shelf.notes[WORKER]

            assert await told(9, 4) == (42, 9, 4)
            assert await told(10, 4) == (42, 9, 4)
            shelf.now += timedelta(seconds=1)
            assert await told(11, 4) == (42, 11, 4)
            assert await told(12, 5) == (42, 12, 5)
            assert await told(13, 5) == (42, 12, 5)
            await tap.close()
            await eventually(lambda: shelf.notes[WORKER] == (42, 13, 5))

    asyncio.run(scene())


def test_an_absurd_count_cuts_off_its_tap_and_no_other(tmp_path: Path) -> None:
    """A count that the store cannot hold is no count; what the next tap counts is still noted."""
    shelf = Shelf()

    async def scene() -> None:
        async with running(shelf, tmp_path / "s") as server:
            mad = await Tap.connect(tmp_path / "s")
            mad.writer.write(wire.encode_stats(2**70, 0))
            await eventually(lambda: server.counts.corrupt == 1)
            tap = await Tap.connect(tmp_path / "s")
            tap.writer.write(wire.encode_stats(9, 4))
            await eventually(lambda: shelf.notes.get(WORKER) == (42, 9, 4))
            await mad.close()
            await tap.close()

    asyncio.run(scene())


def test_stopping_waits_for_nobody(tmp_path: Path) -> None:
    """A stop while the store fails and taps are held back ends soon, with nothing acknowledged."""
    shelf = Shelf()
    shelf.fault = lambda batch: DISK_FULL

    async def scene() -> None:
        async with running(shelf, tmp_path / "s") as server:
            tap = await Tap.connect(tmp_path / "s")
            flood = b"x" * 1_000_000
            for seq in range(1, 33):
                tap.writer.write(wire.encode_capture(capture(CHAT, flood, seq=seq, status=500)))
            await eventually(lambda: server.counts.store_faults >= 2)
            assert server.counts.received < 32  # back-pressure: the rest waits in the tap
            async with asyncio.timeout(8):
                await server.stop()
            with pytest.raises(ConnectionResetError):
                await tap.until(lambda: False)
            tap.writer.transport.abort()
            await asyncio.sleep(0)
            assert tap.acked == set()

    asyncio.run(scene())
    assert not (tmp_path / "s").exists()


def test_the_socket_is_private(tmp_path: Path) -> None:
    """Only this user may connect."""

    async def scene() -> None:
        async with running(Shelf(), tmp_path / "s"):
            assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o600

    asyncio.run(scene())


def test_a_second_agent_is_refused(tmp_path: Path) -> None:
    """Two agents on one socket: the second is told so in one sentence, and the first keeps its file."""

    async def scene() -> None:
        async with running(Shelf(), tmp_path / "s"):
            with pytest.raises(InvalidInput, match="another agent is running"):
                await Shelf().server(tmp_path / "s").start()
            tap = await Tap.connect(tmp_path / "s")
            tap.send(1)
            await tap.until(lambda: tap.acked == {1})
            await tap.close()

    asyncio.run(scene())


def test_somebody_elses_listener_is_left_alone(tmp_path: Path) -> None:
    """A socket on which anybody listens is not taken, even without our lock."""

    async def scene() -> None:
        other = await asyncio.start_unix_server(lambda r, w: w.close(), path=str(tmp_path / "s"))
        with pytest.raises(InvalidInput, match="another agent is running"):
            await Shelf().server(tmp_path / "s").start()
        other.close()
        await other.wait_closed()

    asyncio.run(scene())


def test_a_dead_agents_socket_is_taken_over(tmp_path: Path) -> None:
    """The file that a killed agent left does not keep the next one out."""
    import socket

    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "s"))

    async def scene() -> None:
        async with running(Shelf(), tmp_path / "s"):
            tap = await Tap.connect(tmp_path / "s")
            tap.send(1)
            await tap.until(lambda: tap.acked == {1})
            await tap.close()

    asyncio.run(scene())


@pytest.mark.parametrize("place", ["file", "x" * 120, "/proc/nowhere/s"])
def test_a_path_that_cannot_be_a_socket_is_refused(tmp_path: Path, place: str) -> None:
    """A file in the way, a path too long and a folder that cannot be made are the caller's fault."""
    (tmp_path / "file").write_text("precious")

    async def scene() -> None:
        with pytest.raises(InvalidInput):
            await Shelf().server(tmp_path / place).start()

    asyncio.run(scene())
    assert (tmp_path / "file").read_text() == "precious"


def test_an_unknown_model_of_a_failed_request_is_other() -> None:
    """What somebody asked for in vain is free text; names of the table, the settings and answered ones are models."""
    models = Models(["home"])
    failed = replace(assemble(capture(CHAT, CHAT_ANSWER)), status=404)

    def names(alias: str, version: str, status: int = 404, *, resolved: bool = False) -> tuple[str, str]:
        got = models.named(replace(failed, alias=alias, version=version, status=status), resolved=resolved)
        return got.alias, got.version

    assert names("Ada Lovelace", "Ada Lovelace") == ("other", "other")
    assert names("home", "home-v7", resolved=True) == ("home", "home-v7")
    assert names("home", "") == ("home", "")
    assert names("base", "base", 200) == names("base", "base") == ("base", "base")
    models.learn({"house": {"house-v1": 1.0}})
    assert names("house", "house-v1", 500) == ("house", "house-v1")
