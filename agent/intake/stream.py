"""A streamed answer, event by event or a run of like events at once (pure).

Lives here: `read_stream`.
Comes in: the whole bytes of a stream, a shape. Goes out: changes to a `Reply`; where content began and ended.
Must never know: captures, times.

Nearly all events of a stream differ in one string, the piece of text they bring. Those in a known mould are not
decoded (`mould.py`); of those that follow one another in the same mould the strings are cut out at once (`cut.py`).
"""

from __future__ import annotations

from typing import NamedTuple

from agent.intake.cut import follow
from agent.intake.mould import Caster
from agent.intake.reply import Reply, decoded
from agent.intake.shapes import Shape
from agent.intake.sse import events


class Span(NamedTuple):
    """Bytes of a stream: after the event that brought the first content, after the one that brought the last."""

    first: int
    last: int


def read_stream(stream: bytes, shape: Shape, reply: Reply, *, strict: bool, whole: bool) -> Span | None:
    """Feed all events to the shape. None when no content came.

    Raises ValueError, if strict, for an event that is no JSON object, except the last one of a stream not whole.
    """
    first = last = 0
    caster = Caster(shape.told)
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
        cast = caster.cast(stream, start, end)
        came = caster.fill(cast, reply) if cast is not None and cast.mould.alone else None
        if came is None:
            event = decoded(data, "an event of the stream", strict=strict and (whole or end < end_of_all))
            came = shape.told(event, reply)
        if not came:
            continue
        first, last = first or end, end
        if cast is not None:
            after = follow(stream, end, cast.prefix, cast.suffix, cast.mould.pieces(reply))
            if after > end:
                last = jump = after
    return Span(first, last) if first else None
