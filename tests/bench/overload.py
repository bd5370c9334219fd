"""Ten seconds of more than the sidecar can take: what is sent, stored, dropped as counted, and lost.

In: the scale. Out: per temper of the sidecar the exact account, and how much slower the clients were answered.
Must never know: how the tap counts. The server is a stub under uvicorn, the load comes over HTTP; in the end a real
sidecar listens, takes what the tap still holds, and the rows in its database are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.bench import client, ears, stub, texts
from tests.bench.figures import Figure, say
from tests.bench.scale import Scale
from tests.bench.switch import COUNTERS

BUFFER_BYTES = 8 << 20
REQUEST_CHARS = 3_000
CLIENTS = 8
PACED_PER_S = 150.0
SLOW_FRAME_S, KILL_EVERY_S = 0.05, 2.0
DRAIN_S = 60.0
PLAIN_PART = 5  # the plain phases before and after last a fifth of the overload each


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A temper of the sidecar (None: nobody listens), and requests a second (None: as many as go)."""

    name: str
    says: str
    temper: str | None
    per_s: float | None = None
    quick: bool = True


# A scenario's name is one word: figures are called NAME_what.
SCENARIOS = (
    Scenario(name="healthy", says="a healthy sidecar", temper="real", quick=False),
    Scenario(name="unreachable", says="an unreachable sidecar", temper=None),
    Scenario(name="slow", says="a slow sidecar", temper="slow", quick=False),
    Scenario(name="restarting", says="a sidecar killed every 2 s", temper="restarting"),
    Scenario(name="paced", says=f"the same at {PACED_PER_S:.0f} requests/s", temper="restarting", per_s=PACED_PER_S),
)


@dataclass(slots=True)
class Account:
    """What one scenario came to. Seconds that requests took, and seconds of the server's CPU in all."""

    sent: int = 0
    counters: dict[str, Any] = field(default_factory=dict)
    stored: int = 0
    plain_s: list[float] = field(default_factory=list)
    taken_s: list[float] = field(default_factory=list)
    plain_cpu_s: float = 0.0
    taken_cpu_s: float = 0.0

    @property
    def dropped(self) -> int:
        """As the tap counted."""
        return int(self.counters["dropped"])

    @property
    def lost(self) -> int:
        """Answered, and not in the database."""
        return self.sent - self.stored


def measure(scale: Scale) -> list[Figure]:
    """The account of every scenario."""
    figures = []
    for scenario in SCENARIOS:
        if scale.quick and not scenario.quick:
            continue
        account = client.run(_play(scenario, scale.overload_s))
        say(
            f"    {scenario.says}: sent {account.sent}, stored {account.stored}, dropped as counted {account.dropped},"
            f" lost {account.lost}: {'exact' if account.lost == account.dropped else 'NOT EXACT'}"
        )
        figures += _figures(scenario, account)
    return figures


async def _play(scenario: Scenario, seconds: float) -> Account:
    account = Account()
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        socket = folder / "agent.sock"
        with _listening(scenario, socket, folder, min(KILL_EVERY_S, seconds / 3)) as sidecar:
            url = stack.enter_context(stub.running(socket, buffer_bytes=BUFFER_BYTES))
            await _load(account, url, seconds / PLAIN_PART, scenario.per_s, plain=True)
            await _load(account, url, seconds, scenario.per_s, plain=False)
            if sidecar is not None and scenario.temper != "slow":
                if scenario.temper == "restarting":
                    sidecar.spare()
                account.counters = await _drained(url)
        if not account.counters:
            with ears.running("real", socket, folder):
                account.counters = await _drained(url)
        account.sent = len(account.taken_s)
        await _load(account, url, seconds / PLAIN_PART, scenario.per_s, plain=True)
        account.stored = len(_stored(folder))
    return account


@contextlib.contextmanager
def _listening(scenario: Scenario, socket: Path, folder: Path, kill_every_s: float) -> Iterator[ears.Sidecar | None]:
    if scenario.temper is None:
        yield None
        return
    every_s = SLOW_FRAME_S if scenario.temper == "slow" else kill_every_s
    with ears.running(scenario.temper, socket, folder, every_s) as sidecar:
        yield sidecar


def _body() -> bytes:
    return texts.request(texts.talks(1, seed=3, prompt_chars=REQUEST_CHARS)[0])


async def _load(account: Account, url: str, seconds: float, per_s: float | None, *, plain: bool) -> None:
    """Notes how long each request took; every client asks again as soon as it is answered, or at its pace."""
    begun_cpu_s = (await _counters(url))["cpu_s"]
    body, until = _body(), time.perf_counter() + seconds

    async def ask(one: client.Connection) -> list[float]:
        took = []
        while (now := time.perf_counter()) < until:
            answer = await one.ask(body, plain=plain)
            if answer.status != 200:
                raise RuntimeError(f"a request was answered {answer.status}")
            took.append(answer.total_s)
            if per_s is not None:
                await asyncio.sleep(max(0.0, now + CLIENTS / per_s - time.perf_counter()))
        return took

    async with client.connected(url, CLIENTS) as all_of_them:
        took_s = [s for each in await asyncio.gather(*(ask(one) for one in all_of_them)) for s in each]
    cpu_s = (await _counters(url))["cpu_s"] - begun_cpu_s
    if plain:
        account.plain_s += took_s
        account.plain_cpu_s += cpu_s
    else:
        account.taken_s += took_s
        account.taken_cpu_s += cpu_s


async def _counters(url: str) -> dict[str, Any]:
    async with httpx.AsyncClient(trust_env=False) as http:
        said: dict[str, Any] = json.loads((await http.get(url + COUNTERS)).raise_for_status().content)
        return said


async def _drained(url: str) -> dict[str, Any]:
    """The tap's counters once it holds nothing any more. Raises TimeoutError when it never gets there."""
    async with asyncio.timeout(DRAIN_S):
        while (said := await _counters(url))["waiting"]:  # noqa: ASYNC110 - another process: there is no event
            await asyncio.sleep(0.1)
    return said


def _stored(folder: Path) -> set[int]:
    """Numbers of the exchanges that some sidecar has kept."""
    kept = set()
    if (acked := folder / "acked.txt").exists():
        kept = {int(line) for line in acked.read_text().split()}
    if (database := folder / "trimtab.db").exists():
        with contextlib.closing(sqlite3.connect(database)) as connection:
            kept |= {int(seq) for (seq,) in connection.execute("select seq from exchange")}
    return kept


def _figures(scenario: Scenario, account: Account) -> list[Figure]:
    name, says = scenario.name, scenario.says
    counts = {"sent": account.sent, "stored": account.stored, "dropped": account.dropped, "lost": account.lost}
    words = {"sent": "answered", "stored": "stored", "dropped": "dropped, as the tap counted", "lost": "lost"}
    figures = [Figure(name=f"{name}_{k}", says=f"{says}: {words[k]}", value=v, unit="") for k, v in counts.items()]
    off = abs(account.lost - account.dropped)
    figures.append(
        Figure(name=f"{name}_miscounted", says=f"{says}: lost but not counted, or the reverse", value=off, unit="",
               bound=0)
    )  # fmt: skip
    full = account.counters["first_drop"].get("held_bytes", 0) / BUFFER_BYTES
    if account.dropped:
        figures.append(
            Figure(name=f"{name}_full_at_first_drop", says=f"{says}: buffer in use at the first drop", value=full * 100,
                   unit="%", bound=99.0, at_most=False)
        )  # fmt: skip
    elif scenario.per_s is not None:
        figures.append(Figure(name=f"{name}_lost_within_buffer", says=f"{says}: lost, the buffer never full",
                              value=account.lost, unit="", bound=0))  # fmt: skip
    cpu_us, plain_us = account.taken_cpu_s / account.sent * 1e6, account.plain_cpu_s / len(account.plain_s) * 1e6
    figures.append(
        Figure(name=f"{name}_cpu_us", says=f"{says}: the server's CPU, a request", value=cpu_us, unit="us",
               baseline=plain_us, against="no middleware")
    )  # fmt: skip
    for percentile in (50, 99):
        took, plain = (float(np.percentile(s, percentile)) * 1e3 for s in (account.taken_s, account.plain_s))
        figures.append(
            Figure(name=f"{name}_p{percentile}_ms", says=f"{says}: a request, p{percentile}", value=took, unit="ms",
                   baseline=plain, against="no middleware")
        )  # fmt: skip
    return figures
