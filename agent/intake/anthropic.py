"""Anthropic messages: requests, whole answers, stream events (pure).

Lives here: the shape with content blocks.
Comes in: decoded JSON. Goes out: messages; changes to a `Reply`.
Must never know: captures, times, other APIs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from agent.intake.reply import Choice, Reply, call, content, items, mapping, position, text
from agent.types import Message


def asked(body: Mapping[str, Any]) -> list[Message]:
    """The system text as a message, then the messages; tool uses and results stand in their text."""
    messages = []
    system = content(body.get("system"))
    if system:
        messages.append(Message(role="system", text=system))
    for message in map(mapping, items(body.get("messages"))):
        said = [content(message.get("content"))]
        blocks = map(mapping, items(message.get("content")))
        said += [call(b.get("name"), b.get("input")) for b in blocks if b.get("type") == "tool_use"]
        messages.append(Message(role=text(message.get("role")), text="\n".join(part for part in said if part)))
    return messages


def offered(body: Mapping[str, Any]) -> list[str]:
    """Names of the tools that the model may call."""
    return [text(mapping(tool).get("name")) for tool in items(body.get("tools"))]


def answered(body: Mapping[str, Any], reply: Reply) -> None:
    """Read a whole message object."""
    reply.name(body)
    reply.spend(body.get("usage"), "input_tokens", "output_tokens")
    reply.failed = reply.failed or body.get("type") == "error"
    choice = reply.choice(0)
    for n, block in enumerate(map(mapping, items(body.get("content")))):
        _block(n, block, choice)
    choice.finish_reason = text(body.get("stop_reason")) or choice.finish_reason


def told(event: Mapping[str, Any], reply: Reply) -> bool:
    """Read one stream event; True when it brought content."""
    kind = text(event.get("type"))
    choice, index = reply.choice(0), position(event.get("index"))
    if kind == "message_start":
        answered(mapping(event.get("message")), reply)
    elif kind == "content_block_start":
        return _block(index, mapping(event.get("content_block")), choice)
    elif kind == "content_block_delta":
        return _delta(index, mapping(event.get("delta")), choice)
    elif kind == "message_delta":
        reply.spend(event.get("usage"), "input_tokens", "output_tokens")
        choice.finish_reason = text(mapping(event.get("delta")).get("stop_reason")) or choice.finish_reason
    elif kind == "error":
        reply.failed = True
    return False


def _block(index: int, block: Mapping[str, Any], choice: Choice) -> bool:
    if block.get("type") == "tool_use":
        given = block.get("input")
        return choice.tool(index, block.get("name"), json.dumps(given, ensure_ascii=False) if given else None)
    choice.text.append(text(block.get("text")))
    choice.reasoning.append(text(block.get("thinking")))
    return bool(block.get("text") or block.get("thinking"))


def _delta(index: int, delta: Mapping[str, Any], choice: Choice) -> bool:
    if delta.get("type") == "input_json_delta":
        return choice.tool(index, None, delta.get("partial_json"))
    choice.text.append(text(delta.get("text")))
    choice.reasoning.append(text(delta.get("thinking")))
    return bool(delta.get("text") or delta.get("thinking"))
