"""One order never runs twice: an advisory lock in the order's folder, held by the job for as long as it lives.

In: a path. Out: a held lock, or AlreadyRunning. Must never know: what the job does.
The kernel lets go of it when the process ends, however it ends, so there is no stale lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.types import InvalidInput, TrimtabError

LOCK = "lock"
"""Name of the lock file in an order's folder."""
POLL_S = 0.05


class AlreadyRunning(TrimtabError):
    """Another process works on this order; let it."""


@contextmanager
def held(folder: Path, wait_s: float = 2.0) -> Iterator[None]:
    """Hold an order's lock. Raises AlreadyRunning when another process has it for longer than `wait_s`.

    The wait is for those who only look (`is_held`), which takes them a few microseconds. Raises InvalidInput where no
    folder can be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (NotADirectoryError, FileExistsError, FileNotFoundError, PermissionError) as error:
        raise InvalidInput(
            f"the order's folder {folder} cannot be made ({error.strerror}): give another `home`"
        ) from error
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        _take(handle, folder, time.monotonic() + wait_s)
        yield
    finally:
        os.close(handle)


def is_held(folder: Path) -> bool:
    """Whether some process works on the order of this folder."""
    if not (folder / LOCK).exists():
        return False
    try:
        with held(folder, wait_s=0):
            return False
    except AlreadyRunning:
        return True


def _take(handle: int, folder: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise AlreadyRunning(f"another process works in {folder}: wait for it, or stop it first") from error
            time.sleep(POLL_S)
        else:
            return
