"""The frames between tap and agent."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving import wire

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)

CAPTURES = st.builds(
    wire.Capture,
    worker=TEXT, seq=U64, started_at=st.floats(0, 1e10), method=TEXT, path=TEXT, alias=st.none() | TEXT,
    version=st.none() | TEXT, status=st.integers(0, 65535), outcome=st.sampled_from(wire.OUTCOMES),
    headers=st.dictionaries(TEXT, TEXT, max_size=4), request=st.binary(max_size=300),
    response=st.binary(max_size=300), marks=st.lists(st.tuples(U32, U32), max_size=5).map(tuple),
    request_cut=U64, response_cut=U64, total_us=st.integers(0, 2**50), dropped=U64,
)  # fmt: skip


@given(captures=st.lists(CAPTURES, max_size=3), data=st.data())
def test_any_chunking_gives_the_same_captures(captures: list[wire.Capture], data: st.DataObject) -> None:
    """What goes in comes out, however the bytes are cut on their way."""
    stream = b"".join(map(wire.encode_capture, captures))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    decoder, frames = wire.Decoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        frames += decoder.feed(stream[start:end])
    assert [(kind, wire.decode_capture(payload)) for kind, payload in frames] == [
        (wire.EXCHANGE, capture) for capture in captures
    ]


def test_byte_by_byte() -> None:
    """A frame appears with its last byte and not before."""
    stream = wire.encode_hello("ab", 7) + wire.encode_stats(5, 1)
    decoder, seen = wire.Decoder(), []
    for at in range(len(stream)):
        seen += [(at + 1, kind) for kind, _ in decoder.feed(stream[at : at + 1])]
    assert seen == [(len(wire.encode_hello("ab", 7)), wire.HELLO), (len(stream), wire.STATS)]


def test_json_messages_come_back() -> None:
    """Each JSON message holds what the protocol says."""
    frames = wire.Decoder().feed(
        wire.encode_hello("ab", 7)
        + wire.encode_stats(5, 1)
        + wire.encode_table({"home": {"v1": 0.9, "v2": 0.1}})
        + wire.encode_ack([3, 4])
    )
    assert [(kind, wire.decode_json(payload)) for kind, payload in frames] == [
        (wire.HELLO, {"worker": "ab", "pid": 7, "protocol": 3}),
        (wire.STATS, {"seq": 5, "dropped": 1}),
        (wire.TABLE, {"aliases": {"home": {"v1": 0.9, "v2": 0.1}}}),
        (wire.ACK, {"seqs": [3, 4]}),
    ]


@given(garbage=st.binary(max_size=200))
def test_garbage_is_a_wire_fault(garbage: bytes) -> None:
    """Damaged payloads raise the one error that says so, and nothing else."""
    for decode in (wire.decode_capture, wire.decode_json):
        with contextlib.suppress(wire.WireFault):
            decode(garbage)


@given(capture=CAPTURES, data=st.data())
def test_a_cut_capture_is_a_wire_fault(capture: wire.Capture, data: st.DataObject) -> None:
    """No shorter payload passes for a whole one."""
    payload = wire.encode_capture(capture)[5:]
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(wire.WireFault):
        wire.decode_capture(payload[:cut])


@pytest.mark.parametrize("length", [0, wire.MAX_FRAME_BYTES + 1])
def test_an_impossible_length_is_a_wire_fault(length: int) -> None:
    """A stream that is out of step is noticed before it asks for memory."""
    with pytest.raises(wire.WireFault, match="outside"):
        wire.Decoder().feed(struct.pack(">IB", length, 2))
