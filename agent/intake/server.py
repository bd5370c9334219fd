"""The sidecar's end of the socket: frames in, rows stored, acknowledgements out.

Lives here: `IntakeServer`.
Comes in: connections of taps. Goes out: redacted exchanges to the store; ACK and TABLE frames to the taps.
Must never know: the database, settings, what is done with the exchanges.

An exchange is acknowledged only after the store has it, so a tap sends again whatever a dead agent had in hand;
the store knows `(worker, seq)` and takes it once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agent.intake.assemble import Assembled, Unreadable, read, unreadable
from agent.intake.commit import Outcomes, StoreBatch, commit, is_data_fault, plainly
from agent.intake.door import Door, close_door, open_door
from agent.intake.inbox import Inbox
from agent.intake.link import MAX_COUNT, Counts, Held, Link, Worker, close, number, stand_in, where
from agent.intake.models import Models
from agent.intake.redact import Redactor
from agent.intake.sample import Sample
from agent.turns import Turns
from agent.types import Exchange, Outcome
from serving import wire

BATCH_EXCHANGES = 256
BATCH_S = 0.1
INBOX_BYTES = 16 * 1024 * 1024
READ_BYTES = 256 * 1024
BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.1, 5.0
GIVE_UP_ROUNDS = 10
COMPLAIN_EVERY = timedelta(minutes=1)
NOTE_EVERY = timedelta(seconds=10)
COUNT_EVERY = timedelta(seconds=1)
"""So often it is told that a connected tap has numbered more: the rows that are stored prove as much meanwhile."""

log = logging.getLogger(__name__)


class IntakeServer:
    """Listens on `socket` (mode 0600) for any number of taps.

    `store_batch` gets up to 256 redacted exchanges, in a thread; `note_worker(worker, pid, seen_at, assigned,
    dropped)` likewise. While the store fails nothing is acknowledged, the batch is tried again with growing pauses
    (0.1 to 5 s), the taps are made to wait, and `complain` hears of it once a minute. What cannot be read goes to
    `sample`; `models` knows which model names may be stored of what failed.
    """

    def __init__(
        self,
        socket: Path,
        store_batch: StoreBatch,
        note_worker: Callable[..., None],
        redactor: Redactor,
        now: Callable[[], datetime],
        complain: Callable[[str], None] = log.warning,
        sample: Sample | None = None,
        models: Models | None = None,
    ) -> None:
        self.counts = Counts()
        self._sample = sample
        self._models = models or Models()
        self._turns = Turns()
        self._path = socket
        self._store_batch = store_batch
        self._note_worker = note_worker
        self._redactor = redactor
        self._now = now
        self._complain = complain
        self._complained_at: datetime | None = None
        self._table: bytes | None = None
        self._links: set[Link] = set()
        self._waiting: list[Held] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._workers: dict[str, Worker] = {}
        self._doubtful: set[tuple[str, int]] = set()
        self._attempts: dict[tuple[str, int], int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._door: Door | None = None

    # -- life ---------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the socket. Raises InvalidInput when another agent is running on it."""
        self._loop = asyncio.get_running_loop()
        self._inbox: Inbox[tuple[wire.Capture, Link]] = Inbox(INBOX_BYTES)
        self._stopping = asyncio.Event()
        self._door = open_door(self._path)
        self._server = await asyncio.start_unix_server(self._accept, sock=self._door.listener, limit=READ_BYTES)
        self._pump = asyncio.create_task(self._store_for_ever(), name="trimtab-intake")

    async def stop(self) -> None:
        """Finish the batch in hand, acknowledge it, and close. What is not acknowledged stays with the taps."""
        if self._door is None:
            return
        door, self._door = self._door, None
        self._stopping.set()
        self._server.close()
        await self._pump
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in self._links:  # those whose task was cancelled before it began
            link.writer.transport.abort()
        close_door(door)

    @property
    def workers(self) -> int:
        """Taps connected now."""
        return len({link.worker for link in self._links if link.worker})

    @property
    def queued(self) -> tuple[int, int]:
        """Exchanges that have arrived and are not stored yet, and their bytes."""
        if self._door is None:
            return 0, 0
        waiting, nbytes = self._inbox.held
        return waiting + len(self._waiting), nbytes

    def push_table(self, aliases: Mapping[str, Mapping[str, float]]) -> None:
        """Send the alias table to every tap, now and whenever one connects. Safe to call from any thread."""
        self._models.learn(aliases)
        frame = wire.encode_table(aliases)
        if self._loop is None:
            self._table = frame
        else:
            self._loop.call_soon_threadsafe(self._send_table, frame)

    def _send_table(self, frame: bytes) -> None:
        self._table = frame
        for link in self._links:
            link.send(frame)

    # -- connections --------------------------------------------------------------------------------------

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(writer)
        self._links.add(link)
        task = asyncio.create_task(self._serve(link, reader))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, link: Link, reader: asyncio.StreamReader) -> None:
        decoder = wire.Decoder()
        try:
            while not self._stopping.is_set() and (data := await reader.read(READ_BYTES)):
                for kind, payload in decoder.feed(data):
                    await self._obey(link, kind, payload)
        except wire.WireFault as fault:
            self.counts.corrupt += 1
            self._say(f"a tap ({link.worker or 'unnamed'}) sent what is no frame and was cut off: {fault}")
        except OSError:
            pass  # the tap is gone; it comes back by itself
        except asyncio.CancelledError:
            if not self._stopping.is_set():
                raise
        finally:
            self._links.discard(link)
            await close(link.writer)

    async def _obey(self, link: Link, kind: int, payload: bytes) -> None:
        if kind == wire.EXCHANGE:
            capture = self._decoded(link, payload)
            if max(capture.seq, capture.dropped) > MAX_COUNT:
                raise wire.WireFault("it has a number that no tap can have counted to")
            self.counts.received += 1
            self._heard(capture.worker, dropped=capture.dropped)
            await self._inbox.put((capture, link), len(payload))
        elif kind == wire.HELLO:
            self._greet(link, wire.decode_json(payload))
        elif kind == wire.STATS:
            said = wire.decode_json(payload)
            self._heard(link.worker, assigned=number(said, "seq"), dropped=number(said, "dropped"))

    def _greet(self, link: Link, said: Mapping[str, Any]) -> None:
        if said.get("protocol") != wire.PROTOCOL:
            raise wire.WireFault(f"it speaks protocol {said.get('protocol')!r}, this agent {wire.PROTOCOL}")
        link.worker = str(said.get("worker") or "")
        self._heard(link.worker, pid=number(said, "pid"))
        if self._table is not None:
            link.send(self._table)

    def _heard(self, worker: str, pid: int = 0, assigned: int = 0, dropped: int = 0) -> None:
        if worker:
            known = self._workers.setdefault(worker, Worker())
            known.pid = pid or known.pid
            known.assigned = max(known.assigned, assigned)
            known.dropped = max(known.dropped, dropped)

    def _decoded(self, link: Link, payload: bytes) -> wire.Capture:
        """The capture in a payload. A damaged one closes the link; when it comes again, it is stored as unreadable."""
        try:
            return wire.decode_capture(payload)
        except wire.WireFault:
            seq = int.from_bytes(payload[:8], "big")
            key = (link.worker, seq)
            if key not in self._doubtful:
                self._doubtful.add(key)
                raise
            self.counts.corrupt += 1
            return stand_in(*key)

    # -- storing ------------------------------------------------------------------------------------------

    async def _store_for_ever(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while not self._stopping.is_set():
            try:
                stuck = await self._round()
            except Exception as fault:  # noqa: BLE001 - outer ring: whatever it was, the next round tries again
                log.warning("a round of the intake failed: %s", where(fault))
                stuck = True
            if not stuck:
                backoff_s = BACKOFF_FIRST_S
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff_s):
                    await self._stopping.wait()
            backoff_s = min(2 * backoff_s, BACKOFF_LAST_S)

    async def _round(self) -> bool:
        """Store what came and what waits from before; True when nothing could be stored."""
        arrived = await self._inbox.take(BATCH_EXCHANGES - len(self._waiting), BATCH_S)
        if arrived:
            fresh = await asyncio.to_thread(self._prepare, [capture for (capture, _), _ in arrived])
            self._waiting += [
                Held(exchange, link, nbytes) for exchange, ((_, link), nbytes) in zip(fresh, arrived, strict=True)
            ]
        result = Outcomes()
        if self._waiting:
            exchanges = [held.exchange for held in self._waiting]
            result = await asyncio.to_thread(commit, exchanges, self._store_batch)
            self._waiting = self._settle(self._waiting, result)
        await self._note()
        return result.fault is not None and not result.done

    def _prepare(self, captures: list[wire.Capture]) -> list[Exchange]:
        """Captures as they may be stored; runs in a thread."""
        failed: list[tuple[wire.Capture, str]] = []
        fresh = []
        for capture in captures:
            found = self._assembled(capture, failed)
            exchange = self._models.named(self._turns.joined(found.exchange), resolved=capture.version is not None)
            fresh.append(self._redactor.exchange(exchange, chosen_id=found.chosen_id))
        if failed and self._sample is not None:
            self._sample.keep(failed)
        return fresh

    def _assembled(self, capture: wire.Capture, failed: list[tuple[wire.Capture, str]]) -> Assembled:
        try:
            return read(capture)
        except Unreadable as why:
            failed.append((capture, str(why)))
        except Exception as fault:  # noqa: BLE001 - outer ring: a shape that nobody thought of is counted and sampled
            log.warning("an exchange could not be assembled: %s", where(fault))
            failed.append((capture, where(fault)))
        return Assembled(unreadable(capture), None)

    def _settle(self, tried: list[Held], result: Outcomes) -> list[Held]:
        """Acknowledge what is stored; returns what is to be tried again."""
        left = {(exchange.worker, exchange.seq) for exchange in result.left}
        if result.fault is not None:
            self.counts.store_faults += 1
            self._say(f"{len(left)} exchanges cannot be stored and wait: {plainly(result.fault)}")
            if is_data_fault(result.fault):
                left -= self._hopeless(left)
        again: list[Held] = []
        acks: dict[Link, list[int]] = {}
        for held in tried:
            exchange = held.exchange
            if (exchange.worker, exchange.seq) in left:
                again.append(held)
            else:
                self._inbox.release(held.nbytes)
                acks.setdefault(held.link, []).append(exchange.seq)
                self._heard(exchange.worker, assigned=exchange.seq)
                self.counts.unreadable += exchange.outcome is Outcome.UNREADABLE
        self.counts.stored += len(result.done)
        for link, seqs in acks.items():
            link.send(wire.encode_ack(seqs))
        return again

    def _hopeless(self, left: set[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those that failed ten times, even without text, for a fault of their own: acknowledged, counted as lost."""
        given_up = set()
        for key in left:
            self._attempts[key] = self._attempts.get(key, 0) + 1
            if self._attempts[key] >= GIVE_UP_ROUNDS:
                del self._attempts[key]
                given_up.add(key)
        self.counts.given_up += len(given_up)
        return given_up

    async def _note(self) -> None:
        """Tell the store what the taps said: what is new at once, but for numbers alone; else every ten seconds."""
        now = self._now()
        connected = {link.worker for link in self._links}
        for name, worker in list(self._workers.items()):
            said = (worker.pid, worker.assigned, worker.dropped)
            if worker.noted is not None and worker.noted_at is not None:
                age, news = abs(now - worker.noted_at), said != worker.noted
                if not news and name not in connected:
                    del self._workers[name]
                    continue
                urgent = (said[0], said[2]) != (worker.noted[0], worker.noted[2]) or name not in connected
                if age < (COUNT_EVERY if news else NOTE_EVERY) and not (news and urgent):
                    continue
            try:
                await asyncio.to_thread(self._note_worker, name, worker.pid, now, worker.assigned, worker.dropped)
            except Exception as fault:  # noqa: BLE001 - outer ring: told again at the next round, and counted
                self.counts.store_faults += 1
                self._say(f"what a tap counted cannot be stored: {plainly(fault)}")
                continue
            worker.noted, worker.noted_at = said, now

    def _say(self, text: str) -> None:
        """Complain, at most once a minute."""
        now = self._now()
        if self._complained_at is None or now - self._complained_at >= COMPLAIN_EVERY:
            self._complained_at = now
            self._complain(text)
