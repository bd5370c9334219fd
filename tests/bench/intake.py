"""How many exchanges a second one core makes out of captures: assembled and redacted, as they would be stored.

In: the scale. Out: exchanges per CPU second for answers of 700 characters, whole and streamed, against `json.loads`
of the very same bytes in the same run. Must never know: how they are assembled.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from agent.intake.assemble import assemble
from agent.intake.redact import Redactor
from agent.types import Exchange, Outcome
from serving.wire import Capture, decode_capture, encode_capture
from tests.bench import texts
from tests.bench.figures import Figure, best_cpu_s, say
from tests.bench.scale import Scale

BOUND_PER_S = 10_000
TOKEN_EVENTS = 160  # about what vLLM sends for 700 characters, one event a token


def measure(scale: Scale) -> list[Figure]:
    """Exchanges per CPU second."""
    talks = texts.talks(scale.of(400, 20), seed=5)
    redactor = Redactor()
    kinds: dict[str, tuple[str, float | None, list[list[bytes]]]] = {
        "whole": ("whole", BOUND_PER_S, [[texts.whole(talk, i)] for i, talk in enumerate(talks)]),
        "streamed": (
            f"streamed in {texts.EVENTS} events", BOUND_PER_S,
            [texts.streamed(talk, i) for i, talk in enumerate(talks)],
        ),
        "tokens": (
            f"streamed in {TOKEN_EVENTS} events", None,
            [texts.streamed(talk, i, TOKEN_EVENTS) for i, talk in enumerate(talks)],
        ),
    }  # fmt: skip
    figures = []
    for name, (says, bound, answers) in kinds.items():
        asked = [texts.request(talk, stream=name != "whole") for talk in talks]
        pairs = list(zip(asked, answers, strict=True))
        captures = [texts.capture(i + 1, body, chunks) for i, (body, chunks) in enumerate(pairs)]
        _check([redactor.exchange(assemble(capture)) for capture in captures], talks)
        payloads = [encode_capture(capture)[5:] for capture in captures]
        best = best_cpu_s(
            {
                "json": _parsing(pairs),
                "decode": lambda payloads=payloads: [decode_capture(payload) for payload in payloads],  # type: ignore[misc]
                "assemble": lambda captures=captures: [assemble(capture) for capture in captures],  # type: ignore[misc]
                "all": lambda captures=captures: _all(captures, redactor),  # type: ignore[misc]
            },
            scale.of(9, 2),
        )
        rate = {key: len(talks) / seconds for key, seconds in best.items()}
        say(f"    {says}: " + ", ".join(f"{key} {1e6 / value:.0f} us" for key, value in rate.items()))
        figures += [
            Figure(
                name=f"{name}_per_s", says=f"{says}: assembled and redacted", value=rate["all"], unit="exchanges/s",
                bound=bound, at_most=False, baseline=rate["json"], against="json.loads of the same bytes",
            ),
            Figure(
                name=f"{name}_assembled_per_s", says=f"{says}: assembled only", value=rate["assemble"],
                unit="exchanges/s", baseline=rate["json"], against="json.loads of the same bytes",
            ),
            Figure(name=f"{name}_decode_us", says=f"{says}: reading the frame", value=1e6 / rate["decode"], unit="us"),
        ]  # fmt: skip
    return figures


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
