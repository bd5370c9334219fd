"""Fuzzing of everything that reads bytes from outside: `python -m tests.agent.intake.fuzz --seconds 600`.

Lives here: mutations of a small corpus of frames, and what must hold of every one of them.
Comes in: `corpus/*.frame`. Goes out: a line of progress every few seconds; a finding as a file and exit status 1.
Must never know: what an API means.

`--write-corpus` makes the corpus anew from `material.py`.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from agent.intake import mould
from agent.intake.assemble import Unreadable, assemble, unreadable
from agent.intake.redact import Redactor
from agent.intake.sample import frame_of
from agent.types import Exchange
from serving import wire
from tests.agent.intake.material import captures

CORPUS = Path(__file__).with_name("corpus")
SPICE = (
    b'"', b"\\", b"\\u", b"\\ud800", b"\\u0040", b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"-1", b"1e999",
    b"9" * 20, b"\n\n", b"\r\n", b"data: ", b"data:", b"event: x\n", b"[DONE]", b"\xff", b"\xe2\x82", b"\x00",
    b"[" * 60,
    b'"content":"', b'"index":', b'"tool_calls":[{', b'"delta":', b'"usage":', b"\x1f\x8b\x08", b"\xef\xbb\xbf", b"%40",
)  # fmt: skip
ROUND_CPU_S = 10.0
redactor = Redactor([r"K-\d{4}"], names=["ada lovelace", "Mark"])


def mutated(raw: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A few cuts, flips, repetitions, insertions and splices."""
    data = bytearray(raw)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(data))
        span = min(len(data) - at, int(chance.expovariate(1 / 12)) + 1)
        match chance.randint(0, 6):
            case 0:
                del data[at : at + span]
            case 1:
                data[at:at] = chance.choice(SPICE)
            case 2 if at < len(data):
                data[at] = chance.randint(0, 255)
            case 3:
                data[at:at] = data[at : at + span] * chance.randint(1, 6)
            case 4:
                other = chance.choice(others)
                begin = chance.randint(0, len(other))
                data[at : at + span] = other[begin : begin + chance.randint(0, 200)]
            case 5:
                del data[at:]
            case _:
                data[at : at + span] = chance.choice(SPICE)
    return bytes(data)


def chunked(total: int, chance: random.Random) -> tuple[tuple[int, int], ...]:
    """Marks of a response that came in any chunks."""
    marks, left, at_us = [], total, 0
    while left:
        size = min(left, chance.choice((1, 7, 60, 300, 4000)) * chance.randint(1, 3))
        at_us += chance.randint(0, 30_000)
        marks.append((at_us, size))
        left -= size
    return tuple(marks)


def read(capture: wire.Capture) -> Exchange | None:
    """The exchange, None when the capture is unreadable; any other fault goes up."""
    try:
        return assemble(capture)
    except Unreadable:
        return None


def timeless(exchange: Exchange | None) -> Exchange | None:
    """An exchange without what chunks decide."""
    return None if exchange is None else replace(exchange, ttft_s=None, gap_p50_s=None, gap_max_s=None)


def plodding(capture: wire.Capture) -> Exchange | None:
    """The exchange, every event of a stream decoded for itself."""
    with patch.object(mould.Caster, "cast", lambda *_: None):
        return read(capture)


def check_capture(capture: wire.Capture, chance: random.Random) -> None:
    """What must hold of any capture."""
    got = read(capture)
    again = read(replace(capture, marks=chunked(len(capture.response), chance)))
    assert timeless(got) == timeless(again), "another chunking gives another exchange"
    assert got == plodding(capture), "runs of events are read differently from single events"
    kept = redactor.exchange(got if got is not None else unreadable(capture))
    for text in (kept.id, kept.answer, kept.reasoning, kept.alias, *(m.text for m in kept.messages)):
        text.encode()
    assert redactor.failures == 0, "redaction failed"
    frame_of(capture.response.decode("utf-8", "replace")).encode("utf-8", "replace")


def check_wire(raw: bytes, chance: random.Random) -> None:
    """Any bytes in any chunks are frames or a WireFault, and the chunks do not matter."""

    def fed(pieces: list[bytes]) -> list[tuple[int, bytes]] | None:
        decoder, seen = wire.Decoder(1 << 20), list[tuple[int, bytes]]()
        try:
            for piece in pieces:
                seen += decoder.feed(piece)
        except wire.WireFault:
            return None
        return seen

    cuts = sorted(chance.randint(0, len(raw)) for _ in range(5))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    whole = fed([raw])
    assert whole == fed(pieces) or whole is None, "another chunking gives other frames"
    for kind, payload in whole or ():
        try:
            if kind == wire.EXCHANGE:
                check_capture(wire.decode_capture(payload), chance)
            else:
                wire.decode_json(payload)
        except wire.WireFault:
            pass


def vary(capture: wire.Capture, others: list[wire.Capture], chance: random.Random) -> wire.Capture:
    """A capture with some of its parts spoiled."""
    responses, requests = [c.response for c in others], [c.request for c in others]
    changes: dict[str, object] = {}
    if chance.random() < 0.8:
        changes["response"] = mutated(capture.response, responses, chance)
    if chance.random() < 0.4:
        changes["request"] = mutated(capture.request, requests, chance)
    if chance.random() < 0.2:
        changes["path"] = chance.choice(others).path
    if chance.random() < 0.1:
        changes["outcome"] = chance.choice(wire.OUTCOMES)
    if chance.random() < 0.1:
        changes["status"] = chance.choice((200, 200, 400, 500, 0))
    if chance.random() < 0.1:
        changes["response_cut"] = chance.randint(0, 9)
    if chance.random() < 0.05:
        changes["started_at"] = chance.choice((float("nan"), -1.0, 1e300))
    if chance.random() < 0.1:
        changes["headers"] = {"content-encoding": chance.choice(("gzip", "deflate", "br", "\x00"))}
    spoiled = replace(capture, **changes)  # type: ignore[arg-type]
    return replace(spoiled, marks=chunked(len(spoiled.response), chance))


def _too_long(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"a round took more than {ROUND_CPU_S} s of CPU")


def fuzz(seconds: float, seed: int, say: Callable[[str], None] = print) -> int:
    """Run for a while; 1 and a file beside the corpus when something does not hold."""
    frames = [path.read_bytes() for path in sorted(CORPUS.glob("*.frame"))]
    known = [wire.decode_capture(frame[5:]) for frame in frames]
    chance, begun, said, rounds, unread = random.Random(seed), time.monotonic(), 0.0, 0, 0
    signal.signal(signal.SIGPROF, _too_long)
    while (spent := time.monotonic() - begun) < seconds:
        case: object = None
        signal.setitimer(signal.ITIMER_PROF, ROUND_CPU_S)
        try:
            if chance.random() < 0.25:
                raw = mutated(chance.choice(frames), frames, chance)
                case = raw
                check_wire(raw + chance.choice(frames), chance)
            else:
                capture = vary(chance.choice(known), known, chance)
                case = capture
                check_capture(capture, chance)
                unread += read(capture) is None
        except Exception as fault:  # noqa: BLE001 - the finding, whatever it is
            found = CORPUS.with_name("finding.txt")
            found.write_text(f"{fault!r}\n{case!r}\n")
            say(f"after {rounds} rounds: {fault!r}; see {found}")
            return 1
        rounds += 1
        if spent - said >= 5:
            said = spent
            say(f"{spent:6.0f} s  {rounds} rounds, {unread} of them unreadable, seed {seed}")
    say(f"nothing found in {rounds} rounds ({unread} unreadable)")
    return 0


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=None, help="the same seed tries the same cases")
    parser.add_argument("--write-corpus", action="store_true")
    given = parser.parse_args()
    if given.write_corpus:
        for name, capture in captures().items():
            (CORPUS / f"{name}.frame").write_bytes(wire.encode_capture(capture))
        return 0
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(2**32)
    return fuzz(given.seconds, seed)


if __name__ == "__main__":
    sys.exit(main())
