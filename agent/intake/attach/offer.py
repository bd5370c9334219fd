"""One exchange as somebody else saw it (pure).

Lives here: `Offer`, `Refused`, and how an offer gets the form that a tap would have given it.
Comes in: decoded request and answer. Goes out: a `serving.wire.Capture` that lacks only its number.
Must never know: JSON lines, spans, the store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from agent.types import Exchange
from serving.wire import Capture

MAX_ID_CHARS = 5000
"""The longest name of an exchange: a tap's has a request header in it, of 4,000 characters at most."""
MAX_TOTAL_S = 30 * 86_400.0
"""The longest that an exchange may have taken."""


class Refusal(ValueError):
    """This one exchange cannot be taken; the text says why, in one sentence without the data itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Where in the batch (a line, or a span, counted from 1), and why."""

    at: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An exchange that wants to be stored. `capture` has no worker and the number 0 until it is taken.

    `ttft_s`, `user` and `conversation`, where given, go before what the bodies say. `readable` is False when it is
    known that the texts are missing: it is counted, without text.
    """

    at: int
    id: str
    capture: Capture
    ttft_s: float | None = None
    streamed: bool = False
    user: str | None = None
    conversation: str | None = None
    readable: bool = True

    def told(self, exchange: Exchange, *, name: str, alias: str) -> Exchange:
        """What was assembled from `capture`, with what stands beside it; `alias` is who was asked if nobody says."""
        return replace(
            exchange,
            id=name,
            alias=exchange.alias or alias,
            version=exchange.version or exchange.alias or alias,
            user=self.user or exchange.user,
            conversation=self.conversation or exchange.conversation,
            ttft_s=self.ttft_s if self.ttft_s is not None else exchange.ttft_s,
            streamed=self.streamed or exchange.streamed,
        )


def captured(
    request: Mapping[str, Any],
    response: Mapping[str, Any],
    *,
    started_at: float,
    path: str,
    alias: str | None = None,
    version: str | None = None,
    status: int = 200,
    outcome: str = "complete",
    total_s: float = 0.0,
    template: str | None = None,
) -> Capture:
    """The two bodies as the tap would have copied them; `started_at` in unix seconds."""
    headers = {} if template is None else {"x-trimtab-template": template}
    return Capture(
        worker="", seq=0, started_at=started_at, method="POST", path=path, alias=alias, version=version, status=status,
        outcome=outcome, headers=headers, request=_bytes(request), response=_bytes(response), marks=(), request_cut=0,
        response_cut=0, total_us=round(total_s * 1e6), dropped=0,
    )  # fmt: skip


def _bytes(body: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(body, separators=(",", ":")).encode()
    except RecursionError:
        raise Refusal("request or answer is nested too deep") from None
