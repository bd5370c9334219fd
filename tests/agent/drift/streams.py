"""Seeded streams of short smart-home exchanges, and of exchanges about other things.

Lives here: what the drift tests feed. Comes in: a seed. Goes out: records. Must never know: the detector.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from agent.drift.records import Record

AREAS = ("kitchen", "living room", "bedroom", "garage", "office", "hallway", "bathroom", "nursery", "study", "garden")
THINGS = ("light", "lamp", "fan", "heater", "desk lamp", "ceiling spots", "kettle", "coffee maker", "blind", "shutter")
START = datetime(2026, 11, 1, tzinfo=UTC)


def usual(r: random.Random) -> tuple[str, str]:
    """A command about lights, climate or covers, and its answer."""
    area, thing, state, n = r.choice(AREAS), r.choice(THINGS), r.choice(["on", "off"]), r.randint(16, 26)
    return r.choice(
        [
            (f"turn {state} the {thing} in the {area}", f"{thing} {state} in {area}"),
            (f"switch {state} {area} {thing}", f"{thing} {state} in {area}"),
            (f"set the {area} to {n} degrees", f"temp set {n} in {area}"),
            (f"what is the temperature in the {area}", f"temp get in {area}"),
            (f"please turn the {thing} {state}", f"{thing} {state}"),
            (f"is the {thing} {state} in my {area}?", f"ask is {thing} {state} in {area}"),
        ]
    )


def strange(r: random.Random) -> tuple[str, str]:
    """A command about timers, media or volume, answered as if it were a usual one."""
    n = r.randint(1, 60)
    prompts = [
        f"set a timer for {n} minutes",
        f"cancel my {r.choice(['pizza', 'egg', 'tea'])} timer",
        f"play {r.choice(['jazz', 'abba', 'queen'])} on the tv",
        f"volume up by {n}",
        "pause the music",
    ]
    return r.choice(prompts), usual(r)[1]


def stream(
    seed: int,
    rows: int,
    *,
    change_at: int | None = None,
    share: float = 0.5,
    change: Callable[[random.Random, Record], Record] | None = None,
) -> list[Record]:
    """`rows` records a second apart; from `change_at` on, `share` of them are strange, or changed by `change`."""
    r = random.Random(seed)
    out = []
    for i in range(rows):
        prompt, answer = usual(r)
        record = Record(id=f"x{seed}-{i}", prompt=prompt, answer=answer, at=START + timedelta(seconds=i))
        if change_at is not None and i >= change_at and r.random() < share:
            if change is None:
                prompt, answer = strange(r)
                record = dataclasses.replace(record, prompt=prompt, answer=answer)
            else:
                record = change(r, record)
        out.append(record)
    return out
