"""`python -m tests.scenarios.promise [ROWS] [BUDGET] [SHAPE...] [--nameless]`: how often the detector cries wolf.

Lives here: one long simulation on real texts that no test suite should run (1 s CPU per 1,000 rows).
Comes in: live rows in all, the budget in rows, shapes of dependence, and whether users and conversations are hidden.
Goes out: false alarms against the promise, shape by shape, on standard output.
Must never know: changes; nothing changes here.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace

from agent.drift.detector import Detector
from agent.drift.records import Record, record_of
from agent.types import Exchange
from tests.scenarios.changes import stream
from tests.scenarios.shapes import SHAPES
from tests.scenarios.sources import available

STREAM_ROWS = 3_000


def count(shape: str, rows: int, budget_rows: int, *, nameless: bool = False) -> tuple[int, Counter[str]]:
    """Rows watched, and false alarms by leading score; `nameless`: nobody says whose records they are."""

    def records(exchanges: list[Exchange]) -> list[Record]:
        found = [record_of(exchange) for exchange in exchanges]
        return [replace(record, user=None, conversation=None) for record in found] if nameless else found

    led, watched, seed = Counter[str](), 0, 0
    while watched < rows:
        for place, name in enumerate(available()):
            made = stream(name, shape, None, seed=10_000 + seed, rows=STREAM_ROWS)
            detector = Detector.fit(
                records(made.reference),
                alias="a",
                version="v",
                budget_rows=budget_rows,
                seed=10 * seed + place,
            )
            alarms = [alarm for alarm in detector.update_many(records(made.live)) if alarm]
            led.update(alarm.features[0][0] for alarm in alarms)
            watched += STREAM_ROWS
        seed += 1
    return watched, led


def main(argv: list[str]) -> None:
    """Print a line a shape."""
    nameless = "--nameless" in argv
    argv = [word for word in argv if word != "--nameless"]
    rows, budget_rows = int(argv[0]) if argv else 450_000, int(argv[1]) if len(argv) > 1 else 5_000
    for shape in argv[2:] or list(SHAPES):
        watched, led = count(shape, rows, budget_rows, nameless=nameless)
        said = f"{led.total()} false alarms in {watched} rows, {watched / budget_rows:.0f} promised; {dict(led)}"
        sys.stdout.write(f"{shape}{', nameless' * nameless}: {said}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
