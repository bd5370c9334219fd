"""What can happen to traffic, and how a stream is put together.

Lives here: `CHANGES` and `stream`. Comes in: a source, a shape, a change, a seed. Goes out: exchanges, with the row at
which the change begins. Must never know: detectors. The same arguments give the same stream.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.types import Exchange, Message, Outcome
from tests.scenarios.shapes import SHAPES, Slot, in_manner
from tests.scenarios.sources import LANGUAGES, Pair, Source, foreign, source

REFERENCE_ROWS = 1_000
BEFORE_ROWS = 400
"""Unchanged live rows before a change."""
GRADUAL_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Stream:
    """`live[:change_at]` is like the reference; without a change `change_at` is None."""

    reference: list[Exchange]
    live: list[Exchange]
    change_at: int | None


Alter = Callable[[random.Random, Source, Exchange], Exchange]


@dataclass(frozen=True, slots=True)
class Change:
    """`share` of the records is altered, or of the units; `ramp_rows` is how long it takes to get there."""

    name: str
    share: float
    alter: Alter
    sources: tuple[str, ...] = ()
    """Where it makes sense; empty: everywhere."""
    ramp_rows: int = 0
    whole: bool = False
    """A burst or a conversation is altered as a whole (people stay on their topic), or record by record (faults)."""

    def share_at(self, rows_since: int) -> float:
        """Share of altered units so many rows after the change began."""
        return self.share if rows_since >= self.ramp_rows else self.share * rows_since / self.ramp_rows


def _say(exchange: Exchange, pair: Pair) -> Exchange:
    return dataclasses.replace(exchange, messages=(Message(role="user", text=pair[0]),), answer=pair[1])


def _answer(exchange: Exchange, answer: str) -> Exchange:
    return dataclasses.replace(exchange, answer=answer)


def _new_topic(r: random.Random, texts: Source, exchange: Exchange) -> Exchange:
    return _say(exchange, r.choice(texts.new[r.choice(list(texts.new))]))


def _language(r: random.Random, texts: Source, exchange: Exchange) -> Exchange:
    return _say(exchange, (r.choice(foreign(r.choice(LANGUAGES[:2]))), exchange.answer))


def _longer(r: random.Random, texts: Source, exchange: Exchange) -> Exchange:
    more = [r.choice(pool)[0] for pool in r.sample(list(texts.usual.values()), 2)]
    return _say(exchange, (" ".join([exchange.prompt, *more]), exchange.answer))


def _truncated(r: random.Random, texts: Source, exchange: Exchange) -> Exchange:
    cut = exchange.answer[: max(3, int(len(exchange.answer) * r.uniform(0.2, 0.5)))]
    return dataclasses.replace(exchange, answer=cut, finish_reason="length")


_REFUSALS = (
    "I'm sorry, but I cannot help with that.",
    "I am not able to assist with this request.",
    "Sorry, I can't do that. Is there anything else?",
)


def _refused(r: random.Random, texts: Source, exchange: Exchange) -> Exchange:
    return _answer(exchange, r.choice(_REFUSALS))


def _looped(r: random.Random, texts: Source, exchange: Exchange) -> Exchange:
    words = exchange.answer.split()
    again = words[-r.randint(2, 6) :] * r.randint(4, 8)
    return dataclasses.replace(exchange, answer=" ".join(words + again), finish_reason="length")


def _swapped(r: random.Random, texts: Source, exchange: Exchange) -> Exchange:
    return _answer(exchange, r.choice(texts.usual[r.choice(list(texts.usual))])[1])


def _template(r: random.Random, texts: Source, exchange: Exchange) -> Exchange:
    return _say(exchange, (f"### Request:\n{exchange.prompt}\n### Reply:", exchange.answer))


def _slower(r: random.Random, texts: Source, exchange: Exchange) -> Exchange:
    return dataclasses.replace(exchange, ttft_s=(exchange.ttft_s or 0) * 2.5, total_s=exchange.total_s * 2.5)


CHANGES = {
    change.name: change
    for change in (
        Change("topics 5 %", 0.05, _new_topic, whole=True),
        Change("topics 10 %", 0.1, _new_topic, whole=True),
        Change("topics 30 %", 0.3, _new_topic, whole=True),
        Change("topics 100 %", 1.0, _new_topic, whole=True),
        Change("topics 10 % of everyone's", 0.1, _new_topic),
        Change("topics 30 % of everyone's", 0.3, _new_topic),
        Change("topics 0-50 % gradually", 0.5, _new_topic, ramp_rows=GRADUAL_ROWS, whole=True),
        Change("another language 10 %", 0.1, _language, sources=("commands",), whole=True),
        Change("longer prompts 30 %", 0.3, _longer),
        Change("answers truncated 30 %", 0.3, _truncated),
        Change("refusals 10 %", 0.1, _refused),
        Change("loops 10 %", 0.1, _looped),
        Change("answers swapped 30 %", 0.3, _swapped),
        Change("another template", 1.0, _template),
        Change("latency x2.5", 1.0, _slower),
    )
}


def stream(name: str, shape: str, change: Change | None, *, seed: int, rows: int) -> Stream:
    """`REFERENCE_ROWS` and then `rows` live exchanges of one source; a change begins at live row `BEFORE_ROWS`."""
    r = random.Random(f"{name} {shape} {change.name if change else ''} {seed}")
    texts = source(name)
    begins = REFERENCE_ROWS + BEFORE_ROWS
    altered: dict[int, bool] = {}
    everything: list[Exchange] = []
    topics = r.sample(sorted(texts.usual), len(texts.usual))
    slots = SHAPES[shape](r, topics)
    for row in range(REFERENCE_ROWS + rows):
        slot = next(slots)
        exchange = _exchange(r, texts, slot, row)
        if change is not None and row >= begins:
            unit = slot.unit if change.whole else -row
            hit = altered.setdefault(unit, r.random() < change.share_at(row - begins))
            exchange = change.alter(r, texts, exchange) if hit else exchange
        everything.append(exchange)
    at = None if change is None else BEFORE_ROWS
    return Stream(everything[:REFERENCE_ROWS], everything[REFERENCE_ROWS:], at)


def sources_of(change: Change | None, available: Sequence[str]) -> list[str]:
    """Where this change makes sense."""
    return [name for name in available if change is None or not change.sources or name in change.sources]


def _exchange(r: random.Random, texts: Source, slot: Slot, row: int) -> Exchange:
    prompt, answer = r.choice(texts.usual[slot.topic])
    ttft_s = r.lognormvariate(-1.6, 0.4)
    tokens = max(1, len(answer) // 4)
    return Exchange(
        id=f"x{row}",
        worker="scenario",
        seq=row + 1,
        started_at=slot.at,
        path="/v1/chat/completions",
        alias="home",
        version="home-v1",
        status=200,
        outcome=Outcome.COMPLETE,
        messages=(Message(role="user", text=in_manner(prompt, slot.manner)),),
        answer=answer,
        finish_reason="stop",
        streamed=True,
        user=slot.user,
        conversation=slot.conversation,
        answer_tokens=tokens,
        ttft_s=ttft_s,
        total_s=ttft_s + tokens * 0.02 * r.lognormvariate(0, 0.1),
    )
