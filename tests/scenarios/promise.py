"""`python -m tests.scenarios.promise [ROWS] [BUDGET] [SHAPE...]`: how often the detector cries wolf, on real texts.

Lives here: one long simulation that no test suite should run (1 s CPU per 1,000 rows). Comes in: live rows in all, the
budget in rows, shapes of dependence. Goes out: false alarms against the promise, shape by shape, on standard output.
Must never know: changes; nothing changes here.
"""

from __future__ import annotations

import sys
from collections import Counter

from agent.drift.detector import Detector
from agent.drift.records import record_of
from tests.scenarios.changes import stream
from tests.scenarios.shapes import SHAPES
from tests.scenarios.sources import available

STREAM_ROWS = 3_000


def count(shape: str, rows: int, budget_rows: int) -> tuple[int, Counter[str]]:
    """Rows watched, and false alarms by leading score."""
    led, watched, seed = Counter[str](), 0, 0
    while watched < rows:
        for place, name in enumerate(available()):
            made = stream(name, shape, None, seed=10_000 + seed, rows=STREAM_ROWS)
            detector = Detector.fit(
                [record_of(e) for e in made.reference],
                alias="a",
                version="v",
                budget_rows=budget_rows,
                seed=10 * seed + place,
            )
            alarms = [alarm for alarm in detector.update_many([record_of(e) for e in made.live]) if alarm]
            led.update(alarm.features[0][0] for alarm in alarms)
            watched += STREAM_ROWS
        seed += 1
    return watched, led


def main(argv: list[str]) -> None:
    """Print a line a shape."""
    rows, budget_rows = int(argv[0]) if argv else 450_000, int(argv[1]) if len(argv) > 1 else 5_000
    for shape in argv[2:] or list(SHAPES):
        watched, led = count(shape, rows, budget_rows)
        promised = watched / budget_rows
        sys.stdout.write(
            f"{shape}: {led.total()} false alarms in {watched} rows, {promised:.0f} promised; {dict(led)}\n"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
