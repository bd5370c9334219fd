"""What a fleet costs the one who decides: a controller on PostgreSQL, beside one pod and beside a thousand.

In: the scale. Out: cores of the real `trimtab agent` in the role of a controller and of PostgreSQL, what a scrape and
the status page take. Must never know: what the controller does with a pod.

The pods are simulated by what they write: each says every ten seconds how its tap stands, as an idle one does, and all
of them together store the same traffic, an exchange a transaction. So what is compared is the number of pods alone.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from subprocess import Popen

import httpx

from agent.intake.server import NOTE_EVERY
from agent.store import Store
from agent.store.tables import RolloutRow
from agent.types import Exchange
from tests.bench.figures import Figure, say
from tests.bench.scale import Scale
from tests.bench.sidecar import cpu_s, healthy, resident_mb, running, until
from tests.bench.storage import exchanges
from tests.estate.postgres import Postgres, serving
from tests.estate.server import free_port

PODS, RATE = 1_000, 20
"""Pods, and exchanges a second of all of them together."""
WARM = 450
"""Exchanges before the count begins: enough to learn a reference of 300 and to load whylogs."""
WRITERS = 4
LOOKS = 20
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one fleet: cores of the controller and of the server, MB, milliseconds of a page; what is missing."""

    cores: float
    server_cores: float
    mb: float
    scrape_ms: float
    status_ms: float
    missing: int


def measure(scale: Scale) -> list[Figure]:
    """One pod, then a thousand, in databases of their own."""
    seconds, many = scale.of(60.0, 3.0), scale.of(PODS, 20)
    with serving() as server:
        one, fleet = (_beside(server, pods, seconds) for pods in (1, many))
    says = f"{many:,} pods, {RATE} exchanges/s in all:"
    return [
        Figure(name="cores", says=f"{says} cores of the controller", value=fleet.cores, unit="", baseline=one.cores,
               against="one pod, same traffic"),
        Figure(name="server_cores", says="cores of PostgreSQL, the pods' own writing included",
               value=fleet.server_cores, unit="", baseline=one.server_cores, against="one pod"),
        Figure(name="mb", says="resident memory of the controller", value=fleet.mb, unit="MB", baseline=one.mb,
               against="one pod"),
        Figure(name="scrape_ms", says="a scrape of the controller", value=fleet.scrape_ms, unit="ms",
               baseline=one.scrape_ms, against="one pod"),
        Figure(name="status_ms", says="its status", value=fleet.status_ms, unit="ms", baseline=one.status_ms,
               against="one pod"),
        Figure(name="missing", says="exchanges that it did not see", value=fleet.missing, unit="", bound=0),
    ]  # fmt: skip


def _beside(server: Postgres, pods: int, seconds: float) -> Cost:
    """One controller in a database of its own, and what it costs for so long."""
    url = server.clone(None)
    store = Store(url)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", phase="steady", updated_at=datetime.now(UTC)))
    n = round(RATE * seconds)
    made = [replace(e, alias="home", version="home-v1") for e in exchanges(WARM + n)]
    try:
        with _controller(url) as (process, port):
            pid = process.pid
            _write(store, pods, made[:WARM], None)
            until(process, lambda: store.load_state("watch")[0] >= WARM, PATIENCE_S)
            before, server_before = cpu_s(pid), _server_cpu_s(server)
            begun = time.perf_counter()
            _write(store, pods, made[WARM:], seconds)
            until(process, lambda: store.load_state("watch")[0] >= len(made), PATIENCE_S)
            took_s = max(seconds, time.perf_counter() - begun)
            used, server_used = cpu_s(pid) - before, _server_cpu_s(server) - server_before
            cost = Cost(
                cores=used / took_s, server_cores=server_used / took_s, mb=resident_mb(pid),
                scrape_ms=_ms(port, "metrics"), status_ms=_ms(port, "v1/status"),
                missing=len(made) - store.load_state("watch")[0],
            )  # fmt: skip
    finally:
        store.close()
        server.drop(url)
    say(f"    {pods} pods: {cost.cores:.3f} cores, PostgreSQL {cost.server_cores:.3f}, {cost.mb:.0f} MB")
    return cost


def _write(store: Store, pods: int, some: list[Exchange], seconds: float | None) -> None:
    """What the taps of all pods write, in order, evenly over so many seconds (None: at once)."""
    taps = [f"{pod:032x}" for pod in range(pods)]
    share = (seconds or 0.0) / len(some)
    notes = pods * (seconds or NOTE_EVERY.total_seconds()) / NOTE_EVERY.total_seconds() / len(some)
    begun, noted = time.perf_counter(), list[Future[None]]()
    with ThreadPoolExecutor(WRITERS) as pool:
        for i, exchange in enumerate(some):
            if (ahead_s := begun + i * share - time.perf_counter()) > 0:
                time.sleep(ahead_s)
            tap = taps[i % pods]
            store.add_exchanges([replace(exchange, worker=tap, seq=exchange.seq)])
            while len(noted) < (i + 1) * notes:
                pod = len(noted) % pods
                noted.append(pool.submit(store.note_worker, taps[pod], 1, datetime.now(UTC), 0, 0, pod=f"pod-{pod}"))
    for note in noted:
        note.result()


@contextmanager
def _controller(url: str) -> Iterator[tuple[Popen[bytes], int]]:
    with tempfile.TemporaryDirectory() as name:
        home, port = Path(name), free_port()
        settings = home / "trimtab.yaml"
        settings.write_text(json.dumps({
            "alias": "home", "role": "controller", "home": str(home), "http": {"port": port},
            "store": {"url": url, "pod": "controller-0"}, "engine": {"url": f"http://127.0.0.1:{free_port()}"},
        }))  # fmt: skip
        with running(settings, home / "agent.log") as process:
            until(process, lambda: healthy(port))
            yield process, port


def _server_cpu_s(server: Postgres) -> float:
    """CPU of the server and of all its sessions, those that have ended too, which its first process has waited for."""
    leader = (server.folder / "postmaster.pid").read_text().splitlines()[0]
    children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
    ended = Path(f"/proc/{leader}/stat").read_text().rpartition(")")[2].split()[13:15]
    return sum(cpu_s(int(pid)) for pid in [leader, *children]) + sum(map(int, ended)) / os.sysconf("SC_CLK_TCK")


def _ms(port: int, page: str) -> float:
    """The median of some in a row."""
    took = []
    for _ in range(LOOKS):
        begun = time.perf_counter()
        httpx.get(f"http://127.0.0.1:{port}/{page}", timeout=30).raise_for_status()
        took.append(time.perf_counter() - begun)
    return sorted(took)[LOOKS // 2] * 1e3
