"""The unix socket file: who may have it, and when an old one may go.

Lives here: `open_door` and `close_door`.
Comes in: a path. Goes out: a bound socket that only this user can reach.
Must never know: frames.

A lock beside the socket is held for as long as the process lives, so that two agents that start at the same moment
cannot take each other's file away; the kernel lets go of it when a process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from agent.types import InvalidInput

_MAX_PATH_BYTES = 107
_KNOCK_S = 1.0


@dataclass(frozen=True, slots=True)
class Door:
    """An open socket and the lock that makes it ours."""

    listener: socket.socket
    path: Path
    lock: int


def open_door(path: Path) -> Door:
    """Bind the socket with mode 0600; a file that a dead agent left is removed.

    Raises InvalidInput when another agent has it, or when the path cannot hold a socket.
    """
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise InvalidInput(f"the socket path {path} is longer than {_MAX_PATH_BYTES} bytes: choose a shorter `home`")
    taken = f"another agent is running on {path}: stop it first, or give this one another `home`"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InvalidInput(
            f"the socket {path} cannot be made ({error.strerror}): choose a `home` you can write to"
        ) from error
    try:
        _take(lock, taken)
        _clear(path, taken)
        return Door(_bind(path), path, lock)
    except BaseException:
        os.close(lock)
        raise


def close_door(door: Door) -> None:
    """Remove the file and let others in."""
    with contextlib.suppress(OSError):
        door.path.unlink()
    door.listener.close()
    os.close(door.lock)


def _take(lock: int, taken: str) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise InvalidInput(taken) from error


def _clear(path: Path, taken: str) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InvalidInput(f"{path} is in the way and is no socket: move it, or choose another `home`")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_KNOCK_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise InvalidInput(f"{path} does not answer ({error}): remove it if no agent runs") from error
    raise InvalidInput(taken)


def _bind(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
        listener.listen(64)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise InvalidInput(f"the socket {path} cannot be made ({error.strerror}): choose another `home`") from error
    finally:
        os.umask(before)
    return listener
