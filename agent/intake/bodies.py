"""Bodies as they were before compression (pure).

Lives here: `unpacked`, for bodies that a proxy, a client or a middleware compressed.
Comes in: bytes, what the headers say of them, when each chunk passed. Goes out: the plain bytes and their chunks.
Must never know: JSON, captures.

Of an answer only the bytes are known, not its headers; gzip says itself what it is. A few kilobytes can unpack to
gigabytes, so unpacking stops at `MAX_BYTES`.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

MAX_BYTES = 32 * 1024 * 1024
_GZIP = b"\x1f\x8b\x08"
_AS_GZIP, _AS_ZLIB = 31, 15
_WINDOWS = {"gzip": _AS_GZIP, "x-gzip": _AS_GZIP, "deflate": _AS_ZLIB}
Marks = Sequence[tuple[int, int]]


def unpacked(raw: bytes, marks: Marks = (), *, encoding: str = "", strict: bool = True) -> tuple[bytes, Marks]:
    """The plain bytes, and for each mark (offset_us, nbytes) how many of them it brought.

    Raises ValueError for an encoding that is not gzip or deflate, for a body that unpacks to more than `MAX_BYTES`,
    and, if strict, for a damaged or short one; else a short one gives what there is, a damaged one nothing.
    """
    named = encoding.strip().lower()
    window = _AS_GZIP if raw.startswith(_GZIP) else _WINDOWS.get(named)
    if not raw or (window is None and named in ("", "identity")):
        return raw, marks
    if window is None:
        if strict:
            raise ValueError(f"it is encoded as {named[:20]!r}, which nobody here can read")
        return b"", ()
    return _unpack(raw, marks, window, strict=strict)


def _unpack(raw: bytes, marks: Marks, window: int, *, strict: bool) -> tuple[bytes, Marks]:
    machine, at, total = zlib.decompressobj(window), 0, 0
    plain: list[bytes] = []
    told: list[tuple[int, int]] = []
    try:
        for offset_us, nbytes in [*marks, (0, len(raw))]:
            piece, brought = raw[at : at + nbytes], 0
            at += len(piece)
            while piece:
                out = machine.decompress(piece, MAX_BYTES + 1 - total)
                total, brought = total + len(out), brought + len(out)
                plain.append(out)
                if total > MAX_BYTES:
                    raise ValueError(f"it unpacks to more than {MAX_BYTES} bytes")
                piece = machine.unused_data
                if machine.eof and piece:
                    machine = zlib.decompressobj(window)
            told.append((offset_us, brought))
    except zlib.error as why:
        if strict:
            raise ValueError(f"it is damaged: {why}") from why
        return b"", ()
    if strict and not machine.eof:
        raise ValueError("it ends before its compressed data do")
    return b"".join(plain), told[: len(marks)]
