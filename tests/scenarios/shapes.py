"""In which order texts come, from whom and when: what makes records depend on each other.

Lives here: `SHAPES`, generators of `Slot`s without end. Comes in: a seeded generator and a source's usual topics.
Goes out: who speaks, in which conversation, when, about which topic. Must never know: changes, detectors.

Only `independent` and `growth` are exchangeable record by record: the promise about false alarms is made for them.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 2, tzinfo=UTC)
DAY_ROWS = 250
"""Records a day, where there are days: a reference of 1,000 holds four."""
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Slot:
    """One record to be: `unit` numbers what comes together: a burst, a conversation."""

    at: datetime
    user: str
    conversation: str
    topic: str
    unit: int
    manner: int = 0
    """How this user writes, 0 to 4; 0 changes nothing."""


def independent(r: random.Random, topics: Sequence[str]) -> Iterator[Slot]:
    """Everyone says one thing, and nothing depends on anything."""
    for n, at in enumerate(_steady(r)):
        yield Slot(at, f"u{r.randrange(200)}", f"c{n}", r.choice(topics), n)


def bursts(r: random.Random, topics: Sequence[str]) -> Iterator[Slot]:
    """60 users, each with two favourite topics and a manner of writing, who send 2 to 60 records in a row."""
    users = [(f"u{n}", r.sample(topics, 2), r.randrange(5)) for n in range(60)]
    clock = _steady(r)
    for unit in itertools.count():
        user, favourites, manner = r.choice(users)
        topic = r.choice(favourites)
        for at in itertools.islice(clock, 2 + int(min(r.expovariate(1 / 13), 58))):
            yield Slot(at, user, f"c{unit}", topic, unit, manner)


def conversations(r: random.Random, topics: Sequence[str]) -> Iterator[Slot]:
    """Whole conversations in a row: 3 to 20 turns about one thing with one person, who comes only once."""
    clock = _steady(r)
    for unit in itertools.count():
        topic, manner = r.choice(topics), r.randrange(5)
        for at in itertools.islice(clock, r.randint(3, 20)):
            yield Slot(at, f"u{unit}", f"c{unit}", topic, unit, manner)


def days(r: random.Random, topics: Sequence[str]) -> Iterator[Slot]:
    """Half of the topics are for the day and half for the night; two thirds of the records come by day."""
    half = len(topics) // 2
    for n, at in enumerate(_daily(r)):
        hour = at.hour + at.minute / 60
        by_day = 0.5 + 0.45 * math.sin((hour - 8) / 24 * 2 * math.pi)
        pool = topics[:half] if r.random() < by_day else topics[half:]
        yield Slot(at, f"u{r.randrange(200)}", f"c{n}", r.choice(pool), n)


def growth(r: random.Random, topics: Sequence[str]) -> Iterator[Slot]:
    """Slow benign growth: the same things, from ever more people, ever faster (tenfold over 3,000 records)."""
    at = START
    for n in itertools.count():
        at += timedelta(seconds=r.expovariate(10 ** (n / 3_000)) * 60)
        yield Slot(at, f"u{r.randrange(50 + n // 4)}", f"c{n}", r.choice(topics), n)


def _steady(r: random.Random) -> Iterator[datetime]:
    at = START
    while True:
        at += timedelta(seconds=r.expovariate(1 / 60))
        yield at


def _daily(r: random.Random) -> Iterator[datetime]:
    """Times whose rate swings with the hour, thinned from a steady rate."""
    at = START
    while True:
        at += timedelta(seconds=r.expovariate(1.6 * DAY_ROWS / _DAY_S))
        if r.random() < (1 + 0.6 * math.sin((at.hour - 8) / 24 * 2 * math.pi)) / 1.6:
            yield at


SHAPES: dict[str, Callable[[random.Random, Sequence[str]], Iterator[Slot]]] = {
    "independent": independent,
    "bursts": bursts,
    "conversations": conversations,
    "days": days,
    "growth": growth,
}


def in_manner(text: str, manner: int) -> str:
    """The text as this user writes."""
    if manner == 1:
        return f"{text} please"
    if manner == 2:
        return text.lower().rstrip(".?!")
    if manner == 3:
        return f"Hi, {text}"
    return text.upper() if manner == 4 and len(text) < 120 else text
