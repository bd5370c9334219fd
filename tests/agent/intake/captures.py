"""Captures as a tap would make them; no test here, only material."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from serving.wire import Capture

WORKER = "a" * 32


def capture(
    request: Any,
    response: Any,
    *,
    path: str = "/v1/chat/completions",
    seq: int = 1,
    chunks: Iterable[int] = (),
    **changes: Any,
) -> Capture:
    """A capture whose response arrived in chunks of the given sizes (the rest in one), 1 ms apart."""
    body = response if isinstance(response, bytes) else json.dumps(response).encode()
    marks: list[tuple[int, int]] = []
    left = len(body)
    for size in [*chunks, left]:
        taken = min(size, left)
        left -= taken
        if taken:
            marks.append((1000 * (len(marks) + 1), taken))
    values: dict[str, Any] = {
        "worker": WORKER,
        "seq": seq,
        "started_at": 1_790_000_000.0,
        "method": "POST",
        "path": path,
        "alias": None,
        "version": None,
        "status": 200,
        "outcome": "complete",
        "headers": {},
        "request": request if isinstance(request, bytes) else json.dumps(request).encode(),
        "response": body,
        "marks": tuple(marks),
        "request_cut": 0,
        "response_cut": 0,
        "total_us": 2_500_000,
        "dropped": 0,
    }
    return Capture(**{**values, **changes})


def sse(events: Iterable[Mapping[str, Any]], *, named: bool = False, done: bool = True) -> bytes:
    """A stream of events as vLLM writes them."""
    lines = []
    for event in events:
        if named:
            lines.append(f"event: {event['type']}\n")
        lines.append(f"data: {json.dumps(event)}\n\n")
    return ("".join(lines) + ("data: [DONE]\n\n" if done else "")).encode()


CHAT = {"model": "home", "user": "ada", "messages": [{"role": "user", "content": "turn on the light"}]}
CHAT_ANSWER = {
    "id": "chatcmpl-1",
    "model": "home-v1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "light on"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 2},
}
CHAT_EVENTS: list[dict[str, Any]] = [
    {"id": "chatcmpl-1", "model": "home-v1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]},
    {"id": "chatcmpl-1", "model": "home-v1", "choices": [{"index": 0, "delta": {"content": "light"}}]},
    {"id": "chatcmpl-1", "model": "home-v1", "choices": [{"index": 0, "delta": {"content": " on"}}]},
    {"id": "chatcmpl-1", "model": "home-v1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    {"id": "chatcmpl-1", "model": "home-v1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}},
]
