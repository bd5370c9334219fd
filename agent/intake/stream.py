"""A streamed answer, event by event or a run of like events at once (pure).

Lives here: `read_stream`.
Comes in: the whole bytes of a stream, a shape. Goes out: changes to a `Reply`; where content began and ended.
Must never know: captures, times.

Nearly all events of a stream differ in one string: the piece of text they bring. Once an event has been read, those
that follow it with the same bytes around that string are not decoded one by one; their strings are cut out. A probe
proves first that the string is the piece: the shape must read the event, with the string exchanged, as just that.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from agent.intake.reply import Reply
from agent.intake.shapes import Shape
from agent.intake.sse import events

_VALUE = re.compile(
    rb'"(?:content|text|delta|reasoning|reasoning_content|arguments|thinking|partial_json)" ?: ?"'
    rb'(?=((?:[^"\\\x00-\x1f]|\\.)*+)")'
)
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*+')
_STRING = re.compile(rb'(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4}))*+')
_decode = json.JSONDecoder().decode
_PROBE = "trimtab\N{BULLET}probe"
_WINDOW_BYTES = 16 * 1024
_KEY_BYTES = 20
_BACKSLASH, _CONTINUES, _STARTS = 0x5C, 0x80, 0xC0
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of a stream: after the event that brought the first content, after the one that brought the last."""

    first: int
    last: int


def decoded(raw: bytes, what: str, *, strict: bool) -> Mapping[str, Any]:
    """The JSON object in bytes; when it is none, ValueError if strict, else an empty object."""
    try:
        # `{"` is UTF-8: what json.loads would find out for itself, at the price of reading a small object
        found = _decode(raw.decode("utf-8", "surrogatepass")) if raw.startswith(b'{"') else json.loads(raw)
    except (ValueError, RecursionError) as why:
        if strict:
            raise ValueError(f"{what} is not JSON: {why}") from why
        return {}
    if isinstance(found, dict):
        return found
    if strict:
        raise ValueError(f"{what} is not a JSON object")
    return {}


def read_stream(stream: bytes, shape: Shape, reply: Reply, *, strict: bool, whole: bool) -> Span | None:
    """Feed all events to the shape. None when no content came.

    Raises ValueError, if strict, for an event that is no JSON object, except the last one of a stream not whole.
    """
    first = last = 0
    end_of_all = len(stream)
    walk = events(stream)
    jump: int | None = None
    while True:
        try:
            start, end, data = next(walk) if jump is None else walk.send(jump)
        except StopIteration:
            break
        jump = None
        if data == b"[DONE]":
            continue
        event = decoded(data, "an event of the stream", strict=strict and (whole or end < end_of_all))
        if not shape.told(event, reply):
            continue
        first, last = first or end, end
        after = _run(stream, start, end, shape, reply)
        if after > end:
            last = jump = after
    return Span(first, last) if first else None


def _run(stream: bytes, start: int, end: int, shape: Shape, reply: Reply) -> int:
    """Take the events after [start, end) that differ from it in one string only; where they end."""
    for found in list(_VALUE.finditer(stream, start, end))[:_TRIES]:
        prefix, suffix = stream[start : found.end()], stream[found.end() + len(found[1]) : end]
        if not stream.startswith(prefix, end) or not suffix.endswith(b"\n\n"):
            continue
        pieces = _target(prefix + json.dumps(_PROBE).encode()[1:-1] + suffix, shape, reply)
        if pieces is not None:
            return _follow(stream, end, prefix, suffix, pieces)
    return end


def _target(frame: bytes, shape: Shape, reply: Reply) -> list[str] | None:
    """Where in the reply the string of such an event belongs; None when it is not simply a piece of text."""
    scratch = Reply()
    for _, _, data in events(frame):
        try:
            shape.told(decoded(data, "the probe", strict=True), scratch)
        except ValueError:
            return None
    if len(scratch.choices) != 1 or scratch.logprobs or scratch.failed:
        return None
    ((index, choice),) = scratch.choices.items()
    words, thoughts = "".join(choice.text), "".join(choice.reasoning)
    called = {n: pieces for n, (_, *pieces) in choice.tools.items()}
    real = reply.choice(index)
    if (words, thoughts, called) == (_PROBE, "", {}):
        return real.text
    if (words, thoughts, called) == ("", _PROBE, {}):
        return real.reasoning
    if (words, thoughts) == ("", "") and list(called.values()) == [[_PROBE]]:
        return real.tools[next(iter(called))]
    return None


def _follow(stream: bytes, at: int, prefix: bytes, suffix: bytes, pieces: list[str]) -> int:
    """Cut the strings out of like events, in windows that double, so that no stream costs more than linear time."""
    between, window = suffix + prefix, _WINDOW_BYTES
    key = prefix[-_KEY_BYTES:]  # short needles are found several times faster than long ones
    rest = between[: -len(key)]
    while stream.startswith(prefix, at):
        begin = at + len(prefix)
        stop = stream.find(b"\n\n", begin) + 2 - len(suffix)
        if stop < begin or not stream.startswith(suffix, stop):
            break
        pieces_of = stream[begin : max(begin + window, stop + len(suffix))].split(key)
        closing = pieces_of.pop()
        parts = [part[: -len(rest)] for part in pieces_of if part.endswith(rest)]
        if len(parts) < len(pieces_of):
            parts = [part[: -len(rest)] for part in takewhile(lambda part: part.endswith(rest), pieces_of)]
            closing = pieces_of[len(parts)]
        tail = closing.find(suffix)
        if tail >= 0:
            parts.append(closing[:tail])
        taken, texts = _texts(parts)
        pieces += texts
        at += sum(map(len, parts[:taken])) + taken * len(between)
        if not taken or taken < len(parts):
            break
        window *= 2
    return at


def _texts(parts: list[bytes]) -> tuple[int, list[str]]:
    """How many of the strings are whole JSON strings with something in them, and what these say."""
    joined = b"".join(parts)
    if b"" not in parts:
        if joined.isascii() and _PLAIN.fullmatch(joined):
            return len(parts), [joined.decode()]
        if _separable(parts, joined) and _STRING.fullmatch(joined):
            try:
                return len(parts), [json.loads(b'"%b"' % joined)]
            except ValueError:
                pass
    texts: list[str] = []
    for part in parts:
        if not part or not _STRING.fullmatch(part):
            break
        try:
            texts.append(json.loads(b'"%b"' % part))
        except ValueError:
            break
    return len(texts), texts


def _separable(parts: list[bytes], joined: bytes) -> bool:
    """True when no character and no escape reaches over two pieces: then they may be decoded as one."""
    if b"\\u" in joined and (b"\\ud" in joined or b"\\uD" in joined or not all(map(_STRING.fullmatch, parts))):
        return False
    return not any(part[-1] == _BACKSLASH or _CONTINUES <= part[0] < _STARTS for part in parts)
