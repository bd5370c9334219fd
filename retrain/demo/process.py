"""Children of the demo: started in groups of their own, measured, and gone when the demo is gone.

Lives here: start, log, end. Linux only, like vLLM.
Comes in: a command line. Goes out: a running `Child`.
Must never know: what the child does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from retrain.demo import proc
from serving.errors import RemoteFault

MARK = "TRIMTAB_DEMO_RUN"
"""Environment variable that marks every process of one demo, however deep; the sweep at the end looks for it."""


class Child:
    """One child process with its log. Use `end` or leave it to `Family.end`."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        """Start `command`; both outputs go to `log`."""
        self.name = name
        self.log = log
        self.command = list(command)
        self._env = dict(env)
        self._start()

    def _start(self) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(  # our own command line
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # only calls prctl
            )

    @property
    def pid(self) -> int:
        """Process id, also the id of its group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raise RemoteFault with the end of its log when it has ended by itself."""
        if self.running:
            return
        lines = [x for x in self.log.read_text(errors="replace").splitlines() if x.strip()]
        last = lines[-1] if lines else "it printed nothing"
        msg = f"{self.name} ended with exit code {self._process.returncode}: {last} (whole log: {self.log})"
        raise RemoteFault(msg)

    def kill(self) -> None:
        """SIGKILL the group, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        """Start the same command again after it ended."""
        self._start()

    def end(self, patience_s: float = 10.0) -> None:
        """SIGTERM, and SIGKILL to the whole group when that is not enough."""
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        self.kill()

    @property
    def resident_mb(self) -> float:
        """Resident memory of the process itself now, in MB."""
        return proc.field_mb(self.pid, "VmRSS")


class Family:
    """All children of one demo, and anything they left behind."""

    def __init__(self) -> None:
        self.run = uuid.uuid4().hex
        self.children: list[Child] = []
        self.peak_mb: dict[str, float] = {}

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> Child:
        """Start a child that this family will end."""
        log.parent.mkdir(parents=True, exist_ok=True)
        child = Child(name, command, {**os.environ, **env, MARK: self.run}, log)
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raise RemoteFault when any child ended by itself."""
        for child in self.children:
            child.check()

    def measure(self) -> None:
        """Note the peak of resident memory of every process of this demo, by what it is, in MB."""
        sessions = {child.pid for child in self.children}
        for pid in {*self.strays(), *(pid for pid in proc.pids() if proc.session_of(pid) in sessions)}:
            if (kind := proc.kind(pid)) is not None:
                self.peak_mb[kind] = max(self.peak_mb.get(kind, 0.0), proc.field_mb(pid, "VmHWM"))

    def end(self) -> None:
        """End all children, the last started first, then sweep up every process that carries our mark."""
        for child in reversed(self.children):
            child.end()
        for pid in self.strays():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def strays(self) -> list[int]:
        """Processes that carry this run's mark, ourselves left out."""
        needle = f"{MARK}={self.run}".encode()
        return [pid for pid in proc.pids() if pid != os.getpid() and needle in proc.read(f"/proc/{pid}/environ")]


def free_port() -> int:
    """A TCP port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(ready: Callable[[], bool], what: str, family: Family, timeout_s: float, every_s: float = 0.25) -> None:
    """Call `ready()` until it is true. Raises RemoteFault when a child ended or the time is over."""
    until = time.monotonic() + timeout_s
    while not ready():
        family.check()
        if time.monotonic() > until:
            msg = f"{what} did not happen within {timeout_s:.0f} s"
            raise RemoteFault(msg)
        time.sleep(every_s)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
