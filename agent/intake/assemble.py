"""A capture becomes an exchange (pure).

Lives here: the table of API shapes, and what is taken from where.
Comes in: `serving.wire.Capture`, bytes as they passed. Goes out: `Exchange`, not yet redacted.
Must never know: sockets, the clock, the store. Raises `Unreadable` and nothing else.

How the answer was cut into chunks decides `ttft_s` alone; the rest comes from the joined bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agent.intake import anthropic, openai_chat, openai_responses
from agent.intake.reply import Reply, mapping, text
from agent.intake.sse import events
from agent.types import Exchange, Message, Outcome, TrimtabError
from serving.wire import Capture

_LABEL_CHARS = 200
_LAST_UNIX_S = 253_402_300_799.0  # 9999-12-31
_STREAM = re.compile(rb"(?:\xef\xbb\xbf)?[\r\n]*(?:data|event|id|retry)?:")


class Unreadable(TrimtabError):
    """The capture is not what its path promises; store it by `unreadable`, without text."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How one API writes requests, whole answers and stream events."""

    asked: Callable[[Mapping[str, Any]], list[Message]]
    answered: Callable[[Mapping[str, Any], Reply], None]
    told: Callable[[Mapping[str, Any], Reply], bool]


CHAT = Shape(openai_chat.chat_asked, openai_chat.answered, openai_chat.told)
COMPLETION = Shape(openai_chat.completion_asked, openai_chat.answered, openai_chat.told)
RESPONSES = Shape(openai_responses.asked, openai_responses.answered, openai_responses.told)
MESSAGES = Shape(anthropic.asked, anthropic.answered, anthropic.told)

SHAPES = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": COMPLETION,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
}
"""Paths whose text is read; others are counted, without text. `/invocations` is known by its body."""
_BY_BODY = {"messages": CHAT, "prompt": COMPLETION}


def assemble(capture: Capture) -> Exchange:
    """The exchange in a capture. Raises `Unreadable` when a whole, good answer does not have its API's shape.

    Failed, abandoned and cut exchanges give what can be read, down to no text at all.
    """
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


def _assemble(capture: Capture) -> Exchange:
    started_at = _moment(capture.started_at)
    if started_at is None:
        raise ValueError(f"it started at {capture.started_at}, which is no time")
    outcome, good = Outcome(capture.outcome), capture.status == 200
    whole = good and outcome is Outcome.COMPLETE
    body = _object(capture.request, "the request", strict=whole and not capture.request_cut)
    shape = SHAPES.get(capture.path) or (_shape_of(body) if capture.path == "/invocations" else None)
    reply, ttft_s, streamed = Reply(), None, _is_stream(body, capture.response)
    if shape and good and streamed:
        ttft_s = _read_stream(capture, shape, reply)
    elif shape and good:
        strict = whole and not capture.response_cut
        shape.answered(_object(capture.response, "the answer", strict=strict), reply)
    asked_model = text(body.get("model"))
    return Exchange(
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
        streamed=streamed,
        user=_user(body, capture.headers),
        conversation=_conversation(body, capture.headers),
        template=_label(mapping(body.get("metadata")).get("template")),
        prompt_tokens=reply.prompt_tokens,
        answer_tokens=reply.answer_tokens,
        ttft_s=ttft_s,
        total_s=capture.total_us / 1e6,
        request_cut_bytes=capture.request_cut,
        response_cut_bytes=capture.response_cut,
    )


def _shape_of(body: Mapping[str, Any]) -> Shape | None:
    return next((shape for key, shape in _BY_BODY.items() if key in body), None)


def _object(raw: bytes, what: str, *, strict: bool) -> Mapping[str, Any]:
    """The JSON object in bytes; when it is none, ValueError if strict, else an empty object."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if strict and not isinstance(found, dict):
        raise ValueError(f"{what} is not a JSON object")
    return mapping(found)


def _is_stream(body: Mapping[str, Any], response: bytes) -> bool:
    return bool(_STREAM.match(response)) if response else body.get("stream") is True


def _read_stream(capture: Capture, shape: Shape, reply: Reply) -> float | None:
    """Feed every event to the shape; seconds from the request to the chunk that brought the first content."""
    first_end = None
    last = len(capture.response)
    for end, data in events(capture.response):
        if data == b"[DONE]":
            continue
        strict = end < last or not capture.response_cut
        strict = strict and capture.outcome == "complete"
        if shape.told(_object(data, "an event of the stream", strict=strict), reply) and first_end is None:
            first_end = end
    if first_end is None:
        return None
    seen = 0
    for offset_us, nbytes in capture.marks:
        seen += nbytes
        if seen >= first_end:
            return offset_us / 1e6
    return None


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
    return next((name for name in names if name and isinstance(name, str)), None)


def _label(value: Any) -> str | None:
    return text(value)[:_LABEL_CHARS] or None


def _own_id(capture: Capture) -> str:
    return f"{capture.worker}-{capture.seq}"


def _moment(unix_s: float) -> datetime | None:
    fits = math.isfinite(unix_s) and 0 <= unix_s <= _LAST_UNIX_S
    return datetime.fromtimestamp(unix_s, UTC) if fits else None
