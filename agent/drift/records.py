"""One exchange as the detector sees it.

Lives here: `Record` and how an exchange becomes one. Comes in: exchanges. Goes out: two texts and when they were.
Must never know: adapters, engines, the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.origin import origin

if TYPE_CHECKING:
    from agent.types import Exchange

LONGEST_CHARACTERS = 8_000
"""Only this much of a text is scored, reference and live alike: it bounds the time that one record takes."""


UNKNOWN_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands where a log does not say when; an alarm then names rows only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """A prompt and its answer. `at` is aware UTC, or `UNKNOWN_TIME`; what is None is no evidence of anything."""

    id: str
    prompt: str
    answer: str
    at: datetime = UNKNOWN_TIME
    user: str | None = None
    conversation: str | None = None
    template: str | None = None
    latency_s: float | None = None
    ttft_s: float | None = None


def record_of(exchange: Exchange) -> Record:
    """The detector's view of one exchange: its last user message and its answer."""
    return Record(
        id=exchange.id,
        prompt=exchange.prompt,
        answer=exchange.answer,
        at=exchange.started_at,
        user=exchange.user,
        conversation=exchange.conversation,
        template=origin(exchange),
        latency_s=exchange.total_s or None,
        ttft_s=exchange.ttft_s,
    )
