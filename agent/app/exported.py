"""One exchange as a line of an export (pure).

Lives here: `line`; `imported.py` reads the same form.
Comes in: an exchange and its grades. Goes out: a JSON object.
Must never know: files, the store; which exchanges are chosen.

A line holds OpenAI bodies, so that `trimtab backtest`, `POST /v1/exchanges` and training tools take it as it is.
What these bodies have no place for stands under `trimtab`: only what a reader of the bodies would get wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any

from agent.intake.assemble import Unreadable, assemble
from agent.intake.attach.offer import captured
from agent.types import Exchange, Grade, Outcome

CHAT_PATH = "/v1/chat/completions"
REDACTED = "redacted"
"""Under `trimtab`: the names in this line are hashes already."""
_DEFAULTED = ("alias", "version")
"""What a reader fills in where it is empty."""
OWN = frozenset({"id", "worker", "seq", "user", "conversation"})
"""Fields that a line holds elsewhere, or that come anew when it is read."""


def line(exchange: Exchange, grades: Sequence[Grade] = ()) -> dict[str, Any]:
    """One exchange as JSON."""
    request, response = _asked(exchange), _answered(exchange)
    made: dict[str, Any] = {
        "timestamp": exchange.started_at.isoformat(),
        "request": request,
        "response": response,
        "id": exchange.id,
        "user": exchange.user,
        "conversation": exchange.conversation,
        "version": exchange.version,
        "alias": exchange.alias,
        "status": exchange.status,
        "latency_s": exchange.total_s,
        "ttft_s": exchange.ttft_s,
        "grades": [
            {name: plain(value) for name, value in asdict(grade).items() if name != "exchange_id"} for grade in grades
        ],
    }
    return made | {"trimtab": {REDACTED: True} | _rest(exchange, request, response)}


def _asked(exchange: Exchange) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "model": exchange.alias,
        "messages": [{"role": message.role, "content": message.text} for message in exchange.messages],
    }
    if exchange.tools:
        asked["tools"] = [{"type": "function", "function": {"name": name}} for name in exchange.tools]
    return asked | ({"stream": True} if exchange.streamed else {})


def _answered(exchange: Exchange) -> dict[str, Any]:
    said, calls = _said(exchange)
    message: dict[str, Any] = {"role": "assistant", "content": said}
    if exchange.reasoning:
        message["reasoning_content"] = exchange.reasoning
    if calls:
        message["tool_calls"] = calls
    usage = {"prompt_tokens": exchange.prompt_tokens, "completion_tokens": exchange.answer_tokens}
    return {
        "id": exchange.id,
        "object": "chat.completion",
        "created": int(exchange.started_at.timestamp()),
        "model": exchange.version,
        "choices": [{"index": 0, "message": message, "finish_reason": exchange.finish_reason}],
        "usage": {name: n for name, n in usage.items() if n is not None},
    }


def _said(exchange: Exchange) -> tuple[str | None, list[dict[str, Any]]]:
    """The answer's words, and the tool calls that stand behind them in the store, as OpenAI writes both."""
    calls = exchange.tool_calls
    behind = "\n".join(f"{call.name}({call.arguments})" for call in calls)
    if not calls or not (exchange.answer == behind or exchange.answer.endswith("\n" + behind)):
        return exchange.answer, []
    words = exchange.answer[: -len(behind)].removesuffix("\n") or None
    return words, [
        {"id": f"call_{n}", "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for n, call in enumerate(calls)
    ]


def _rest(exchange: Exchange, request: dict[str, Any], response: dict[str, Any]) -> dict[str, Any]:
    """Fields that reading the bodies back would not give, or not as they are."""
    try:
        read = reread(request, response, exchange)
    except Unreadable:
        read = None
    rest = {
        field.name: getattr(exchange, field.name)
        for field in fields(Exchange)
        if field.name not in OWN
        and (
            read is None
            or getattr(read, field.name) != getattr(exchange, field.name)
            or (field.name in _DEFAULTED and not getattr(exchange, field.name))
        )
    }
    found: dict[str, Any] = plain(rest)
    return found


def reread(request: dict[str, Any], response: dict[str, Any], known: Exchange) -> Exchange:
    """The exchange as a reader of its line assembles it. Raises Unreadable."""
    capture = captured(
        request, response, started_at=known.started_at.timestamp(), path=CHAT_PATH, alias=known.alias,
        version=known.version, status=known.status, total_s=known.total_s,
    )  # fmt: skip
    return replace(assemble(capture), ttft_s=known.ttft_s, streamed=known.streamed or known.ttft_s is not None)


def plain(value: Any) -> Any:
    """A field as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Outcome):
        return value.value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
