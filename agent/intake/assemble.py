"""A capture becomes an exchange (pure).

Lives here: what is taken from where.
Comes in: `serving.wire.Capture`, bytes as they passed. Goes out: `Exchange`, not yet redacted.
Must never know: sockets, the clock, the store. Raises `Unreadable` and nothing else.

How the answer was cut into chunks decides `ttft_s` and the gaps alone; the rest comes from the joined bytes.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import accumulate
from operator import sub
from typing import Any, NamedTuple

from agent.intake.bodies import Marks, unpacked
from agent.intake.reply import Reply, decoded, mapping, text
from agent.intake.shapes import Shape, shape_of
from agent.intake.stream import Span, read_stream
from agent.types import Exchange, Outcome, TrimtabError
from serving.wire import Capture

_LABEL_CHARS = 4000
_MAX_TOOLS = 128
_LAST_UNIX_S = 253_402_300_799.0  # 9999-12-31
_STREAM = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*(?:data|event|id|retry)?:")


class Unreadable(TrimtabError):
    """The capture is not what its path promises; store it by `unreadable`, without text."""


class Assembled(NamedTuple):
    """An exchange, and what the client asked its response to be called, if it did."""

    exchange: Exchange
    chosen_id: str | None


def assemble(capture: Capture) -> Exchange:
    """The exchange in a capture. Raises `Unreadable` when a whole, good answer does not have its API's shape.

    Failed, abandoned and cut exchanges give what can be read, down to no text at all.
    """
    return read(capture).exchange


def read(capture: Capture) -> Assembled:
    """As `assemble`, with what redaction must know beside it."""
    try:
        return _assemble(capture)
    except (ValueError, RecursionError) as why:
        raise Unreadable(f"{capture.method} {capture.path} cannot be read: {why}") from why


def unreadable(capture: Capture) -> Exchange:
    """The exchange that stands for a capture nobody can read: counted, without text. Never raises."""
    return Exchange(
        id=_own_id(capture),
        worker=capture.worker,
        seq=capture.seq,
        started_at=_moment(capture.started_at) or datetime.fromtimestamp(0, UTC),
        path=capture.path,
        alias=_label(capture.alias) or "",
        version=_label(capture.version) or "",
        status=capture.status,
        outcome=Outcome.UNREADABLE,
        messages=(),
        answer="",
        total_s=capture.total_us / 1e6,
        request_cut_bytes=capture.request_cut,
        response_cut_bytes=capture.response_cut,
    )


def _assemble(capture: Capture) -> Assembled:
    started_at = _moment(capture.started_at)
    if started_at is None:
        raise ValueError(f"it started at {capture.started_at}, which is no time")
    outcome, good, headers = Outcome(capture.outcome), capture.status == 200, capture.headers
    whole = good and outcome is Outcome.COMPLETE
    strict = whole and not capture.request_cut
    request, _ = unpacked(capture.request, encoding=headers.get("content-encoding", ""), strict=strict)
    body = decoded(request, "the request", strict=strict)
    shape = shape_of(capture.path, body)
    reply, told = Reply(), _Told()
    if shape and good:
        told = _read_answer(capture, body, shape, reply, whole=whole and not capture.response_cut)
    asked_model, metadata = text(body.get("model")), mapping(body.get("metadata"))
    exchange = Exchange(
        id=_label(reply.id) or _own_id(capture),
        worker=capture.worker,
        seq=capture.seq,
        started_at=started_at,
        path=capture.path,
        alias=_label(capture.alias or asked_model) or "",
        version=_label(capture.version or reply.model or asked_model) or "",
        status=capture.status,
        outcome=Outcome.ERROR if reply.failed else outcome,
        messages=tuple(shape.asked(body)) if shape else (),
        answer=reply.answer,
        reasoning=reply.reasoning,
        finish_reason=_label(reply.finish_reason),
        streamed=told.streamed,
        user=_user(body, headers),
        conversation=_conversation(body, headers),
        template=_label(metadata.get("template")) or _label(headers.get("x-trimtab-template")),
        template_version=_label(metadata.get("template_version")) or _label(headers.get("x-trimtab-template-version")),
        prompt_tokens=reply.prompt_tokens,
        answer_tokens=reply.answer_tokens,
        ttft_s=told.ttft_s,
        total_s=capture.total_us / 1e6,
        request_cut_bytes=capture.request_cut,
        response_cut_bytes=capture.response_cut,
        tools=tuple(name for name in shape.offered(body)[:_MAX_TOOLS] if name) if shape else (),
        tool_calls=reply.tool_calls,
        answers=reply.answers,
        logprob_mean=reply.logprob_mean,
        gap_p50_s=told.gap_p50_s,
        gap_max_s=told.gap_max_s,
    )
    return Assembled(exchange, text(body.get("request_id")) or headers.get("x-request-id"))


class _Told(NamedTuple):
    """How an answer came."""

    streamed: bool = False
    ttft_s: float | None = None
    gap_p50_s: float | None = None
    gap_max_s: float | None = None


def _read_answer(capture: Capture, body: Mapping[str, Any], shape: Shape, reply: Reply, *, whole: bool) -> _Told:
    response, marks = unpacked(capture.response, capture.marks, strict=whole)
    if not (_STREAM.match(response) if response else body.get("stream") is True):
        shape.answered(decoded(response, "the answer", strict=whole and not shape.lax), reply)
        return _Told()
    complete = capture.outcome == Outcome.COMPLETE
    span = read_stream(response, shape, reply, strict=complete, whole=whole)
    return _Told(streamed=True) if span is None else _times(span, marks)


def _times(span: Span, marks: Marks) -> _Told:
    """Seconds to the chunk that completed the first content, and between the chunks from there to the last content."""
    if not marks:
        return _Told(streamed=True)
    offsets, sizes = zip(*marks, strict=True)
    ends = [*accumulate(sizes)]
    moments = offsets[bisect_left(ends, span.first) : bisect_left(ends, span.last) + 1]
    if not moments:
        return _Told(streamed=True)
    gaps = sorted(map(sub, moments[1:], moments))
    if not gaps:
        return _Told(streamed=True, ttft_s=moments[0] / 1e6)
    median = (gaps[len(gaps) // 2] + gaps[(len(gaps) - 1) // 2]) / 2
    return _Told(streamed=True, ttft_s=moments[0] / 1e6, gap_p50_s=median / 1e6, gap_max_s=gaps[-1] / 1e6)


def _user(body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """Who asked, raw; redaction turns it into a keyed hash."""
    in_metadata = mapping(body.get("metadata")).get("user_id")
    return _first(body.get("user"), body.get("safety_identifier"), in_metadata, headers.get("x-trimtab-user"))


def _conversation(body: Mapping[str, Any], headers: Mapping[str, str]) -> str | None:
    """Which conversation, raw; redaction turns it into a keyed hash."""
    metadata, own = mapping(body.get("metadata")), body.get("conversation")
    in_metadata = metadata.get("conversation"), metadata.get("conversation_id")
    return _first(*in_metadata, own, mapping(own).get("id"), headers.get("x-trimtab-conversation"))


def _first(*names: Any) -> str | None:
    for name in names:
        if name and isinstance(name, str):
            return name
    return None


def _label(value: Any) -> str | None:
    return text(value)[:_LABEL_CHARS] or None


def _own_id(capture: Capture) -> str:
    return f"{capture.worker}-{capture.seq}"


def _moment(unix_s: float) -> datetime | None:
    fits = math.isfinite(unix_s) and 0 <= unix_s <= _LAST_UNIX_S
    return datetime.fromtimestamp(unix_s, UTC) if fits else None
