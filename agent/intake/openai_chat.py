"""OpenAI chat completions and completions: requests, whole answers, stream events (pure).

Lives here: the two oldest shapes, which differ in where the text stands.
Comes in: decoded JSON. Goes out: messages; changes to a `Reply`.
Must never know: captures, times, other APIs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.intake.reply import Reply, calls, content, items, mapping, position, text
from agent.types import Message


def chat_asked(body: Mapping[str, Any]) -> list[Message]:
    """Messages of a chat request; tool calls of earlier turns stand in their text."""
    asked = []
    for item in items(body.get("messages")):
        message = mapping(item)
        words = message.get("content")
        if isinstance(words, str) and not message.get("tool_calls"):
            asked.append(Message(role=text(message.get("role")), text=words))
            continue
        said = [content(words), *calls(message.get("tool_calls"))]
        asked.append(Message(role=text(message.get("role")), text="\n".join(part for part in said if part)))
    return asked


def batch_asked(body: Mapping[str, Any]) -> list[Message]:
    """Messages of several conversations, one after the other; answer n belongs to conversation n."""
    return [message for asked in items(body.get("messages")) for message in chat_asked({"messages": asked})]


def offered(body: Mapping[str, Any]) -> list[str]:
    """Names of the tools that the model may call."""
    return [text(mapping(mapping(tool).get("function")).get("name")) for tool in items(body.get("tools"))]


def completion_asked(body: Mapping[str, Any]) -> list[Message]:
    """The prompt as one user message; prompts of token ids have no text."""
    return [Message(role="user", text=content(body.get("prompt")))]


def answered(body: Mapping[str, Any], reply: Reply) -> None:
    """Read a whole answer."""
    told(body, reply)


def told(body: Mapping[str, Any], reply: Reply) -> bool:
    """Read a whole answer (`message`, or plain `text`) or an event (`delta`); True when content came."""
    reply.name(body)
    if body.get("usage"):
        reply.spend(body["usage"], "prompt_tokens", "completion_tokens")
    reply.failed = reply.failed or isinstance(body.get("error"), dict)
    came = False
    for at, item in enumerate(items(body.get("choices"))):
        part = mapping(item)
        choice = reply.choice(position(part.get("index"), at))
        said = mapping(part.get("message")) or mapping(part.get("delta"))
        words = said.get("content")
        if not isinstance(words, str):
            words = content(words)
        words = words or text(said.get("refusal")) or text(part.get("text"))
        thought = text(said.get("reasoning_content")) or text(said.get("reasoning"))
        if words:
            choice.text.append(words)
        if thought:
            choice.reasoning.append(thought)
        came = bool(words or thought) or came
        for n, tool in enumerate(items(said.get("tool_calls"))):
            function = mapping(mapping(tool).get("function"))
            index = position(mapping(tool).get("index"), n)
            came = choice.tool(index, function.get("name"), function.get("arguments")) or came
        if part.get("logprobs"):
            chances = mapping(part["logprobs"])
            reply.weigh(chances.get("content") or chances.get("token_logprobs"))
        choice.finish_reason = text(part.get("finish_reason")) or choice.finish_reason
    return came
