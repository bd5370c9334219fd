"""What the middleware adds to the time a client waits: for the first event, and between events.

In: the scale. Out: p50 and p99 added at 1 and 16 streams at once, over a stub under uvicorn and over a real vLLM with
a tiny model. Must never know: how either is built. One server process answers both ways, in rounds that take turns;
the interval is a bootstrap over rounds. What goes through Trimtab names an alias: guard, rewrite and capture.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from tests.bench import client, ears, engine, stub
from tests.bench.figures import Figure, say
from tests.bench.scale import Scale
from tests.bench.stats import Samples, added
from tests.bench.switch import COUNTERS

WAYS = (True, False)  # plain, through Trimtab
STAGGER_S = 0.004
LEAST_ROUNDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """So many streams at once, each asked so often in a round and way; at least four rounds, whatever they take."""

    streams: int
    asks: int
    rounds: int
    limit_s: float = 30.0


@dataclass(slots=True)
class Seen:
    """Samples in microseconds, one array a round, by way."""

    first: dict[bool, list[Samples]] = field(default_factory=lambda: {way: [] for way in WAYS})
    gap: dict[bool, list[Samples]] = field(default_factory=lambda: {way: [] for way in WAYS})
    cpu_us: dict[bool, list[float]] = field(default_factory=lambda: {way: [] for way in WAYS})


def measure(scale: Scale) -> list[Figure]:
    """Microseconds added to the time to the first event and between events."""
    loads = scale.of(
        (Load(streams=1, asks=2, rounds=48), Load(streams=16, asks=2, rounds=24)),
        (Load(streams=1, asks=1, rounds=2), Load(streams=4, asks=1, rounds=2)),
    )
    with _place() as folder, ears.running("fast", folder / "agent.sock"), stub.running(folder / "agent.sock") as url:
        figures = client.run(_measure("stub", "stub", url, loads))
    if scale.quick or not importlib.util.find_spec("vllm"):
        say("    real vLLM: left out, " + ("--quick" if scale.quick else "it is not installed"))
        return figures
    loads = (Load(streams=1, asks=2, rounds=32), Load(streams=16, asks=1, rounds=24))
    with _place() as folder, ears.running("fast", folder / "agent.sock"), engine.running(folder) as url:
        return figures + client.run(_measure("vllm", "vLLM", url, loads))


@contextlib.contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def question(*, plain: bool) -> bytes:
    """A chat request for a stream of 64 tokens, under the alias or under the served name."""
    return json.dumps({
        "model": "base" if plain else "home", "messages": [{"role": "user", "content": "turn on the light"}],
        "stream": True, "max_tokens": 64, "ignore_eos": True, "temperature": 0, "user": "u1",
    }).encode()  # fmt: skip


async def _measure(name: str, says: str, url: str, loads: tuple[Load, ...]) -> list[Figure]:
    await _warm(url)
    figures: list[Figure] = []
    for load in loads:
        begun, seen = time.monotonic(), Seen()
        async with httpx.AsyncClient(trust_env=False) as http, client.connected(url, load.streams) as streams:
            for i in range(load.rounds):
                if i >= LEAST_ROUNDS and time.monotonic() - begun > load.limit_s:
                    break
                for plain in WAYS if i % 2 else WAYS[::-1]:
                    await _round(url, http, streams, load.asks, seen, plain=plain)
        say(f"    {says}, {load.streams} at once: {len(seen.cpu_us[True])} rounds in {time.monotonic() - begun:.0f} s")
        figures += _figures(name, says, load, seen)
    return figures


async def _warm(url: str) -> None:
    """Asks until the alias table has arrived and both ways have answered."""
    async with client.connected(url, 1) as (one,):
        for _ in range(200):
            answer = await one.ask(question(plain=False), plain=False)
            if answer.status == 200 and b"x-trimtab-version" in answer.head:
                break
            await asyncio.sleep(0.05)
        else:
            raise RuntimeError(f"the server never used the alias table, its last answer was {answer.status}")
        for plain in WAYS * 3:
            await one.ask(question(plain=plain), plain=plain)


async def _round(
    url: str, http: httpx.AsyncClient, streams: list[client.Connection], asks: int, seen: Seen, *, plain: bool
) -> None:
    async def stream(one: client.Connection, i: int) -> list[client.Timed]:
        await asyncio.sleep(i * STAGGER_S)
        return [await one.ask(question(plain=plain), plain=plain) for _ in range(asks)]

    async def server_cpu_s() -> float:
        return float((await http.get(url + COUNTERS)).raise_for_status().json()["cpu_s"])

    cpu_s = await server_cpu_s()
    answers = await asyncio.gather(*(stream(one, i) for i, one in enumerate(streams)))
    timed = [answer for each in answers for answer in each]
    if any(answer.status != 200 or not answer.gaps_s for answer in timed):
        raise RuntimeError(f"an answer was no stream: status {[answer.status for answer in timed]}")
    seen.cpu_us[plain].append((await server_cpu_s() - cpu_s) / len(timed) * 1e6)
    seen.first[plain].append(np.array([answer.first_s for answer in timed]) * 1e6)
    seen.gap[plain].append(np.array([gap_s for answer in timed for gap_s in answer.gaps_s]) * 1e6)


def _figures(name: str, says: str, load: Load, seen: Seen) -> list[Figure]:
    figures = []
    for kind, words, samples in (("ttft", "first event", seen.first), ("gap", "between events", seen.gap)):
        for percentile in (50, 99):
            found = added(samples[True], samples[False], percentile)
            figures.append(
                Figure(
                    name=f"{name}_{load.streams}_{kind}_p{percentile}_us",
                    says=f"{says}, {load.streams} at once: {words}, p{percentile} added",
                    value=found.added, low=found.low, high=found.high, unit="us", baseline=found.plain,
                    against="no middleware", ratio=(found.plain + found.added) / found.plain,
                )
            )  # fmt: skip
    plain, taken = (float(np.median(seen.cpu_us[way])) for way in WAYS)
    figures.append(
        Figure(
            name=f"{name}_{load.streams}_cpu_us", says=f"{says}, {load.streams} at once: CPU added to a stream",
            value=taken - plain, unit="us", baseline=plain, against="no middleware", ratio=taken / plain,
        )
    )  # fmt: skip
    return figures
