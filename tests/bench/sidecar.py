"""What the sidecar weighs at rest, and how soon it is there.

In: the scale. Out: resident memory of the real `trimtab agent`, before any traffic and at rest after some; seconds
from its start until /healthz answers; each against a bare Python in the same run. Must never know: what it is doing.

Python may keep its bytecode here, as in any installation: where it may not, each start compiles what it imports, which
is twice the work. The first start of a fresh checkout still does; the best of the starts counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from agent.store import Store
from agent.store.tables import RolloutRow
from serving import wire
from tests.bench import texts
from tests.bench.figures import OUT, ROOT, Figure, say
from tests.bench.scale import Scale
from tests.estate.server import free_port

RSS_MB, AIM_MB, START_S = 150, 110, 1.5
EXCHANGES = 450  # enough to learn a reference of 300 and to close a window of 100
PATIENCE_S = 60.0
SKETCHES = "whylogs_sketching"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {
    "PYTHONPYCACHEPREFIX": str(OUT.parent / "bytecode")
}


@dataclass(frozen=True, slots=True)
class Weighed:
    """One start of the sidecar: seconds by the wall and of CPU, and MB before and after traffic."""

    start_s: float
    start_cpu_s: float
    empty_mb: float
    rest_mb: float
    whylogs: bool


def measure(scale: Scale) -> list[Figure]:
    """Memory and cold start, best of three starts."""
    bare_s, bare_mb = _bare()
    seen = []
    for _ in range(scale.of(3, 1)):
        seen.append(_weigh(rest_s=scale.of(4.0, 0.5)))
        say(f"    sidecar: {seen[-1].start_s:.2f} s to start, {seen[-1].empty_mb:.0f} then {seen[-1].rest_mb:.0f} MB")
    rest = min(seen, key=lambda one: one.rest_mb)
    says = f"resident at rest after {EXCHANGES} exchanges, whylogs {'loaded' if rest.whylogs else 'NOT loaded'}"
    return [
        Figure(name="rest_mb", says=f"{says} (aim {AIM_MB})", value=rest.rest_mb, unit="MB", bound=RSS_MB,
               baseline=bare_mb, against="bare Python"),
        Figure(name="empty_mb", says="resident before any traffic", value=min(one.empty_mb for one in seen), unit="MB",
               bound=RSS_MB, baseline=bare_mb, against="bare Python"),
        Figure(name="start_s", says="start until /healthz answers", value=min(one.start_s for one in seen), unit="s",
               bound=START_S, baseline=bare_s, against="bare Python"),
        Figure(name="start_cpu_s", says="CPU until then", value=min(one.start_cpu_s for one in seen), unit="s"),
        Figure(name="start_slowest_s", says="the slowest of these starts", value=max(one.start_s for one in seen),
               unit="s"),
    ]  # fmt: skip


def _bare() -> tuple[float, float]:
    """Seconds and MB of a Python that does nothing; best of three."""
    code = "print(open('/proc/self/statm').read().split()[1])"
    best_s, pages = float("inf"), 0
    for _ in range(3):
        begun = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, check=True)
        best_s, pages = min(best_s, time.perf_counter() - begun), int(done.stdout)
    return best_s, pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _weigh(rest_s: float) -> Weighed:
    with tempfile.TemporaryDirectory() as name:
        home, port = Path(name), free_port()
        settings = home / "trimtab.yaml"
        settings.write_text(json.dumps({
            "alias": "home", "home": str(home), "http": {"port": port}, "tick_s": 0.2,
            "engine": {"url": f"http://127.0.0.1:{free_port()}"},
        }))  # fmt: skip
        crown(home)
        with running(settings, home / "agent.log") as process:
            start_s = until(process, lambda: healthy(port))
            start_cpu_s = cpu_s(process.pid)
            time.sleep(rest_s)
            empty_mb = resident_mb(process.pid)
            _feed(home / "agent.sock")
            until(process, lambda: watched(home) >= EXCHANGES)
            time.sleep(rest_s)
            whylogs = SKETCHES in Path(f"/proc/{process.pid}/maps").read_text()
            return Weighed(start_s, start_cpu_s, empty_mb, resident_mb(process.pid), whylogs)


def crown(home: Path) -> None:
    """A champion in the store, without which the sidecar profiles nobody."""
    store = Store.at(home)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", phase="steady", updated_at=datetime.now(UTC)))
    store.close()


@contextlib.contextmanager
def running(settings: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The real sidecar as a process of its own, killed in the end; its log explains a failure."""
    argv = [sys.executable, "-m", "agent.cli", "agent", "--settings", str(settings)]
    with log.open("wb") as out:
        process = subprocess.Popen(argv, cwd=ROOT, env=ENVIRONMENT, stdout=out, stderr=out, start_new_session=True)
    try:
        yield process
    except Exception as why:
        why.add_note(log.read_text("utf-8", "replace")[-3000:])
        raise
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(process: subprocess.Popen[bytes], true: Callable[[], bool], within_s: float = PATIENCE_S) -> float:
    """Seconds until something is true. Raises RuntimeError when the sidecar ends first, or never gets there."""
    begun = time.perf_counter()
    while not true():
        if process.poll() is not None or time.perf_counter() - begun > within_s:
            raise RuntimeError("the sidecar did not get there")
        time.sleep(0.01)
    return time.perf_counter() - begun


def healthy(port: int) -> bool:
    """Whether the sidecar answers on its port."""
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).status == 200)
    return False


def resident_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _feed(path: Path) -> None:
    """What a tap would send, acknowledged or not."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tap:
        tap.connect(str(path))
        tap.sendall(wire.encode_hello("b" * 32, os.getpid()))
        for i, talk in enumerate(texts.talks(EXCHANGES, seed=19)):
            tap.sendall(wire.encode_capture(texts.capture(i + 1, texts.request(talk), texts.streamed(talk, i))))
        tap.settimeout(PATIENCE_S)
        decoder, acked = wire.Decoder(), 0
        while acked < EXCHANGES and (data := tap.recv(1 << 16)):
            acked += sum(len(wire.decode_json(p)["seqs"]) for kind, p in decoder.feed(data) if kind == wire.ACK)


def watched(home: Path) -> int:
    """How far the watch loop has come."""
    store = Store.at(home)
    cursor, _ = store.load_state("watch")
    store.close()
    return cursor
