"""What Linux says of processes in /proc: who runs, in which session, what it is, how much memory it has.

In: process ids. Out: numbers and names; a process that has ended is empty, never a fault.
Must never know: who started it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def pids() -> Iterator[int]:
    """Every process of this machine."""
    return (int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit())


def read(path: str) -> bytes:
    """A file of /proc; empty when the process is gone."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def session_of(pid: int) -> int:
    """Its session, 0 when it is gone."""
    stat = read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(stat[3]) if len(stat) > 3 else 0


KINDS = {
    b"EngineCore": "vllm engine",
    b"api_server": "vllm server",
    b"retrain.cli": "retrain",
    b"agent.drift.report": "report",
    b"agent.cli\0agent": "agent",
}
"""What stands in a process's command line, and what we call it; helpers of a few MB are left out."""


def kind(pid: int) -> str | None:
    """What part of Trimtab or of vLLM it is; None for all others."""
    command = read(f"/proc/{pid}/cmdline")
    return next((name for mark, name in KINDS.items() if mark in command), None)


def field_mb(pid: int, field: str) -> float:
    """A size in its status, in MB."""
    for line in read(f"/proc/{pid}/status").splitlines():
        if line.startswith(field.encode()):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0
