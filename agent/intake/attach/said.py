"""The texts in a span, wherever its convention puts them (pure).

Lives here: five places for messages, and one form for all of them: that of an OpenAI chat.
Comes in: attributes and events of a span. Goes out: messages asked and messages answered.
Must never know: which span this is, encodings, the store.

1. `gen_ai.input.messages`, `gen_ai.output.messages`, `gen_ai.system_instructions`: on the span or on an event,
   structured or as JSON text (gen-ai-spans.md, "Recording content on attributes"; gen-ai-input-messages.json).
2. Events `gen_ai.{system,user,assistant,tool}.message` and `gen_ai.choice` (conventions 1.28 to 1.36).
3. Events `gen_ai.content.prompt` and `gen_ai.content.completion`, and attributes `gen_ai.prompt`, `gen_ai.completion`
   (up to 1.27).
4. `gen_ai.prompt.0.content`, `gen_ai.completion.0.content` (Traceloop).
5. `llm.input_messages.0.message.content`, `llm.output_messages.0.message.content` (OpenInference).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.intake.attach.offer import Refusal
from agent.intake.attach.otlp import Span
from agent.intake.reply import content, items, mapping, text

Message = dict[str, Any]
_ROLES = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}
_CHOICE = "gen_ai.choice"
_OTHER_WORDS = {"human": "user", "ai": "assistant", "model": "assistant"}
"""What some frameworks call the roles."""


@dataclass(frozen=True, slots=True)
class Said:
    """Messages in the form of OpenAI's chat; an answered one may hold `finish_reason`."""

    asked: list[Message]
    answered: list[Message]


def said_in(span: Span) -> Said:
    """The first place that holds any text. Raises Refusal when that place holds no messages."""
    for look in (_structured, _events, _contents, _numbered):
        said = look(span)
        if any(_holds(message) for message in (*said.asked, *said.answered)):
            return said
    return Said([], [])


def _structured(span: Span) -> Said:
    asked: list[Message] = []
    answered: list[Message] = []
    for where in (span.attributes, *(attributes for _, attributes in span.events)):
        asked = asked or _messages(where, "gen_ai.input.messages", "user")
        answered = answered or _messages(where, "gen_ai.output.messages", "assistant")
        system = _decoded(where, "gen_ai.system_instructions")
        if system and not any(m["role"] == "system" for m in asked):
            asked = [_message({"parts": items(system) or [{"type": "text", "content": system}]}, "system"), *asked]
    return Said(asked, answered)


def _events(span: Span) -> Said:
    asked: list[Message] = []
    answered: list[Message] = []
    for name, attributes in span.events:
        if name not in _ROLES and name != _CHOICE:
            continue
        inner = mapping(_maybe_json(attributes.get("gen_ai.event.content")))
        raw = {**attributes, **inner}
        raw |= {key: _maybe_json(raw[key]) for key in ("message", "tool_calls", "parts") if key in raw}
        if name == _CHOICE:
            answered.append(_message(raw, "assistant"))
        else:
            asked.append(_message(raw, _ROLES[name]))
    return Said(asked, answered)


def _contents(span: Span) -> Said:
    asked: list[Message] = []
    answered: list[Message] = []
    for where in (span.attributes, *(attributes for _, attributes in span.events)):
        asked = asked or _loose(where.get("gen_ai.prompt"), "user")
        answered = answered or _loose(where.get("gen_ai.completion"), "assistant")
    return Said(asked, answered)


def _numbered(span: Span) -> Said:
    own = span.attributes
    asked = _unflattened(own, "gen_ai.prompt.") or _unflattened(own, "llm.input_messages.")
    answered = _unflattened(own, "gen_ai.completion.") or _unflattened(own, "llm.output_messages.")
    if not asked and not answered:
        return Said(_loose(own.get("input.value"), "user"), _loose(own.get("output.value"), "assistant"))
    return Said([_message(m, "user") for m in asked], [_message(m, "assistant") for m in answered])


def _messages(where: Mapping[str, Any], key: str, role: str) -> list[Message]:
    found = _decoded(where, key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise Refusal(f"{key} is no list of messages")
    return [_message(mapping(message), role) for message in found]


def _decoded(where: Mapping[str, Any], key: str) -> Any:
    """A structured value, or one written as JSON text; text that is no JSON was cut by an attribute limit."""
    value = where.get(key)
    if not isinstance(value, str) or not value:
        return value or None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Refusal(f"{key} is no JSON: raise the SDK's attribute length limit if it was cut") from None


def _maybe_json(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _loose(value: Any, role: str) -> list[Message]:
    """Messages as JSON text, or a bare text."""
    found = _maybe_json(value)
    if isinstance(found, dict):
        found = found.get("messages") or found.get("choices")
    messages = [_message(m, role) for m in items(found) if isinstance(m, dict)]
    if any(map(_holds, messages)):
        return messages
    return [{"role": role, "content": value}] if isinstance(value, str) and value else []


def _unflattened(attributes: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """The objects that `prefix.0.a.b`, `prefix.1.a.b`, ... were flattened from, in order."""
    root: dict[str, Any] = {}
    for key, value in attributes.items():
        if key.startswith(prefix):
            *way, last = key[len(prefix) :].split(".")
            at = root
            for step in way:
                deeper = at.setdefault(step, {})
                if not isinstance(deeper, dict):
                    break
                at = deeper
            else:
                at[last] = value
    return [mapping(m) for m in _listed(root)]  # type: ignore[misc]  # a mapping made above is a dict


def _listed(numbered: Any) -> list[Any]:
    """Values of an object whose keys are numbers, in their order; a list stays what it is."""
    if isinstance(numbered, dict):
        return [numbered[n] for n in sorted((k for k in numbered if k.isdecimal()), key=int)]
    return items(numbered)


def _message(raw: Mapping[str, Any], role: str) -> Message:
    """One message of any convention in the form of OpenAI's chat."""
    inner = mapping(raw.get("message"))
    said = {**raw, **inner}
    parts = [mapping(part) for part in items(said.get("parts"))]
    words = [content(said.get("content")), *(content(p.get("text")) for p in _contents_of(said))]
    words += [_result(p) if p.get("type") == "tool_call_response" else _words(p) for p in parts]
    named = text(said.get("role")).lower() or role
    message: Message = {"role": _OTHER_WORDS.get(named, named), "content": "\n".join(filter(None, words))}
    thought = "\n".join(text(p.get("content")) for p in parts if p.get("type") == "reasoning")
    if thought:
        message["reasoning_content"] = thought
    calls = [p for p in parts if p.get("type") == "tool_call"] or _listed(said.get("tool_calls"))
    if calls:
        message["tool_calls"] = [_call(mapping(call)) for call in calls]
    if text(said.get("finish_reason")):
        message["finish_reason"] = said["finish_reason"]
    return message


def _contents_of(said: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    """OpenInference's `message.contents.0.message_content.text`."""
    return (mapping(mapping(part).get("message_content")) for part in _listed(said.get("contents")))


def _words(part: Mapping[str, Any]) -> str:
    return text(part.get("content")) if part.get("type") in ("text", None) else ""


def _result(part: Mapping[str, Any]) -> str:
    given = part.get("result", part.get("response"))
    return given if isinstance(given, str) or given is None else json.dumps(given, ensure_ascii=False)  # type: ignore[return-value]  # None is joined as nothing


def _call(raw: Mapping[str, Any]) -> dict[str, Any]:
    call = mapping(raw.get("tool_call")) or raw
    function = mapping(call.get("function")) or call
    arguments = function.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {"function": {"name": text(function.get("name")), "arguments": arguments or ""}}


def _holds(message: Message) -> bool:
    return bool(message.get("content") or message.get("reasoning_content") or message.get("tool_calls"))
