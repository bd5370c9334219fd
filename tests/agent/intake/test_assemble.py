"""Every API shape, whole and streamed, gives the exchange that a person would read out of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.intake.assemble import Unreadable, assemble, unreadable
from agent.intake.shapes import SHAPES
from agent.types import Exchange, Message, Outcome
from tests.agent.intake.captures import CHAT, CHAT_ANSWER, CHAT_EVENTS, WORKER, capture, sse


def timeless(exchange: Exchange) -> Exchange:
    """The exchange without what depends on chunks and on streaming."""
    return replace(exchange, ttft_s=None, gap_p50_s=None, gap_max_s=None, streamed=False)


def test_a_whole_chat_answer_gives_all_its_parts() -> None:
    """A full chat completion becomes an exchange with id, names, texts, tokens and times."""
    got = assemble(capture(CHAT, CHAT_ANSWER, alias="home", version="home-v1"))
    assert got == Exchange(
        id="chatcmpl-1",
        worker=WORKER,
        seq=1,
        started_at=datetime.fromtimestamp(1_790_000_000, UTC),
        path="/v1/chat/completions",
        alias="home",
        version="home-v1",
        status=200,
        outcome=Outcome.COMPLETE,
        messages=(Message(role="user", text="turn on the light"),),
        answer="light on",
        finish_reason="stop",
        user="ada",
        prompt_tokens=7,
        answer_tokens=2,
        total_s=2.5,
    )


def test_a_stream_gives_what_the_whole_answer_gives() -> None:
    """The same answer streamed differs in `streamed` and in its times alone."""
    streamed = assemble(capture({**CHAT, "stream": True}, sse(CHAT_EVENTS)))
    assert streamed.streamed
    assert timeless(streamed) == timeless(assemble(capture(CHAT, CHAT_ANSWER)))


def test_the_first_token_is_the_chunk_that_completes_the_first_content() -> None:
    """The role-only event does not count as the first token; the time is that of the chunk ending the next event."""
    first, second = len(sse(CHAT_EVENTS[:1], done=False)), len(sse(CHAT_EVENTS[1:2], done=False))
    assert assemble(capture(CHAT, sse(CHAT_EVENTS), chunks=[first, second])).ttft_s == 0.002
    assert assemble(capture(CHAT, sse(CHAT_EVENTS), chunks=[first, second - 1, 1])).ttft_s == 0.003


@settings(deadline=None)
@given(st.lists(st.integers(1, 60)), st.booleans())
def test_chunking_changes_only_times(chunks: list[int], windows_lines: bool) -> None:
    """Any chunking of the bytes gives the same exchange apart from the time of the first token."""
    stream = sse(CHAT_EVENTS)
    if windows_lines:
        stream = stream.replace(b"\n", b"\r\n")
    got = assemble(capture(CHAT, stream, chunks=chunks))
    assert timeless(got) == timeless(assemble(capture(CHAT, CHAT_ANSWER)))
    assert got.ttft_s is not None


def test_tool_calls_are_part_of_the_answer() -> None:
    """A tool call, whole or streamed in pieces, is appended to the answer as text with its escapes resolved."""
    arguments = '{"area": "k\\u00fcche"}'
    function = {"name": "light_on", "arguments": arguments}
    message = {"content": "ok", "tool_calls": [{"type": "function", "function": function}]}
    whole = {"id": "c", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
    pieces: list[dict[str, Any]] = [{"content": "ok"}]
    pieces.append({"tool_calls": [{"index": 0, "function": {"name": "light_on", "arguments": ""}}]})
    pieces += [{"tool_calls": [{"index": 0, "function": {"arguments": letter}}]} for letter in arguments]
    stream = sse({"id": "c", "choices": [{"index": 0, "delta": delta}]} for delta in pieces)
    assert assemble(capture(CHAT, whole)).answer == 'ok\nlight_on({"area":"küche"})'
    assert assemble(capture(CHAT, stream)).answer == 'ok\nlight_on({"area":"küche"})'


def test_several_choices_are_joined_in_order() -> None:
    """N > 1 gives all answers, ordered by index, however they were interleaved."""
    events = [
        {"id": "c", "choices": [{"index": n, "delta": {"content": word}}]}
        for n, word in [(1, "c"), (0, "a"), (1, "d"), (0, "b")]
    ]
    assert assemble(capture({**CHAT, "n": 2}, sse(events))).answer == "ab\n\ncd"


def test_reasoning_is_kept_apart() -> None:
    """Reasoning, under either of its names, goes into its own field and counts as the first token."""
    events = [
        {"id": "c", "choices": [{"index": 0, "delta": {"reasoning_content": "hm "}}]},
        {"id": "c", "choices": [{"index": 0, "delta": {"reasoning": "yes"}}]},
        {"id": "c", "choices": [{"index": 0, "delta": {"content": "on"}}]},
    ]
    got = assemble(capture(CHAT, sse(events), chunks=[len(sse(events[:1], done=False))]))
    assert (got.reasoning, got.answer, got.ttft_s) == ("hm yes", "on", 0.001)


def test_text_parts_and_earlier_tool_turns_are_read() -> None:
    """Multi-part contents give their text, earlier tool calls and results stand in the messages."""
    call = {"function": {"name": "find", "arguments": "{}"}}
    messages = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "found"},
    ]
    got = assemble(capture({"messages": messages}, CHAT_ANSWER))
    assert [(m.role, m.text) for m in got.messages] == [("user", "a\nb"), ("assistant", "find({})"), ("tool", "found")]
    assert got.prompt == "a\nb"


def test_completions_are_read() -> None:
    """`/v1/completions` gives the prompt as a user message and the text as the answer, whole and streamed."""
    ask = {"model": "base", "prompt": "once"}
    whole = {"id": "cmpl-1", "model": "base", "choices": [{"index": 0, "text": " upon", "finish_reason": "length"}]}
    pieces = [{**whole, "choices": [{"index": 0, "text": t}]} for t in (" up", "on")]
    pieces.append({**whole, "choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
    for answer in (whole, sse(pieces)):
        got = assemble(capture(ask, answer, path="/v1/completions"))
        assert (got.prompt, got.answer, got.finish_reason, got.alias) == ("once", " upon", "length", "base")


RESPONSE = {
    "id": "resp_1",
    "model": "home-v1",
    "status": "completed",
    "output": [
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "light on"}]},
        {"type": "function_call", "name": "log", "arguments": "{}"},
    ],
    "usage": {"input_tokens": 7, "output_tokens": 2},
}
RESPONSE_EVENTS: list[dict[str, Any]] = [
    {"type": "response.created", "response": {"id": "resp_1", "model": "home-v1", "status": "in_progress"}},
    {"type": "response.reasoning_text.delta", "delta": "hm"},
    {"type": "response.output_text.delta", "delta": "light "},
    {"type": "response.output_text.delta", "delta": "on"},
    {"type": "response.output_item.added", "output_index": 2, "item": {"type": "function_call", "name": "log"}},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{}"},
    {"type": "response.completed", "response": RESPONSE},
]


def test_responses_are_read() -> None:
    """`/v1/responses` gives instructions, input, output text, reasoning and usage, whole and streamed."""
    ask = {"model": "home", "instructions": "be brief", "input": "turn on the light"}
    whole = assemble(capture(ask, RESPONSE, path="/v1/responses"))
    assert [m.text for m in whole.messages] == ["be brief", "turn on the light"]
    assert (whole.answer, whole.reasoning, whole.finish_reason) == ("light on\nlog({})", "hm", "stop")
    streamed = assemble(capture(ask, sse(RESPONSE_EVENTS, named=True, done=False), path="/v1/responses"))
    assert timeless(streamed) == timeless(whole)
    assert streamed.ttft_s is not None


def test_a_response_stream_without_its_end_gives_the_deltas() -> None:
    """When the client left before `response.completed`, what it saw is the answer."""
    stream = sse(RESPONSE_EVENTS[:-1], named=True, done=False)
    got = assemble(capture({"input": "x"}, stream, path="/v1/responses", outcome="client_gone"))
    assert (got.answer, got.reasoning, got.outcome) == ("light on\nlog({})", "hm", Outcome.CLIENT_GONE)


def test_anthropic_messages_are_read() -> None:
    """`/v1/messages` gives system, blocks, tool uses, thinking and usage, whole and streamed."""
    ask = {
        "model": "home",
        "system": "be brief",
        "metadata": {"user_id": "ada"},
        "messages": [{"role": "user", "content": "hi"}],
    }
    blocks = [
        {"type": "thinking", "thinking": "hm"},
        {"type": "text", "text": "light on"},
        {"type": "tool_use", "name": "log", "input": {"a": 1}},
    ]
    usage = {"input_tokens": 7, "output_tokens": 2}
    answer = {"id": "msg_1", "model": "home-v1", "content": blocks, "stop_reason": "end_turn", "usage": usage}
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {**answer, "content": [], "stop_reason": None, "usage": {"input_tokens": 7}},
        },
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "light "}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "on"}},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "name": "log", "input": {}}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"a":'}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "1}"}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]
    whole = assemble(capture(ask, answer, path="/v1/messages"))
    assert (whole.answer, whole.reasoning, whole.user) == ('light on\nlog({"a":1})', "hm", "ada")
    assert (whole.prompt_tokens, whole.answer_tokens, whole.finish_reason) == (7, 2, "end_turn")
    assert timeless(assemble(capture(ask, sse(events, named=True, done=False), path="/v1/messages"))) == timeless(whole)


def test_invocations_are_known_by_their_body() -> None:
    """`/invocations` is a chat, a completion, or counted without text, as its body says."""
    assert assemble(capture(CHAT, CHAT_ANSWER, path="/invocations")).answer == "light on"
    text = {"choices": [{"text": "upon"}]}
    assert assemble(capture({"prompt": "once"}, text, path="/invocations")).answer == "upon"
    assert assemble(capture({"input": "x"}, {"data": []}, path="/invocations")).messages == ()


def test_other_paths_are_counted_without_text() -> None:
    """An embedding request gives names and times and no text."""
    got = assemble(capture({"model": "home", "input": "secret"}, b"\x00binary", path="/v1/embeddings"))
    assert (got.alias, got.messages, got.answer, got.id) == ("home", (), "", f"{WORKER}-1")


@pytest.mark.parametrize("status", [400, 404, 422, 500, 503])
def test_refused_requests_keep_their_status(status: int) -> None:
    """A 4xx or 5xx is an exchange with its status and an empty answer, even if its bodies are no JSON."""
    got = assemble(capture(CHAT, {"error": {"message": "no"}}, status=status))
    assert (got.status, got.answer, got.prompt) == (status, "", "turn on the light")
    assert assemble(capture(b"{", b"oops", status=status)).messages == ()


def test_an_error_inside_a_stream_is_an_error() -> None:
    """A 200 whose stream ends in an error event did not succeed."""
    dead: dict[str, Any] = {"error": {"message": "engine died", "code": 500}}
    got = assemble(capture(CHAT, sse([*CHAT_EVENTS[:2], dead])))
    assert (got.outcome, got.answer, got.profiled) == (Outcome.ERROR, "light", False)


def test_cut_bodies_give_what_is_there() -> None:
    """What the tap did not copy is counted in bytes, and the readable part stays."""
    stream = sse(CHAT_EVENTS)
    got = assemble(capture(CHAT, stream[: len(stream) // 2], response_cut=99))
    assert (got.answer[:5], got.response_cut_bytes, got.profiled) == ("light", 99, False)
    whole = json.dumps(CHAT_ANSWER).encode()
    assert assemble(capture(CHAT, whole[:50], response_cut=len(whole) - 50)).answer == ""
    assert assemble(capture(b'{"mess', CHAT_ANSWER, request_cut=9)).answer == "light on"


def test_whose_answer_it_was_comes_from_the_best_witness() -> None:
    """The version is the tap's, else the answer's model, else the asked name; user and conversation have fallbacks."""
    assert assemble(capture(CHAT, CHAT_ANSWER)).version == "home-v1"
    assert assemble(capture(CHAT, {"choices": []})).version == "home"
    headers = {"x-trimtab-user": "bob", "x-trimtab-conversation": "c9"}
    got = assemble(capture({"messages": []}, CHAT_ANSWER, headers=headers))
    assert (got.user, got.conversation) == ("bob", "c9")
    metadata = {"conversation": "c1", "template": "t"}
    got = assemble(capture({**CHAT, "metadata": metadata}, CHAT_ANSWER, headers=headers))
    assert (got.user, got.conversation, got.template) == ("ada", "c1", "t")


@pytest.mark.parametrize(
    ("request_body", "response"),
    [(b"\xff", CHAT_ANSWER), (CHAT, b"<html>"), (CHAT, b"data: {\n\n"), (CHAT, b"[" * 100_000), (b"[]", CHAT_ANSWER)],
)
def test_what_cannot_be_read_is_refused_and_still_counts(request_body: Any, response: Any) -> None:
    """A good answer without its API's shape raises Unreadable, and `unreadable` stands for it without text."""
    broken = capture(request_body, response)
    with pytest.raises(Unreadable):
        assemble(broken)
    stand_in = unreadable(broken)
    assert (stand_in.outcome, stand_in.seq, stand_in.answer) == (Outcome.UNREADABLE, 1, "")


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), -1.0, 1e300])
def test_an_impossible_time_is_unreadable(moment: float) -> None:
    """A start that is no time is refused; the stand-in has the epoch instead."""
    broken = capture(CHAT, CHAT_ANSWER, started_at=moment)
    with pytest.raises(Unreadable):
        assemble(broken)
    assert unreadable(broken).started_at == datetime.fromtimestamp(0, UTC)


_NAMES = "messages content choices delta message type text id usage index tool_calls function input output"
KEYS = _NAMES.split()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=25,
)


@settings(deadline=None)
@given(JSON, JSON, st.sampled_from([*SHAPES, "/invocations"]), st.booleans())
def test_no_json_is_fatal(asked: Any, answered: Any, path: str, streamed: bool) -> None:
    """Whatever JSON stands where, the result is an exchange or Unreadable, never another error."""
    raw = json.dumps(answered).encode()
    try:
        got = assemble(capture(asked, b"data: " + raw + b"\n\n" if streamed else raw, path=path))
    except Unreadable:
        return
    assert {type(text) for m in got.messages for text in (m.role, m.text)} <= {str}
    assert type(got.answer) is str


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([*SHAPES]))
def test_no_bytes_are_fatal(noise: bytes, path: str) -> None:
    """Whatever bytes come, the result is an exchange or Unreadable."""
    for streamed in (noise, b"data: " + noise):
        try:
            assemble(capture(CHAT, streamed, path=path))
        except Unreadable:
            continue
