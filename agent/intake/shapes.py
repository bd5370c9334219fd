"""The API shapes whose text is read, by path (pure).

Lives here: one row an API: how it writes requests, whole answers and stream events.
Comes in: a path, a request's body. Goes out: the shape, or None for what is only counted.
Must never know: captures, times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.intake import anthropic, embeddings, openai_chat, openai_responses
from agent.intake.reply import Reply
from agent.types import Message

BATCH = "/v1/chat/completions/batch"


@dataclass(frozen=True, slots=True)
class Shape:
    """How one API writes. `lax`: an answer that is no JSON (raw vectors) is counted, not unreadable."""

    asked: Callable[[Mapping[str, Any]], list[Message]]
    offered: Callable[[Mapping[str, Any]], list[str]]
    answered: Callable[[Mapping[str, Any], Reply], None]
    told: Callable[[Mapping[str, Any], Reply], bool]
    lax: bool = False


CHAT = Shape(openai_chat.chat_asked, openai_chat.offered, openai_chat.answered, openai_chat.told)
BATCHED = Shape(openai_chat.batch_asked, openai_chat.offered, openai_chat.answered, openai_chat.told)
COMPLETION = Shape(openai_chat.completion_asked, openai_chat.offered, openai_chat.answered, openai_chat.told)
RESPONSES = Shape(openai_responses.asked, openai_responses.offered, openai_responses.answered, openai_responses.told)
MESSAGES = Shape(anthropic.asked, anthropic.offered, anthropic.answered, anthropic.told)
EMBEDDINGS = Shape(embeddings.asked, embeddings.offered, embeddings.answered, embeddings.told, lax=True)

SHAPES = {
    "/v1/chat/completions": CHAT,
    BATCH: BATCHED,
    "/v1/completions": COMPLETION,
    "/v1/responses": RESPONSES,
    "/v1/messages": MESSAGES,
    "/v1/embeddings": EMBEDDINGS,
}
_BY_BODY = {"messages": CHAT, "prompt": COMPLETION, "input": EMBEDDINGS}


def shape_of(path: str, body: Mapping[str, Any]) -> Shape | None:
    """The shape of an exchange; `/invocations` serves several APIs and is known by its body."""
    if path == "/invocations":
        return next((shape for key, shape in _BY_BODY.items() if key in body), None)
    return SHAPES.get(path)
