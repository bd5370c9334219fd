"""A span of a model call becomes an offer (pure).

Lives here: which spans are model calls, and where each convention puts names, counts and times.
Comes in: plain spans. Goes out: an offer, a refusal, or nothing for a span that is none of ours.
Must never know: encodings, HTTP, the store.

Read are the OpenTelemetry semantic conventions for generative AI: "Spans / Inference" and "Recording content on
attributes" of gen-ai-spans.md in its present form, the older names up to version 1.36, and, because they are common,
the attributes of OpenInference ("LLM Spans") and of Traceloop. The texts: `said.py`. Spans of agents, tools, retrieval
and memory wrap model calls, so they are ignored: each call counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.intake.attach.offer import MAX_TOTAL_S, Offer, Refusal, captured
from agent.intake.attach.otlp import Span
from agent.intake.attach.said import Said, said_in
from agent.intake.reply import content, count

_CHAT, _COMPLETION, _EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
_OPERATIONS = {
    "chat": _CHAT,
    "generate_content": _CHAT,
    "text_completion": _COMPLETION,
    "embeddings": _EMBEDDINGS,
}
_OPENINFERENCE = {"LLM": _CHAT, "EMBEDDING": _EMBEDDINGS}
_TRACELOOP = {"chat": _CHAT, "completion": _COMPLETION, "embedding": _EMBEDDINGS}

_ASKED_MODEL = ("gen_ai.request.model", "llm.request.model_name", "llm.model_name")
_ANSWERED_MODEL = ("gen_ai.response.model", "llm.response.model_name", "llm.model_name")
_CONVERSATION = ("gen_ai.conversation.id", "session.id")
_USER = ("user.id", "enduser.id")
_PROMPT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
_ANSWER_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")
_TTFT = ("gen_ai.response.time_to_first_chunk", "gen_ai.latency.time_to_first_token")


def path_of(attributes: Mapping[str, Any]) -> str | None:
    """The API that a model call stands for; None for every other span."""
    if "gen_ai.operation.name" in attributes:
        return _OPERATIONS.get(str(attributes["gen_ai.operation.name"]))
    if "openinference.span.kind" in attributes:
        return _OPENINFERENCE.get(str(attributes["openinference.span.kind"]))
    if "llm.request.type" in attributes:
        return _TRACELOOP.get(str(attributes["llm.request.type"]))
    return _CHAT if "gen_ai.request.model" in attributes else None


def offer_of(at: int, span: Span) -> Offer | None:
    """The exchange in a span, None when it is no model call. Raises Refusal, in one sentence.

    Its name is the id of the response, which feedback knows and a tap would have seen; else trace id and span id.
    """
    own = span.attributes
    path = path_of(own)
    if path is None:
        return None
    if not span.trace_id or not span.span_id:
        raise Refusal("a span has no valid trace id and span id")
    if span.start_ns <= 0 or not 0 <= span.end_ns - span.start_ns <= MAX_TOTAL_S * 1e9:
        raise Refusal("a span does not end after it starts")
    said = said_in(span)
    failed = span.failed or "error.type" in own
    asked_model, answered_model = _text(own, _ASKED_MODEL), _text(own, _ANSWERED_MODEL)
    ttft_s = _seconds(own, _TTFT)
    return Offer(
        at=at,
        id=_text(own, ("gen_ai.response.id",)) or f"{span.trace_id}-{span.span_id}",
        capture=captured(
            _request(path, asked_model, said),
            _response(answered_model, own, said),
            started_at=span.start_ns / 1e9,
            path=path,
            alias=asked_model,
            version=answered_model or asked_model,
            status=_status(own) if failed else 200,
            outcome="error" if failed else "complete",
            total_s=(span.end_ns - span.start_ns) / 1e9,
        ),
        ttft_s=ttft_s,
        streamed=ttft_s is not None or own.get("gen_ai.request.stream") is True,
        user=_text(own, _USER),
        conversation=_text(own, _CONVERSATION),
        readable=failed or path == _EMBEDDINGS or bool(said.asked or said.answered),
    )


def _request(path: str, model: str | None, said: Said) -> dict[str, Any]:
    named = {"model": model} if model else {}
    if path == _COMPLETION:
        return {**named, "prompt": "\n".join(filter(None, (content(m.get("content")) for m in said.asked)))}
    return {**named, "messages": said.asked}


def _response(model: str | None, own: Mapping[str, Any], said: Said) -> dict[str, Any]:
    reasons = own.get("gen_ai.response.finish_reasons")
    reasons = reasons if isinstance(reasons, list) else []
    choices = [
        {"index": n, "message": message, "finish_reason": message.pop("finish_reason", None) or _at(reasons, n)}
        for n, message in enumerate(dict(m) for m in said.answered)
    ]
    usage = {"prompt_tokens": _count(own, _PROMPT_TOKENS), "completion_tokens": _count(own, _ANSWER_TOKENS)}
    return {"model": model, "choices": choices, "usage": usage}


def _at(values: list[Any], n: int) -> Any:
    return values[n] if n < len(values) else None


def _status(own: Mapping[str, Any]) -> int:
    """The HTTP status of a failed call, where the span tells it; else 500."""
    for key in ("http.response.status_code", "error.type"):
        value = str(own.get(key, ""))
        if value.isdecimal() and 400 <= int(value[:4]) <= 599:
            return int(value)
    return 500


def _text(own: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    return next((v for v in map(own.get, keys) if v and isinstance(v, str)), None)


def _count(own: Mapping[str, Any], keys: Iterable[str]) -> int | None:
    return next((v for v in map(count, map(own.get, keys)) if v is not None), None)


def _seconds(own: Mapping[str, Any], keys: Iterable[str]) -> float | None:
    for value in map(own.get, keys):
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TOTAL_S:
            return float(value)
    return None
