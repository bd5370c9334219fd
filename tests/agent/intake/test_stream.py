"""Streams are read in runs of like events exactly as they would be read event by event."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.intake import mould, stream
from agent.intake.assemble import assemble
from agent.intake.bodies import MAX_BYTES, unpacked
from serving import wire
from tests.agent.intake import fuzz
from tests.agent.intake.captures import CHAT, capture
from tests.agent.intake.material import ID, WORDS, captures, chat_event, chat_stream, in_events, packed, spoken

PIECES = st.lists(
    st.one_of(st.text(max_size=8), st.sampled_from(['"', "\\", "\n\n", "data: ", '"content":"', "é"])),
    max_size=30,
)
SEEDS = captures()


@settings(deadline=None, max_examples=150)
@given(PIECES, st.sampled_from(["content", "reasoning"]))
def test_runs_of_events_are_read_like_single_events(pieces: list[str], key: str) -> None:
    """Whatever the pieces of an answer are, taking them out in runs gives their concatenation."""
    stream = chat_stream(pieces, key)
    got = assemble(in_events(CHAT, stream))
    assert got == fuzz.plodding(in_events(CHAT, stream))
    assert (got.answer if key == "content" else got.reasoning) == "".join(pieces)


WORD = st.one_of(
    st.sampled_from(["", "a", "b c", '"', "\\", "\ud83d", "\ude00", "é😀", "\n", "\x1f", "\x7f"]), st.text(max_size=4)
)
SHAPES: list[Callable[[str], dict[str, Any]]] = [
    lambda word: chat_event({"content": word}),
    lambda word: chat_event({"role": "assistant", "content": word}),
    lambda word: chat_event({"content": word}, "stop"),
    lambda word: chat_event({"content": word}, index=1),
    lambda word: chat_event({"content": "", "reasoning": word}),
    lambda word: chat_event({"content": word, "refusal": "no"}),
    lambda word: chat_event({"content": word}, text="else"),
    lambda word: chat_event({"tool_calls": [{"index": 2, "function": {"arguments": word}}]}),
    lambda word: chat_event({"tool_calls": [{"index": 0, "function": {"name": "send", "arguments": word}}]}),
    lambda word: chat_event({"content": word}) | {"usage": {"prompt_tokens": 3, "completion_tokens": 1}},
    lambda word: chat_event({"content": word}) | {"id": "an öther id"},
    lambda word: chat_event({"content": word}) | {"error": {"message": word}},
    lambda word: {"choices": [{"delta": {"content": word}}], "id": "behind", "model": "behind"},
    lambda word: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}},
    lambda word: {"type": "response.output_text.delta", "delta": word},
]


PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"]


@pytest.mark.parametrize("path", PATHS)
def test_each_mould_says_what_its_events_say(path: str) -> None:
    """Of every kind of event, with and without something in its string, as the first and as a later one."""
    for shape in SHAPES:
        for words in (["", "a", "b", ""], ["a", "", "b"], ['"', "\\", "é"], ["a"], [""]):
            seen = in_events(CHAT, [packed(shape(word)) for word in words], path=path)
            assert [fuzz.read(seen) for _ in range(3)] == [fuzz.plodding(seen)] * 3, (words, shape("?"))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from(SHAPES), st.lists(WORD, min_size=1, max_size=4)), max_size=6),
    st.sampled_from(PATHS),
    st.sampled_from(
        [(b"", b""), (b"data: ", b"data:"), (b"\n\n", b"\r\n\r\n"), (b"\\ud83d", b"\\uD83D"), (b"null", b'"x"')]
    ),
    st.booleans(),
)
def test_moulds_change_nothing(
    runs: list[tuple[Callable[[str], dict[str, Any]], list[str]]],
    path: str,
    spoiled: tuple[bytes, bytes],
    escaped: bool,
) -> None:
    """Events that say more than one string, in any order, of any API, are read as if each were decoded for itself."""
    events = [json.dumps(shape(word), ensure_ascii=escaped) for shape, words in runs for word in words]
    sent = [f"data: {event}\n\n".encode("utf-8", "surrogatepass").replace(*spoiled) for event in events]
    seen = in_events(CHAT, sent, path=path)
    slowly = fuzz.plodding(seen)
    assert [fuzz.read(seen) for _ in range(3)] == [slowly] * 3  # unknown, seen once, and proved by then


def test_a_mould_serves_other_streams() -> None:
    """What one stream has proved, streams of other answers use; whose id and model they bear is their own."""
    learned = assemble(in_events(CHAT, chat_stream(["one ", "two"])))
    events = [
        packed(chat_event({"content": word}) | {"id": "chatcmpl-other", "model": "home-v2"}) for word in ("a", "b")
    ]
    with patch.object(mould, "decoded", side_effect=AssertionError("a probe")), patch.object(stream, "decoded"):
        got = assemble(in_events(CHAT, events))
    assert (got.answer, got.id) == ("ab", "chatcmpl-other")
    assert (learned.answer, learned.id) == ("one two", ID)


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(sorted(SEEDS)), st.integers(0, 2**32))
def test_no_mutation_is_fatal_and_no_chunking_matters(name: str, seed: int) -> None:
    """A spoiled capture of any shape is unreadable or an exchange, the same one in any chunks."""
    chance = random.Random(seed)
    fuzz.check_capture(fuzz.vary(SEEDS[name], list(SEEDS.values()), chance), chance)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(SEEDS)), st.data())
def test_a_stream_cut_anywhere_is_an_exchange(name: str, data: st.DataObject) -> None:
    """A client that goes away leaves an exchange with what had come, wherever the bytes ended."""
    whole = SEEDS[name]
    end = data.draw(st.integers(0, len(whole.response)))
    got = assemble(replace(whole, response=whole.response[:end], outcome="client_gone", marks=((1, end),)))
    assert got.seq == whole.seq
    assert len(got.answer) <= 2 * len(whole.response) + 1000


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200), st.integers(0, 2**32))
def test_no_bytes_on_the_wire_are_fatal(noise: bytes, seed: int) -> None:
    """Any bytes, before or after a good frame, are frames or a WireFault, whatever their chunks."""
    frame = (fuzz.CORPUS / "chat.frame").read_bytes()
    chance = random.Random(seed)
    fuzz.check_wire(frame + noise, chance)
    fuzz.check_wire(noise + frame, chance)


def test_the_corpus_is_what_the_material_gives() -> None:
    """The checked-in seeds are small and as `--write-corpus` makes them."""
    assert {path.stem for path in fuzz.CORPUS.iterdir()} == set(SEEDS)
    assert all((fuzz.CORPUS / f"{n}.frame").read_bytes() == wire.encode_capture(c) for n, c in SEEDS.items())
    assert sum(path.stat().st_size for path in fuzz.CORPUS.iterdir()) < 100_000


def test_the_gaps_are_those_between_pieces() -> None:
    """Median and longest time between two chunks with content; the role before and the usage behind do not count."""
    stream = chat_stream(["a", "b", "c", "d"])
    marks = tuple((at, len(event)) for at, event in zip([5, 10, 12, 20, 23, 900, 901, 902], stream, strict=True))
    got = assemble(replace(in_events(CHAT, stream), marks=marks))
    assert (got.ttft_s, got.gap_p50_s, got.gap_max_s) == (10e-6, 3e-6, 8e-6)


def test_a_whole_and_a_streamed_answer_say_the_same() -> None:
    """Seven hundred characters, whole or in a hundred and forty events."""
    whole, streamed = (assemble(one) for one in spoken())
    assert whole.answer == streamed.answer
    assert len(whole.answer) == 700
    assert streamed.gap_p50_s is not None


def test_every_shape_gives_tools_calls_logprobs_and_counts() -> None:
    """What is not text is taken too, and every seed of the corpus can be read."""
    got = {name: assemble(one) for name, one in SEEDS.items()}
    called = {name: [(c.name, c.arguments) for c in one.tool_calls] for name, one in got.items() if one.tool_calls}
    sent = [("send", '{"area":"küche","to":"ada@example.com"}')]
    assert called == {
        "chat-tools": sent,
        "chat-stream-tools": sent,
        "responses": sent,
        "responses-stream": sent,
        "messages": [("send", '{"area":"hall"}')],
        "messages-stream": sent,
    }
    assert {name: one.logprob_mean for name, one in got.items() if one.logprob_mean} == {
        "chat-logprobs": -0.5,
        "completion": -0.25,
    }
    assert {name: one.answers for name, one in got.items() if one.answers > 1} == {
        "chat-n2-reasoning": 2,
        "chat-stream-n2": 2,
        "batch": 2,
        "embeddings": 2,
    }
    assert (got["chat"].tools, got["messages"].tools, got["responses"].tools) == (
        ("set_heating",),
        ("send",),
        ("send",),
    )
    assert (got["chat"].template, got["chat"].template_version) == ("home", "3")
    assert [m.text for m in got["batch"].messages] == ["one", "two"]
    assert not got["batch"].profiled
    assert not got["embeddings"].profiled
    assert (got["embeddings"].prompt_tokens, got["embeddings"].messages, got["embeddings"].answer) == (2, (), "")
    assert got["chat-stream-gzip"].answer == got["chat-stream"].answer == "".join(WORDS)
    assert got["chat-gzip"] == got["chat"]


def test_a_template_may_come_in_headers() -> None:
    """A client that cannot add metadata names its template in headers."""
    headers = {"x-trimtab-template": "home", "x-trimtab-template-version": "4"}
    got = assemble(capture(CHAT, {}, headers=headers))
    assert (got.template, got.template_version) == ("home", "4")


def test_a_body_that_unpacks_to_gigabytes_is_refused() -> None:
    """Unpacking stops at its bound, whatever a few kilobytes claim to hold."""
    machine = zlib.compressobj(9, wbits=31)
    bomb = b"".join(machine.compress(bytes(1 << 20)) for _ in range(MAX_BYTES // (1 << 20) + 2)) + machine.flush()
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="more than"):
        unpacked(bomb)


@pytest.mark.parametrize("encoding", ["br", "zstd", "\x00"])
def test_an_unknown_encoding_is_refused_by_name(encoding: str) -> None:
    """What nobody can unpack is unreadable, not text."""
    with pytest.raises(ValueError, match="encoded"):
        unpacked(b"\x01\x02", encoding=encoding)
