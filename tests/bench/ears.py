"""Sidecars of every temper: one that only acknowledges, a slow one, the real intake, the real one killed repeatedly.

In: `python -m tests.bench.ears TEMPER SOCKET [FOLDER] [EVERY_S]`. Out: acknowledgements, an alias table; rows in
`FOLDER/trimtab.db` (real), numbers in `FOLDER/acked.txt` (slow). Must never know: who talks to it, what is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving import wire
from tests.bench.figures import ROOT

TABLE = {"home": {"base": 1.0}}
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A running one."""

    process: subprocess.Popen[bytes]

    def spare(self) -> None:
        """Tells the restarting one to live on."""
        self.process.send_signal(signal.SIGUSR1)


@contextlib.contextmanager
def running(temper: str, socket: Path, folder: Path | None = None, every_s: float = 2.0) -> Iterator[Sidecar]:
    """Starts one, waits until it listens, and kills it with its children afterwards."""
    argv = [sys.executable, "-m", "tests.bench.ears", temper, str(socket), str(folder or socket.parent), str(every_s)]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True)
    try:
        if process.stdout is None or not process.stdout.readline():
            raise RuntimeError(f"the {temper} sidecar did not start")
        yield Sidecar(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _listening() -> None:
    sys.stdout.write("listening\n")
    sys.stdout.flush()


async def _listen(path: str, serve: Serve) -> None:
    async with await asyncio.start_unix_server(serve, path) as server:
        _listening()
        await server.serve_forever()


async def _fast(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads and acknowledges as fast as it can, stores nothing."""
    decoder = wire.Decoder()
    writer.write(wire.encode_table(TABLE))
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 18):
            seqs = [wire.decode_capture(p).seq for kind, p in decoder.feed(data) if kind == wire.EXCHANGE]
            if seqs:
                writer.write(wire.encode_ack(seqs))
    writer.close()


def _slow(folder: Path, every_s: float) -> Serve:
    """Reads one frame, keeps its number, acknowledges it, and rests."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire.encode_table(TABLE))
        with (folder / "acked.txt").open("a") as acked, contextlib.suppress(ConnectionError, EOFError):
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                frame = await reader.readexactly(size)
                if frame[0] == wire.EXCHANGE:
                    seq = wire.decode_capture(frame[1:]).seq
                    acked.write(f"{seq}\n")
                    acked.flush()
                    writer.write(wire.encode_ack([seq]))
                    await asyncio.sleep(every_s)
        writer.close()

    return serve


async def _real(path: str, folder: Path, ready: Callable[[], None]) -> None:
    """The agent's own intake, redaction and store; says when it is ready."""
    from agent.intake.redact import Redactor
    from agent.intake.server import IntakeServer
    from agent.store import Store

    store = Store.at(folder)
    server = IntakeServer(
        Path(path), store.add_exchanges, store.note_worker, Redactor(), lambda: datetime.now(UTC), lambda _text: None
    )
    server.push_table(TABLE)
    await server.start()
    ready()
    await asyncio.Event().wait()


def _restarting(path: str, folder: Path, every_s: float) -> None:
    """Forks the real one and kills it every so many seconds, until told to spare it."""
    import agent.intake.redact
    import agent.intake.server
    import agent.store  # noqa: F401 - loaded once, so that a restart takes no longer than a fork

    spared: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: spared.append(number))
    _listening()
    while True:
        child = os.fork()
        if not child:
            asyncio.run(_real(path, folder, lambda: None))
        until = time.monotonic() + every_s
        while spared or time.monotonic() < until:
            time.sleep(0.02)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def main(temper: str, socket: str, folder: str, every_s: str) -> None:
    """Runs one until it is killed."""
    if temper == "fast":
        asyncio.run(_listen(socket, _fast))
    elif temper == "slow":
        asyncio.run(_listen(socket, _slow(Path(folder), float(every_s))))
    elif temper == "real":
        asyncio.run(_real(socket, Path(folder), _listening))
    else:
        _restarting(socket, Path(folder), float(every_s))


if __name__ == "__main__":
    main(*sys.argv[1:])
