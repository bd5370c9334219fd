"""What one logged line says: the short form, or the bodies of an inference server (pure).

Lives here: `record_from`. Comes in: one parsed line. Goes out: a record, by way of the same `Exchange` and the same
`record_of` as in the live agent. Must never know: files.

A line is {"prompt", "response"} (or "answer", or "completion"), or {"request", "response"} with the bodies of OpenAI's
chat completions, completions or responses, or of Anthropic's messages, or {"messages"} as training sets have them, the
last one the assistant's (or its text as "response"). "timestamp" (ISO 8601, or unix seconds or milliseconds), "user",
"conversation", "template", "latency_s", "ttft_s", "path", "status" and "id" may stand beside them, and what an export
says under "trimtab"; other keys are passed over.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from agent.drift.records import UNKNOWN_TIME, Record, record_of
from agent.turns import Turns
from agent.types import Exchange, InvalidInput, Message, Outcome


class Failed(InvalidInput):
    """A request that failed: an exchange, and no answer to look at."""


FORMS = '{"prompt", "response"}, OpenAI or Anthropic bodies {"request", "response"}, or {"messages"} of a training set'
_ANSWERS = frozenset({"response", "answer", "completion"})
_CHAT, _COMPLETION = "/v1/chat/completions", "/v1/completions"
_MILLISECONDS_FROM = 1e11
"""Unix seconds reach this number in the year 5138."""
_MOST_S = 1e6
_SURROGATES = re.compile("[\ud800-\udfff]")


def record_from(document: dict[str, Any], *, fallback_id: str, seq: int = 0, turns: Turns | None = None) -> Record:
    """One parsed line as a record. Raises Failed for a request that failed, InvalidInput saying what is missing.

    `turns` knows the lines before, to tell the next turn of a conversation that nobody names.
    """
    if "request" in document:  # elsewhere a text is a text, also where it looks like a body
        document = document | {key: _parsed(document.get(key)) for key in ("request", "response")}
    if _has_failed(document):
        raise Failed("this request failed")
    request: dict[str, Any] = {}
    response: dict[str, Any] = {}
    exported, path = _object(document.get("trimtab")), ""
    if "request" in document:
        request, response = _body(document, "request"), _body(document, "response")
        messages, answer, path = _messages(request), _answer(response), _CHAT
        if "prompt" in request:
            path = _COMPLETION
    elif "messages" in document:
        (messages, answer), path = _taught(document), _CHAT
    else:
        messages = (Message(role="user", text=_text(document, "prompt")),)
        answer = _text(document, _answer_key(document))
    metadata = _object(request.get("metadata"))
    exchange = Exchange(
        id=_whole(_name(document.get("id")) or _name(response.get("id")) or fallback_id),
        worker="log",
        seq=seq,
        started_at=time_of(document.get("timestamp"))[0],
        path=str(exported.get("path") or document.get("path") or path),
        alias="",
        version="",
        status=200,
        outcome=Outcome.COMPLETE,
        messages=messages,
        answer=answer,
        user=_name(document.get("user")) or _name(request.get("user")) or _name(metadata.get("user_id")),
        conversation=_name(document.get("conversation"))
        or _name(metadata.get("conversation"))
        or _name(metadata.get("conversation_id")),
        template=_name(document.get("template")) or _name(exported.get("template")) or _name(metadata.get("template")),
        total_s=_seconds(document.get("latency_s")) or 0.0,
        ttft_s=_seconds(document.get("ttft_s")),
    )
    return record_of(turns.joined(exchange) if turns is not None and "request" in document else exchange)


def _has_failed(document: dict[str, Any]) -> bool:
    """By its status, by what an export says of it, or by an error where the answer would be."""
    status, said = document.get("status"), document.get("response")
    if isinstance(status, int) and not isinstance(status, bool) and not 200 <= status < 300:  # HTTP's successes
        return True
    if _object(document.get("trimtab")).get("outcome", Outcome.COMPLETE) != Outcome.COMPLETE:
        return True
    answer = _object(said)
    named = answer.get("error") or answer.get("type") == "error" or answer.get("status") == "failed"
    return bool(named and not answer.get("choices")) or bool(said is None and document.get("error"))


def time_of(value: Any) -> tuple[datetime, bool]:
    """The moment, and whether it was written without a time zone (then it is taken as UTC). Raises InvalidInput."""
    if value is None:
        return UNKNOWN_TIME, False
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
            return (at.astimezone(UTC), False) if at.tzinfo else (at.replace(tzinfo=UTC), True)
        seconds = float("nan" if isinstance(value, bool) else value)
        return datetime.fromtimestamp(seconds / 1000 if abs(seconds) >= _MILLISECONDS_FROM else seconds, UTC), False
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise InvalidInput(f'"timestamp" {str(value)[:40]!r} is neither ISO 8601 nor unix seconds') from error


def _answer_key(document: dict[str, Any]) -> str:
    return next((key for key in ("response", "completion") if key in document), "answer")


def _text(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    if not isinstance(value, str):
        named = '"response"' if key == "answer" else f'"{key}"'
        raise InvalidInput(f"{named} must be a text; a line is {FORMS}")
    return _whole(value)


def _body(document: dict[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    if not isinstance(value, dict):
        raise InvalidInput(f'"{key}" must be a body (an object, or one as a text); a line is {FORMS}')
    return value


def _parsed(body: Any) -> Any:
    """A body, also where a log holds it as JSON text; None for a text that is no JSON."""
    if not isinstance(body, str):
        return body
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _messages(request: dict[str, Any]) -> tuple[Message, ...]:
    said = request.get("prompt", request.get("messages", request.get("input")))
    above = _said({"content": request.get("system") or request.get("instructions")})  # Anthropic's, OpenAI's responses'
    first = (Message(role="system", text=above),) if above else ()
    if isinstance(said, str):
        return (*first, Message(role="user", text=_whole(said)))
    if isinstance(said, list) and said and all(isinstance(message, dict) for message in said):
        return (*first, *(Message(role=str(m.get("role", "")), text=_said(m)) for m in said))
    raise InvalidInput('"request" holds neither "messages" nor "input" nor a text "prompt"')


def _taught(document: dict[str, Any]) -> tuple[tuple[Message, ...], str]:
    """A conversation with its answer beside it, or, as in training sets, as its last message."""
    if not _ANSWERS.isdisjoint(document):
        return _messages(document), _text(document, _answer_key(document))
    said = document["messages"]
    if not (isinstance(said, list) and len(said) > 1 and all(isinstance(message, dict) for message in said)):
        raise InvalidInput('"messages" must be a list of at least two objects, the last one the assistant\'s')
    if said[-1].get("role") != "assistant":
        raise InvalidInput('the last of "messages" must have the role "assistant": its text is the answer')
    return _messages({"messages": said[:-1]}), _said(said[-1])


def _answer(response: dict[str, Any]) -> str:
    choices, output = response.get("choices"), response.get("output")
    if isinstance(choices, list) and choices and all(isinstance(choice, dict) for choice in choices):
        return "\n\n".join(_said(_object(choice.get("message")) or choice) for choice in choices)
    if isinstance(response.get("content"), list | str):  # Anthropic
        return _said(response)
    if isinstance(output, list):  # OpenAI's responses
        return "\n".join(text for item in output if isinstance(item, dict) and (text := _said(item)))
    raise InvalidInput('"response" holds neither "choices" nor "content" nor "output"')


def _said(message: dict[str, Any]) -> str:
    """Text, then the calls of tools, one a line, as intake writes them: `name({"key":"value"})`."""
    content = message.get("content")
    parts = content if isinstance(content, list) else [content or message.get("refusal") or message.get("text")]
    texts = [_part(part) for part in parts]
    calls = [part for part in parts if isinstance(part, dict) and part.get("type") == "tool_use"]
    texts += [_call(call.get("name"), call.get("input") or None) for call in calls]
    if message.get("type") == "function_call":
        texts.append(_call(message.get("name"), message.get("arguments")))
    functions = [_object(_object(call).get("function")) for call in message.get("tool_calls") or ()]
    texts += [_call(function.get("name"), function.get("arguments")) for function in functions]
    return _whole("\n".join(text for text in texts if text))


def _part(part: Any) -> str:
    """A part without text (a picture, a tool) is none."""
    found = part if isinstance(part, str) else _object(part).get("text") or _object(part).get("refusal")
    return found if isinstance(found, str) else ""


def _call(name: Any, arguments: Any) -> str:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return f"{name}({arguments})"
    said = "" if arguments is None else json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    return f"{name}({said})"


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(text: str) -> str:
    """Half of a surrogate pair, which JSON can hold and UTF-8 cannot, becomes a question mark."""
    return text if text.isascii() else _SURROGATES.sub("?", text)


def _seconds(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MOST_S
    return float(value) if good else None


def _name(value: Any) -> str | None:
    """0 is a name like any other number; an empty text is none."""
    return None if value is None or value == "" else str(value)
