"""What went wrong, as one sentence that says what to do (pure).

In: an exception. Out: words. Must never know: where it came from. Only what many libraries say in many ways is
translated here; each room's own faults are sentences already.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from serving.errors import TrimtabError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the kernel says when there is no more room: the disk, the quota, the largest file that is allowed."""
_FULL = re.compile(
    r"no space left|file too large|disk is full|quota exceeded|os error (28|122|27)\b|PytorchStreamWriter failed|"
    r"(?:unexpected pos|inline_container)", re.IGNORECASE,
)  # fmt: skip
"""The same, as safetensors (in Rust), torch and SQLite put it: they lose the number on the way."""


def sentence(error: BaseException, home: str) -> str:
    """Why an order failed. `home` is the folder where it writes."""
    if full(error):
        return f"no room is left on the disk of {home} ({_short(error)}): make room and run the same command again"
    return str(error) if isinstance(error, TrimtabError) else _short(error)


def full(error: BaseException) -> bool:
    """Whether the disk, a quota or a limit on files was the reason, however deep."""
    return any(_full(one) for one in _chain(error))


def _full(error: BaseException) -> bool:
    known = isinstance(error, OSError) and error.errno in FULL
    return known or (not isinstance(error, TrimtabError) and _FULL.search(str(error)) is not None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


def _short(error: BaseException, most: int = 300) -> str:
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return line if len(line) <= most else line[: most - 1] + "…"
