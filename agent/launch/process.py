"""A process that may be another's child: is it still the same one, and end it with its children.

In: a process id and the kernel's start time of it. Out: alive or not. Must never know: orders, the store.
A process id alone is not enough: the kernel gives it to somebody else one day. Linux only (/proc).
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

POLL_S = 0.05


def started_ticks(pid: int) -> int | None:
    """The start time of a living process in clock ticks since boot; None when there is none, or only a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def boot_id() -> str:
    """Which boot of the machine this is: ticks of another boot mean nothing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def end_orphans(pid: int) -> None:
    """Kill what is left of the group of a leader that is dead: workers, which would hold its memory and its lock.

    While a group has members, the kernel gives its number to nobody else; a living process of this number is a
    stranger, and is left alone.
    """
    if not Path(f"/proc/{pid}").exists():
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def end_group(pid: int, grace_s: float) -> None:
    """End a process group: ask, wait for its leader, then kill whatever is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while started_ticks(pid) is not None and time.monotonic() < deadline:
            time.sleep(POLL_S)
        os.killpg(pid, signal.SIGKILL)
