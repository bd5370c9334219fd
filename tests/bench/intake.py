"""How many exchanges a second one core makes out of captures: assembled and redacted, as they would be stored.

In: the scale. Out: exchanges per CPU second for answers of 700 characters, whole and streamed, against `json.loads`
of the very same bytes in the same run. Must never know: how they are assembled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from agent.intake.assemble import assemble
from agent.intake.redact import Redactor
from agent.types import Exchange, Outcome
from serving.wire import Capture, decode_capture, encode_capture
from tests.bench import texts
from tests.bench.figures import Figure, best_cpu_s, say
from tests.bench.scale import Scale

BOUND_PER_S = 10_000
TOKEN_EVENTS = 160  # about what vLLM sends for 700 characters, one event a token


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Answers of one text, whole (no events) or streamed in so many."""

    name: str
    says: str
    plain: bool
    events: int = 0
    bound: float | None = BOUND_PER_S


KINDS = (
    Kind(name="whole", says="prose, whole", plain=True),
    Kind(name="streamed", says=f"prose, {texts.EVENTS} events", plain=True, events=texts.EVENTS),
    Kind(name="tokens", says=f"prose, {TOKEN_EVENTS} events", plain=True, events=TOKEN_EVENTS, bound=None),
    Kind(name="technical_whole", says="technical text, whole", plain=False),
    Kind(
        name="technical_streamed", says=f"technical text, {texts.EVENTS} events", plain=False, events=texts.EVENTS
    ),
)  # fmt: skip


def measure(scale: Scale) -> list[Figure]:
    """Exchanges per CPU second."""
    return [figure for kind in KINDS for figure in _kind(kind, scale.of(400, 20), scale.of(7, 2))]


def _kind(kind: Kind, n: int, rounds: int) -> list[Figure]:
    redactor, talks = Redactor(), texts.talks(n, seed=5, plain=kind.plain)
    pairs = [
        (
            texts.request(talk, stream=bool(kind.events)),
            texts.streamed(talk, i, kind.events) if kind.events else [texts.whole(talk, i)],
        )
        for i, talk in enumerate(talks)
    ]
    captures = [texts.capture(i + 1, body, chunks) for i, (body, chunks) in enumerate(pairs)]
    _check(_all(captures, redactor), talks)
    payloads = [encode_capture(capture)[5:] for capture in captures]
    best = best_cpu_s(
        {
            "json": _parsing(pairs),
            "decode": lambda: [decode_capture(payload) for payload in payloads],
            "assemble": lambda: [assemble(capture) for capture in captures],
            "all": lambda: _all(captures, redactor),
        },
        rounds,
    )
    us = {key: seconds / n * 1e6 for key, seconds in best.items()}
    say(f"    {kind.says}: " + ", ".join(f"{key} {value:.0f} us" for key, value in us.items()))
    return [
        Figure(
            name=f"{kind.name}_per_s", says=f"{kind.says}: assembled and redacted", value=1e6 / us["all"],
            unit="exchanges/s", bound=kind.bound, at_most=False, baseline=1e6 / us["json"],
            against="json.loads of the same bytes",
        ),
        Figure(
            name=f"{kind.name}_assemble_us", says=f"{kind.says}: of this, assembling", value=us["assemble"], unit="us",
            baseline=us["json"], against="json.loads of the same bytes",
        ),
        Figure(name=f"{kind.name}_decode_us", says=f"{kind.says}: reading its frame, besides", value=us["decode"],
               unit="us"),
    ]  # fmt: skip


def _all(captures: list[Capture], redactor: Redactor) -> list[Exchange]:
    return [redactor.exchange(assemble(capture)) for capture in captures]


def _parsing(pairs: list[tuple[bytes, list[bytes]]]) -> Callable[[], object]:
    """Every JSON text of the bodies, cut out beforehand."""
    bodies = []
    for body, chunks in pairs:
        bodies.append(body)
        bodies += [chunk.removeprefix(b"data: ").strip() for chunk in chunks if b"[DONE]" not in chunk]
    return lambda: [json.loads(body) for body in bodies]


def _check(exchanges: list[Exchange], talks: list[texts.Talk]) -> None:
    """A fast assembler that loses text would be no good: all is there, but for what redaction took."""
    whole = [e.outcome is Outcome.COMPLETE and abs(len(e.answer) - len(t.answer)) < 100
             for e, t in zip(exchanges, talks, strict=True)]  # fmt: skip
    if not all(whole):
        raise RuntimeError(f"{whole.count(False)} of {len(talks)} exchanges lack a part of their answer")
