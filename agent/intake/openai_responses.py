"""OpenAI responses: requests, whole answers, stream events (pure).

Lives here: the shape with typed items instead of messages.
Comes in: decoded JSON. Goes out: messages; changes to a `Reply`.
Must never know: captures, times, other APIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.intake.reply import Reply, call, content, items, mapping, position, text
from agent.types import Message

_FINISH = {"completed": "stop", "incomplete": "length", "failed": "error", "cancelled": "cancelled"}
_ENDS = ("response.completed", "response.incomplete", "response.failed")


def asked(body: Mapping[str, Any]) -> list[Message]:
    """Instructions as the system message, then the input items as messages."""
    messages = []
    if text(body.get("instructions")):
        messages.append(Message(role="system", text=text(body["instructions"])))
    given = body.get("input")
    if isinstance(given, str):
        return [*messages, Message(role="user", text=given)]
    for item in map(mapping, items(given)):
        if item.get("type") == "function_call":
            messages.append(Message(role="assistant", text=call(item.get("name"), item.get("arguments"))))
        elif item.get("type") == "function_call_output":
            messages.append(Message(role="tool", text=content(item.get("output"))))
        elif item.get("type") != "reasoning":
            messages.append(Message(role=text(item.get("role")) or "user", text=content(item.get("content"))))
    return messages


def offered(body: Mapping[str, Any]) -> list[str]:
    """Names of the tools that the model may call; built-in ones are named by their type."""
    return [text(tool.get("name")) or text(tool.get("type")) for tool in map(mapping, items(body.get("tools")))]


def answered(body: Mapping[str, Any], reply: Reply) -> None:
    """Read a whole response object; it replaces what a stream has told so far."""
    reply.name(body)
    reply.spend(body.get("usage"), "input_tokens", "output_tokens")
    reply.failed = reply.failed or isinstance(body.get("error"), dict) or body.get("status") == "failed"
    reply.choices.clear()
    reply.logprobs.clear()
    choice = reply.choice(0)
    for n, item in enumerate(map(mapping, items(body.get("output")))):
        if item.get("type") == "function_call":
            choice.tool(n, item.get("name"), item.get("arguments"))
        elif item.get("type") == "reasoning":
            choice.reasoning.append(content(item.get("content")) or content(item.get("summary")))
        else:
            choice.text.append(content(item.get("content")))
            for part in map(mapping, items(item.get("content"))):
                reply.weigh(part.get("logprobs"))
    reason = text(mapping(body.get("incomplete_details")).get("reason"))
    reason = {"max_output_tokens": "length"}.get(reason, reason)
    choice.finish_reason = reason or _FINISH.get(text(body.get("status")))


def told(event: Mapping[str, Any], reply: Reply) -> bool:
    """Read one stream event; True when it brought content. The last event holds the whole response."""
    kind = text(event.get("type"))
    response = mapping(event.get("response"))
    if kind in _ENDS and response:
        answered(response, reply)
        return False
    reply.name(response)
    reply.failed = reply.failed or kind == "error"
    choice, delta = reply.choice(0), text(event.get("delta"))
    if kind == "response.output_text.delta":
        choice.text.append(delta)
        reply.weigh(event.get("logprobs"))
    elif kind.startswith("response.reasoning") and kind.endswith(".delta"):
        choice.reasoning.append(delta)
    elif kind == "response.function_call_arguments.delta":
        choice.tool(position(event.get("output_index")), None, delta)
    elif kind == "response.output_item.added":
        item = mapping(event.get("item"))
        if item.get("type") == "function_call":
            choice.tool(position(event.get("output_index")), item.get("name"), None)
    return bool(delta)
