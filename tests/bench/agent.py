"""What the sidecar costs while it works: CPU and memory by traffic, catching up after a stop, growth of the database.

In: the scale. Out: cores and MB of the real `trimtab agent` at 0 to 1,000 exchanges a second, what a stop of five
minutes costs, bytes in the database for a million exchanges. Must never know: what the sidecar does with them.

Traffic comes as a tap sends it, in frames over the real socket, until each is acknowledged; half of the answers whole,
half of them streamed in 64 events, each with an id of its own. A rate's cost is the CPU that the process has used when
everything is watched, over the time in which that much traffic comes: a crowded machine makes it later.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from subprocess import Popen

from serving import wire
from tests.bench import texts
from tests.bench.figures import Figure, say
from tests.bench.scale import Scale
from tests.bench.sidecar import cpu_s, crown, healthy, resident_mb, running, until
from tests.estate.server import free_port

RATES = (0, 10, 100, 1_000)
CORES = {10: 0.05, 1_000: 1.0}
"""Bounds, in cores."""
FLAT_MB = 30
"""Resident memory may grow by this much from the middle of a long run to its end: what windows and caches need."""
STOP_S, STOP_RATE = 300, 10
TALKS = 8_000
"""Different texts: none comes again within a minute at 100/s, since a reference that returns is a change of its own."""
STEP_S = 0.05
WARM, WARM_RATE = 450, 150.0
"""Exchanges, and how many a second, before the count begins: enough to learn a reference of 300 and to close windows
of 100, which last a second at least; the first loads whylogs."""
PATIENCE_S = 600.0
_MARK = f"{0:032x}".encode()


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A running one, its home, the process and its address."""

    home: Path
    process: Popen[bytes]
    url: str

    @property
    def stored(self) -> int:
        """Exchanges in its database."""
        return self._ask("select count(*) from exchange")

    @property
    def watched(self) -> int:
        """How far its watch loop has come."""
        return self._ask("select coalesce(max(cursor), 0) from state where key = 'watch'")

    def _ask(self, query: str) -> int:
        with closing(sqlite3.connect(f"file:{self.home / 'trimtab.db'}?mode=ro", uri=True, timeout=30)) as connection:
            return int(connection.execute(query).fetchone()[0])


@dataclass(frozen=True, slots=True)
class Worked:
    """What one rate came to: seconds of traffic, seconds until all was watched, MB in the middle and at the end."""

    n: int
    traffic_s: float
    drained_s: float
    cpu_s: float
    middle_mb: float
    end_mb: float
    stored: int

    @property
    def cores(self) -> float:
        """CPU over the time in which the traffic comes."""
        return self.cpu_s / self.traffic_s


def measure(scale: Scale) -> list[Figure]:
    """Every rate in a sidecar of its own, then a stop, then the database."""
    figures = []
    for rate in RATES:
        long = not scale.quick and rate == RATES[-1]
        seconds = scale.of(600.0 if long else 60.0, 3.0)
        worked = _work(rate, seconds)
        say(
            f"    {rate}/s for {seconds:.0f} s: {worked.cores:.3f} cores, {worked.end_mb:.0f} MB, stored "
            f"{worked.stored} of {worked.n}, watched {worked.drained_s:.1f} s later"
        )
        figures += _figures(rate, worked, flat=long)
    return [*figures, *_catch_up(scale), *_growth(scale)]


def _figures(rate: int, worked: Worked, *, flat: bool) -> list[Figure]:
    figures = [
        Figure(name=f"cores_{rate}", says=f"cores at {rate} exchanges/s", value=worked.cores, unit="",
               bound=CORES.get(rate)),
        Figure(name=f"rss_mb_{rate}", says=f"resident at {rate} exchanges/s", value=worked.end_mb, unit="MB"),
    ]  # fmt: skip
    if rate:
        lost = worked.n - worked.stored
        figures.append(Figure(name=f"lost_{rate}", says=f"lost at {rate} exchanges/s", value=lost, unit="", bound=0))
        late = worked.drained_s
        figures.append(
            Figure(name=f"late_s_{rate}", says=f"all watched after the last of {rate}/s", value=late, unit="s")
        )
    if flat:
        grown = worked.end_mb - worked.middle_mb
        figures.append(Figure(name="rss_grown_mb", says=f"grown from the middle to the end of {worked.traffic_s:.0f} s",
                              value=grown, unit="MB", bound=FLAT_MB))  # fmt: skip
    return figures


def _work(rate: int, seconds: float) -> Worked:
    with home_of_sidecar() as home, sidecar_in(home) as sidecar:
        pid, n = sidecar.process.pid, round(rate * seconds)
        if n:  # what is loaded and learnt once is no share of what each exchange costs
            asyncio.run(_send(home, WARM, WARM_RATE, lambda: None))
            until(sidecar.process, lambda: sidecar.watched >= WARM, PATIENCE_S)
        begun_cpu, begun = cpu_s(pid), time.perf_counter()
        marks: list[float] = []
        if n:
            asyncio.run(_send(home, n, rate, lambda: marks.append(resident_mb(pid)), first=WARM + 1))
        else:
            time.sleep(seconds)
        sent = time.perf_counter()
        until(sidecar.process, lambda: sidecar.watched >= (n and n + WARM), PATIENCE_S)
        drained_s = time.perf_counter() - sent
        traffic_s = n / rate if n else time.perf_counter() - begun
        used = cpu_s(pid) - begun_cpu
        end_mb = resident_mb(pid)
        return Worked(
            n, traffic_s, drained_s, used, marks[0] if marks else end_mb, end_mb, sidecar.stored - (n and WARM)
        )


def _catch_up(scale: Scale) -> list[Figure]:
    """The sidecar is away for five minutes of traffic, which the tap keeps; then it is there again."""
    n = STOP_S * scale.of(STOP_RATE, 1)

    async def play(home: Path) -> tuple[float, float, int]:
        waiting = list(_frames(n))
        begun = time.perf_counter()
        with sidecar_in(home) as sidecar:
            async with _tap(home) as tap:
                for _, frame in waiting:
                    await tap.send(frame)
                await tap.acknowledged(n)
            stored_s = time.perf_counter() - begun
            await asyncio.to_thread(until, sidecar.process, lambda: sidecar.watched >= n, PATIENCE_S)
            return stored_s, time.perf_counter() - begun, n - sidecar.stored

    with home_of_sidecar() as home:
        stored_s, watched_s, lost = asyncio.run(play(home))
    says = f"after a stop of {STOP_S} s at {n // STOP_S}/s, start included:"
    return [
        Figure(name="catch_up_s", says=f"{says} all stored", value=stored_s, unit="s"),
        Figure(name="catch_up_watched_s", says=f"{says} all watched", value=watched_s, unit="s"),
        Figure(name="catch_up_lost", says=f"{says} lost", value=lost, unit="", bound=0),
    ]


def _growth(scale: Scale) -> list[Figure]:
    """Bytes that exchanges leave in the database, texts and profiles and all."""
    n = scale.of(5_000, 300)
    with home_of_sidecar() as home:
        with sidecar_in(home) as sidecar:
            empty = _nbytes(home)
            asyncio.run(_send(home, n, None, lambda: None))
            until(sidecar.process, lambda: sidecar.watched >= n, PATIENCE_S)
        grown = (_nbytes(home) - empty) / n * 1e6
    says = f"database for a million exchanges of {texts.PROMPT_CHARS} and {texts.ANSWER_CHARS} characters"
    return [Figure(name="database_gb_per_million", says=says, value=grown / 1e9, unit="GB")]


# -- parts -----------------------------------------------------------------------------------------


@contextmanager
def home_of_sidecar() -> Iterator[Path]:
    """A home with a champion in its store."""
    with tempfile.TemporaryDirectory() as name:
        crown(Path(name))
        yield Path(name)


@contextmanager
def sidecar_in(home: Path) -> Iterator[Sidecar]:
    """The real one, with the settings that a user begins with; no engine is there to be asked."""
    port, settings = free_port(), home / "trimtab.yaml"
    engine = {"url": f"http://127.0.0.1:{free_port()}"}
    settings.write_text(json.dumps({"alias": "home", "home": str(home), "http": {"port": port}, "engine": engine}))
    with running(settings, home / "agent.log") as process:
        until(process, lambda: healthy(port))
        yield Sidecar(home, process, f"http://127.0.0.1:{port}")


@lru_cache(maxsize=1)
def _captures() -> list[wire.Capture]:
    """What the tap says of each talk; made once, before any clock runs."""
    talks = texts.talks(TALKS, seed=23)
    asked = [texts.request(talk) for talk in talks]
    answers = [texts.streamed(talk, 0) if i % 2 else [texts.whole(talk, 0)] for i, talk in enumerate(talks)]
    return [texts.capture(1, body, chunks) for body, chunks in zip(asked, answers, strict=True)]


def _frames(n: int, first: int = 1) -> Iterator[tuple[int, bytes]]:
    """`n` frames with their numbers from `first` on; the texts come again, the ids do not."""
    captures = _captures()
    for number in range(first, first + n):
        known = captures[number % TALKS]
        response = known.response.replace(_MARK, f"{number:032x}".encode())
        yield (
            number,
            wire.encode_capture(
                replace(known, seq=number, started_at=time.time(), response=response, request=known.request)
            ),
        )


class _Tap:
    """A connection as a tap has it: frames go out, numbers that are safe come back."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer, self._safe = reader, writer, 0
        self._decoder = wire.Decoder()

    async def send(self, frame: bytes) -> None:
        """One frame, as soon as the socket takes it."""
        self._writer.write(frame)
        await self._writer.drain()

    async def acknowledged(self, n: int) -> None:
        """Waits until `n` exchanges are safe."""
        while self._safe < n and (data := await self._reader.read(1 << 16)):
            self._safe += sum(len(wire.decode_json(p)["seqs"]) for k, p in self._decoder.feed(data) if k == wire.ACK)


@asynccontextmanager
async def _tap(home: Path) -> AsyncIterator[_Tap]:
    reader, writer = await asyncio.open_unix_connection(str(home / "agent.sock"))
    writer.write(wire.encode_hello(texts.WORKER, os.getpid()))
    try:
        yield _Tap(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


async def _send(home: Path, n: int, rate: float | None, halfway: Callable[[], object], first: int = 1) -> None:
    """Sends `n` exchanges at a rate (None: as fast as they are taken) and waits until each is acknowledged."""
    _captures()
    async with _tap(home) as tap:
        safe = asyncio.create_task(tap.acknowledged(n))
        begun = time.perf_counter()
        for sent, (_, frame) in enumerate(_frames(n, first)):
            if rate is not None and (ahead_s := begun + sent / rate - time.perf_counter()) > STEP_S:
                await asyncio.sleep(ahead_s)
            if sent == n // 2:
                halfway()
            await tap.send(frame)
        await safe


def _nbytes(home: Path) -> int:
    """The database without its log, which is folded in first."""
    with closing(sqlite3.connect(home / "trimtab.db", timeout=30)) as connection:
        connection.execute("pragma wal_checkpoint(truncate)")
    return (home / "trimtab.db").stat().st_size
