"""Frames between the tap inside vLLM and the agent beside it. Pure, standard library only.

In: captures and small JSON messages, or bytes in any chunking. Out: bytes, or `(kind, payload)` pairs.
Must never know: sockets, event loops, what a chat completion looks like.

A frame is a big-endian u32 (the length of what follows), one byte that names the kind, and the payload. The times and
sizes of an answer's chunks stand in the machine's own byte order, since both ends run on it: packing them costs half.

===== ====== =========== ==========================================================
kind  number direction   payload
===== ====== =========== ==========================================================
HELLO      1 tap -> agent JSON `{"worker", "pid", "protocol"}`
EXCHANGE   2 tap -> agent one packed `Capture`
STATS      3 tap -> agent JSON `{"seq": last assigned, "dropped": cumulative}`
TABLE     16 agent -> tap JSON `{"aliases": {alias: {version: weight}}}`
ACK       17 agent -> tap JSON `{"seqs": [...]}`, sent once the exchanges are committed
===== ====== =========== ==========================================================
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from serving.errors import TrimtabError

PROTOCOL = 3
HELLO, EXCHANGE, STATS = 1, 2, 3
TABLE, ACK = 16, 17

MAX_FRAME_BYTES = 64 * 1024 * 1024
OUTCOMES = ("complete", "client_gone", "error")

_FRAME = struct.Struct(">IB")
# seq, started_at, begun, ended, status, outcome, request_cut, response_cut, dropped, then how much follows:
# headers, marks, bytes of the request, bytes of the answer
_FIXED_FORM = "QdddHBQQQHIII"
_FIXED = struct.Struct(">" + _FIXED_FORM)
_HEAD = struct.Struct(">IB" + _FIXED_FORM)  # the frame's own head, and the fixed part, in one
_U16 = struct.Struct(">H")
_NONE = 0xFFFF
_MARK_BYTES = 12
_LONG_BYTES = 4096  # of a request: from here on it is not copied once more, into one piece with the rest

Frame = tuple[int, tuple[bytes, ...]]
"""A frame in pieces, its bytes counted: bodies stand in it as they came."""


class WireFault(TrimtabError):
    """The bytes are not frames of this protocol; the connection that brought them cannot be trusted further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One HTTP exchange as it passed vLLM's door, bytes untouched.

    `(worker, seq)` names it for ever: `worker` is the hex name of the API process, `seq` counts 1, 2, 3 in it.
    `started_at` is unix time in seconds. `marks` holds, per copied response chunk, `(offset_us, nbytes)`; the
    nbytes add up to `len(response)`. `*_cut` count the bytes that passed but were not copied (the cap).
    `dropped` is the number of exchanges that this worker has dropped so far.
    """

    worker: str
    seq: int
    started_at: float
    method: str
    path: str
    alias: str | None
    version: str | None
    status: int
    outcome: str
    headers: dict[str, str]
    request: bytes
    response: bytes
    marks: tuple[tuple[int, int], ...]
    request_cut: int
    response_cut: int
    total_us: int
    dropped: int


def frame(kind: int, payload: bytes) -> bytes:
    """Bytes of one frame."""
    return _FRAME.pack(len(payload) + 1, kind) + payload


def frame_json(kind: int, message: Mapping[str, Any]) -> bytes:
    """Bytes of one frame whose payload is JSON."""
    return frame(kind, json.dumps(message, separators=(",", ":")).encode())


def encode_hello(worker: str, pid: int) -> bytes:
    """The first frame of each connection."""
    return frame_json(HELLO, {"worker": worker, "pid": pid, "protocol": PROTOCOL})


def encode_stats(seq: int, dropped: int) -> bytes:
    """How far this worker has counted: lost exchanges are `seq` minus those stored."""
    return frame_json(STATS, {"seq": seq, "dropped": dropped})


def encode_table(aliases: Mapping[str, Mapping[str, float]]) -> bytes:
    """The whole alias table; it replaces the one before."""
    return frame_json(TABLE, {"aliases": aliases})


def encode_ack(seqs: Iterable[int]) -> bytes:
    """These exchanges are committed and need not be sent again."""
    return frame_json(ACK, {"seqs": list(seqs)})


def decode_json(payload: bytes) -> dict[str, Any]:
    """The JSON object in a payload. Raises `WireFault` when it is not one."""
    try:
        message = json.loads(payload)
    except ValueError as why:
        raise WireFault(f"a frame's JSON cannot be read: {why}") from why
    if not isinstance(message, dict):
        raise WireFault("a frame's JSON is not an object")
    return message


def pack_text(value: str | None) -> bytes:
    """A length-prefixed string; what does not fit 65,534 bytes is cut."""
    if value is None:
        return b"\xff\xff"
    raw = value.encode("utf-8", "surrogatepass")[: _NONE - 1]
    return _U16.pack(len(raw)) + raw


@lru_cache(maxsize=256)
def pack_names(worker: str, method: str, path: str, alias: str | None, version: str | None) -> bytes:
    """The names of a capture, packed once: they come again and again."""
    return b"".join(map(pack_text, (worker, method, path, alias, version)))


@lru_cache(maxsize=256)
def _marks(n: int) -> struct.Struct:
    """The form of `n` marks: all times, then all sizes."""
    return struct.Struct(f"@{n}d{n}I")


def pack_header(packed_name: bytes, value: bytes) -> bytes:
    """One header as it stands in HTTP (latin-1), packed, its name already; cut at 65,534 bytes."""
    if not value.isascii() or len(value) >= _NONE:
        return packed_name + pack_text(value.decode("latin-1"))
    return packed_name + _U16.pack(len(value)) + value


def pack(
    names: bytes, seq: int, started_at: float, begun: float, ended: float, status: int, outcome: int,
    headers: Sequence[bytes], request: Sequence[bytes], request_bytes: int, response: Sequence[bytes],
    response_bytes: int, times: Sequence[float], sizes: Iterable[int], request_cut: int, response_cut: int,
    dropped: int,
) -> Frame:  # fmt: skip
    """The whole EXCHANGE frame from loose parts: the tap's fast way, `encode_capture` is the plain one.

    `names` and each header come packed; `outcome` is the index in `OUTCOMES`; `begun`, `ended` and `times` (with
    `sizes` in bytes, one of each per response chunk) are seconds of one clock whose zero does not matter: the reader
    subtracts, not vLLM's process. The bodies come as their chunks with their summed lengths.
    """
    n_marks = len(times)
    rest = b"".join(headers)
    length = _HEAD.size - 4 + len(names) + len(rest) + _MARK_BYTES * n_marks + request_bytes + response_bytes
    head = _HEAD.pack(
        length, EXCHANGE, seq, started_at, begun, ended, status, outcome, request_cut, response_cut, dropped,
        len(headers), n_marks, request_bytes, response_bytes,
    )  # fmt: skip
    front = (head, names, rest, _marks(n_marks).pack(*times, *sizes))
    if request_bytes < _LONG_BYTES:
        return length + 4, (b"".join((*front, *request, *response)),)
    return length + 4, (b"".join(front), *request, b"".join(response))


def encode_capture(capture: Capture) -> bytes:
    """The whole EXCHANGE frame of one capture. Raises `ValueError` for an outcome that is not in `OUTCOMES`."""
    c = capture
    _, pieces = pack(
        pack_names(c.worker, c.method, c.path, c.alias, c.version), c.seq, c.started_at, 0.0, c.total_us / 1e6,
        c.status, OUTCOMES.index(c.outcome), [pack_text(name) + pack_text(value) for name, value in c.headers.items()],
        [c.request], len(c.request), [c.response], len(c.response), [at_us / 1e6 for at_us, _ in c.marks],
        [nbytes for _, nbytes in c.marks], c.request_cut, c.response_cut, c.dropped,
    )  # fmt: skip
    return b"".join(pieces)


class _Reader:
    """Reads one payload from front to back."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def unpack(self, form: struct.Struct) -> tuple[Any, ...]:
        values = form.unpack_from(self._data, self._at)
        self._at += form.size
        return values

    def take(self, n: int) -> bytes:
        piece = self._data[self._at : self._at + n]
        if len(piece) != n:
            raise WireFault("a capture ends before its parts do")
        self._at += n
        return piece

    def text(self) -> str | None:
        (n,) = self.unpack(_U16)
        return None if n == _NONE else self.take(n).decode("utf-8", "replace")

    def done(self) -> bool:
        return self._at == len(self._data)


def decode_capture(payload: bytes) -> Capture:
    """The capture in an EXCHANGE payload. Raises `WireFault` when the payload is damaged."""
    reader = _Reader(payload)
    try:
        (
            seq, started_at, begun, ended, status, outcome, request_cut, response_cut, dropped,
            n_headers, n_marks, request_bytes, response_bytes,
        ) = reader.unpack(_FIXED)  # fmt: skip
        worker, method, path, alias, version = (reader.text() for _ in range(5))
        headers = {reader.text() or "": reader.text() or "" for _ in range(n_headers)}
        marks = struct.unpack(f"@{n_marks}d{n_marks}I", reader.take(_MARK_BYTES * n_marks))
        times, sizes = marks[:n_marks], marks[n_marks:]
        offsets = [round((at - begun) * 1e6) for at in times]
        total_us = round((ended - begun) * 1e6)
        request, response = reader.take(request_bytes), reader.take(response_bytes)
        named = OUTCOMES[outcome]
    except (struct.error, IndexError, ValueError, OverflowError) as why:  # the last: a time that is infinite
        raise WireFault(f"a capture cannot be read: {why}") from why
    if not reader.done():
        raise WireFault("a capture goes on after its end")
    return Capture(
        worker=worker or "", seq=seq, started_at=started_at, method=method or "", path=path or "", alias=alias,
        version=version, status=status, outcome=named, headers=headers, request=request, response=response,
        marks=tuple(zip(offsets, sizes, strict=True)), request_cut=request_cut, response_cut=response_cut,
        total_us=total_us, dropped=dropped,
    )  # fmt: skip


class Decoder:
    """Turns bytes in any chunking into frames; keeps what is not yet whole."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._held = bytearray()
        self._max = max_frame_bytes

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that `data` completes. Raises `WireFault` on a length that no frame can have."""
        held = self._held
        held += data
        frames: list[tuple[int, bytes]] = []
        at = 0
        while len(held) - at >= _FRAME.size:
            length, kind = _FRAME.unpack_from(held, at)
            if not 1 <= length <= self._max:
                raise WireFault(f"a frame of {length} bytes is outside 1 to {self._max}")
            if len(held) - at < 4 + length:
                break
            frames.append((kind, bytes(held[at + 5 : at + 4 + length])))
            at += 4 + length
        if at:
            del held[:at]
        return frames
