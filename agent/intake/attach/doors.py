"""The two ways in: JSON lines and OTLP spans.

Lives here: `Doors`: a body becomes offers, the desk takes them, the sender is told in its own encoding.
Comes in: bodies, already unpacked. Goes out: what to answer.
Must never know: HTTP status codes, tokens, who waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from agent.intake.attach import otlp
from agent.intake.attach.desk import Desk, Taken
from agent.intake.attach.genai import offer_of
from agent.intake.attach.lines import read_lines
from agent.intake.attach.offer import Offer, Refusal, Refused

SPANS = "otlp"
"""The source of what comes as spans; JSON lines name theirs."""
_NO_TEXT = (
    "{n} spans carry no texts and are counted only: let the instrumentation record them on spans "
    "(OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT)"
)


class Doors:
    """Both ways in. Each call is one batch; call them from one thread."""

    def __init__(self, desk: Desk, now: Callable[[], datetime]) -> None:
        self._desk = desk
        self._now = now

    def exchanges(self, body: bytes, source: str) -> dict[str, Any]:
        """Take JSON lines: {"stored", "duplicates", "refused": [{"line", "why"}]}.

        Of the refused the first hundred are told, and `refused_in_all` when there are more. Raises InvalidInput for
        what is no JSON lines, RemoteFault when the store does not take it.
        """
        taken = self._desk.take(source, read_lines(body, self._now().timestamp()))
        told = [{"line": r.at, "why": r.why} for r in sorted(taken.refused, key=lambda r: r.at)]
        more = {"refused_in_all": taken.n_refused} if taken.n_refused > len(told) else {}
        return {"stored": taken.stored, "duplicates": taken.duplicates, "refused": told, **more}

    def traces(self, body: bytes, *, as_json: bool) -> bytes:
        """Take spans; the answer is an ExportTraceServiceResponse in the same encoding. Raises as `exchanges` does."""
        spans = otlp.from_json(body) if as_json else otlp.from_protobuf(body)
        taken = self._desk.take(SPANS, _offers(spans))
        return otlp.answer(taken.n_refused, _told(taken), as_json=as_json)

    def failure(self, message: str, *, as_json: bool) -> bytes:
        """Why spans were refused altogether, as OTLP wants it."""
        return otlp.failure(message, as_json=as_json)


def _offers(spans: Iterable[otlp.Span]) -> Iterator[Offer | Refused]:
    for at, span in enumerate(spans, 1):
        try:
            offer = offer_of(at, span)
        except Refusal as why:
            yield Refused(at=at, why=str(why))
        except (ValueError, ArithmeticError, RecursionError):
            yield Refused(at=at, why="a span cannot be read")
        else:
            if offer is not None:
                yield offer


def _told(taken: Taken) -> str:
    """Why spans were refused, the commonest reasons first."""
    reasons = [
        f"{why} ({n} spans)" if n > 1 else why for why, n in Counter(r.why for r in taken.refused).most_common(5)
    ]
    return "; ".join(reasons + ([_NO_TEXT.format(n=taken.textless)] if taken.textless else []))
