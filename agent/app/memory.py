"""How little memory the sidecar holds on to while it rests, and how seldom it is gone through.

Lives here: two requests to glibc's allocator, which do nothing without glibc, and one to Python's collector of cycles.
Comes in: nothing. Goes out: a smaller process.
Must never know: what the memory was used for.

glibc gives each thread an arena of its own and keeps what was freed there. The sidecar's threads take turns under
Python's lock, so one arena serves them as well, and a resting sidecar stays tens of megabytes smaller.
"""

from __future__ import annotations

import ctypes
import gc

_ARENA_MAX = -8
"""M_ARENA_MAX of mallopt(3)."""


def one_arena() -> None:
    """Before any thread starts: all threads share one arena."""
    libc = _libc()
    if libc is not None:
        libc.mallopt(_ARENA_MAX, 1)


def give_back() -> None:
    """Return free memory to the system; a few milliseconds."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def for_good() -> None:
    """When all is wired: what is there now stays, so the collector need not go through it, which takes 0.1 s."""
    gc.freeze()


def _libc() -> ctypes.CDLL | None:
    libc = ctypes.CDLL(None)  # what this process is linked with
    return libc if hasattr(libc, "malloc_trim") else None
