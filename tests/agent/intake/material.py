"""One capture of each shape as vLLM 0.32 writes them: seeds of the fuzzing, material of tests and benchmarks.

Lives here: `captures`, and `spoken`, a 700-character answer whole and streamed.
Comes in: nothing. Goes out: captures by name.
Must never know: what is tested with them.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serving.wire import Capture
from tests.agent.intake.captures import capture

ID = "chatcmpl-ba1960bc7c2748488655b9cd4c61282c"
ASKED: dict[str, Any] = {
    "model": "home",
    "user": "ada",
    "messages": [
        {"role": "system", "content": "You are a home assistant."},
        {"role": "user", "content": [{"type": "text", "text": "mail ada@example.com, then turn it down to 19 °C"}]},
    ],
    "tools": [{"type": "function", "function": {"name": "set_heating", "parameters": {}}}],
    "metadata": {"template": "home", "template_version": "3", "conversation_id": "c1"},
}
WORDS = ["The ", "kitchen", " is", " at", " 19", " °C", ' \\"now\\"', "\\n", "😀", " card 4111 1111", " 1111 1111", "."]
SENTENCE = "The kitchen lights are on now and the heating goes down to 19 degrees at 22:30, as you asked; all is well. "


def packed(event: Mapping[str, Any], name: str | None = None) -> bytes:
    """One event as vLLM writes it: compact JSON, UTF-8."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def chat_event(delta: Mapping[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """An event of a streamed chat completion."""
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": None, **more}
    return {"id": ID, "object": "chat.completion.chunk", "created": 1790000000, "model": "home-v1", "choices": [choice]}


def chat_stream(pieces: Iterable[str], key: str = "content") -> list[bytes]:
    """Events of a streamed chat answer, one a piece."""
    said = [packed(chat_event({key: piece})) for piece in pieces]
    usage = {"id": ID, "model": "home-v1", "choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 12}}
    first, last = chat_event({"role": "assistant", "content": ""}), chat_event({"content": ""}, "stop")
    return [packed(first), *said, packed(last), packed(usage), b"data: [DONE]\n\n"]


def chat_answer(*texts: str, **message: Any) -> dict[str, Any]:
    """A whole chat completion with one choice a text."""
    choices = [
        {"index": n, "message": {"role": "assistant", "content": text, "tool_calls": [], "reasoning": None, **message},
         "logprobs": None, "finish_reason": "stop", "stop_reason": None, "token_ids": None}
        for n, text in enumerate(texts)
    ]  # fmt: skip
    return {
        "id": ID, "object": "chat.completion", "created": 1790000000, "model": "home-v1", "choices": choices,
        "usage": {"prompt_tokens": 30, "total_tokens": 180, "completion_tokens": 150},
    }  # fmt: skip


def in_events(request: Any, events: Sequence[bytes], **changes: Any) -> Capture:
    """A capture of a stream, a chunk an event."""
    return capture(request, b"".join(events), chunks=map(len, events), **changes)


def spoken(chars: int = 700) -> tuple[Capture, Capture]:
    """The same answer of so many characters, whole and streamed in pieces of five."""
    said = (SENTENCE * (chars // len(SENTENCE) + 1))[:chars]
    request = {"model": "home", "user": "ada", "messages": [
        {"role": "system", "content": "You are a home assistant."},
        {"role": "user", "content": "Turn on the kitchen light and lower the heating tonight please"},
    ]}  # fmt: skip
    pieces = [said[at : at + 5] for at in range(0, chars, 5)]
    whole = capture(request, chat_answer(said))
    return whole, in_events({**request, "stream": True}, chat_stream(pieces))


def captures() -> dict[str, Capture]:
    """One of each shape."""
    arguments = '{"area": "k\\u00fcche", "to": "ada\\u0040example.com"}'
    called = {"tool_calls": [{"id": "c", "type": "function", "function": {"name": "send", "arguments": arguments}}]}
    cut = [arguments[:9], arguments[9:20], arguments[20:]]
    tool_events = [chat_event({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "send", "arguments": ""}}]})]
    tool_events += [chat_event({"tool_calls": [{"index": 0, "function": {"arguments": part}}]}) for part in cut]
    logprobs = {"content": [{"token": "ok", "logprob": -0.5, "bytes": [111, 107], "top_logprobs": []}]}
    several = [packed(chat_event({"content": word}, index=n)) for word in WORDS[:4] for n in (0, 1)]
    completion = {"id": "cmpl-1", "model": "home-v1", "choices": [
        {"index": 0, "text": " on", "logprobs": {"token_logprobs": [None, -0.25], "tokens": ["o", "n"]},
         "finish_reason": "stop"}]}  # fmt: skip
    plain = [{"index": 0, "text": word, "logprobs": None, "finish_reason": None} for word in WORDS]
    texts = [packed({"id": "cmpl-1", "object": "text_completion", "model": "home-v1", "choices": [c]}) for c in plain]
    item = {"type": "message", "content": [{"type": "output_text", "text": "light on", "logprobs": []}]}
    response = {"id": "resp_1", "model": "home-v1", "status": "completed", "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]}, item,
        {"type": "function_call", "name": "send", "arguments": arguments}],
        "usage": {"input_tokens": 3, "output_tokens": 4}}  # fmt: skip
    deltas = [{"type": "response.output_text.delta", "delta": word, "item_id": "m", "output_index": 0,
               "content_index": 0, "logprobs": [], "sequence_number": n} for n, word in enumerate(WORDS)]  # fmt: skip
    begun = {**response, "status": "in_progress", "output": []}
    told: list[dict[str, Any]] = [{"type": "response.created", "response": begun}, *deltas]
    told.append({"type": "response.completed", "response": response})
    message = {"id": "msg_1", "type": "message", "model": "home-v1", "stop_reason": "tool_use", "content": [
        {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "light on"},
        {"type": "tool_use", "id": "t", "name": "send", "input": {"area": "hall"}}],
        "usage": {"input_tokens": 3, "output_tokens": 4}}  # fmt: skip
    blocks: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "send"}},
        *({"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": part}}
          for part in cut),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]  # fmt: skip
    prompt, streamed = {"model": "home", "prompt": "turn on"}, {**ASKED, "stream": True}
    given = {"model": "home", "instructions": "be brief", "tools": [{"type": "function", "name": "send"}], "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "turn on"}]},
        {"type": "function_call", "name": "send", "arguments": arguments},
        {"type": "function_call_output", "output": "done"}]}  # fmt: skip
    asked = {"model": "home", "system": "be brief", "max_tokens": 9, "tools": [{"name": "send", "input_schema": {}}],
             "messages": [{"role": "user", "content": "turn on"}]}  # fmt: skip
    whole = chat_answer("light on")
    batch = {"model": "home", "messages": [[{"role": "user", "content": "one"}], [{"role": "user", "content": "two"}]]}
    squeezed = gzip.compress(b"".join(chat_stream(WORDS)), mtime=0)
    return {
        "chat": capture(ASKED, whole),
        "chat-tools": capture(ASKED, chat_answer("", **called)),
        "chat-n2-reasoning": capture(ASKED, chat_answer("yes", "no", reasoning="hm")),
        "chat-logprobs": capture(ASKED, {**whole, "choices": [{**whole["choices"][0], "logprobs": logprobs}]}),
        "chat-stream": in_events(streamed, chat_stream(WORDS)),
        "chat-stream-reasoning": in_events(streamed, [*chat_stream(WORDS, "reasoning")[:-3], *chat_stream(WORDS)[1:]]),
        "chat-stream-tools": in_events(streamed, [*map(packed, tool_events), packed(chat_event({}, "tool_calls"))]),
        "chat-stream-n2": in_events(streamed, several),
        "chat-stream-gzip": capture(streamed, squeezed, chunks=[40, 40, 40]),
        "chat-gzip": capture(ASKED, gzip.compress(json.dumps(whole).encode(), mtime=0)),
        "chat-error": capture(ASKED, {"error": {"message": "no", "code": 400}}, status=400),
        "chat-stream-error": in_events(streamed, [*chat_stream(WORDS)[:3], packed({"error": {"message": "no"}})]),
        "batch": capture(batch, chat_answer("1", "2"), path="/v1/chat/completions/batch"),
        "completion": capture(prompt, completion, path="/v1/completions"),
        "completion-stream": in_events(prompt, [*texts, b"data: [DONE]\n\n"], path="/v1/completions"),
        "responses": capture(given, response, path="/v1/responses"),
        "responses-stream": in_events(given, [packed(e, e["type"]) for e in told], path="/v1/responses"),
        "messages": capture(asked, message, path="/v1/messages"),
        "messages-stream": in_events(asked, [packed(e, e["type"]) for e in blocks], path="/v1/messages"),
        "invocations": capture(ASKED, whole, path="/invocations"),
        "embeddings": capture(
            {"model": "home", "input": ["a", "b"]},
            {"object": "list", "model": "home-v1", "usage": {"prompt_tokens": 2, "total_tokens": 2},
             "data": [{"index": n, "embedding": [0.1, 0.2]} for n in range(2)]},
            path="/v1/embeddings",
        ),
    }  # fmt: skip
