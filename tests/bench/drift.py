"""What the detector costs: a backtest of exchanges of 700 characters, one update, one state.

In: the scale. Out: CPU seconds per 1,000 exchanges, microseconds per update, against `json.loads` of the same lines in
the same run; bytes of the state. Must never know: how the detector decides.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from agent.drift.backtest import Plan, Replay
from agent.drift.detector import Detector
from agent.drift.records import Record
from tests.bench import texts
from tests.bench.figures import Figure, best_cpu_s, say
from tests.bench.scale import Scale

REFERENCE_ROWS = 1_000
PROMPT_CHARS = 200  # and an answer of 500: an exchange of 700
BOUND_S, BUDGET_ROWS = 0.5, 50_000


def measure(scale: Scale) -> list[Figure]:
    """CPU and size of the detector."""
    live, rounds = scale.of(2_000, 200), scale.of(3, 1)
    with tempfile.TemporaryDirectory() as folder:
        log, begun = Path(folder) / "log.jsonl", Path(folder) / "first.jsonl"
        lines = list(_lines(REFERENCE_ROWS + live))
        log.write_text("".join(lines))
        begun.write_text("".join(lines[: REFERENCE_ROWS + 1]))
        best = best_cpu_s(
            {
                "read": lambda: [json.loads(line) for line in lines],
                "begin": lambda: list(Replay(Plan(files=[begun], reference_rows=REFERENCE_ROWS))),
                "replay": lambda: list(Replay(Plan(files=[log], reference_rows=REFERENCE_ROWS))),
            },
            rounds,
        )
    records = [
        Record(id=str(i), prompt=d["prompt"], answer=d["response"]) for i, d in enumerate(map(json.loads, lines))
    ]
    say(f"    backtest: {REFERENCE_ROWS} and {live} exchanges in {best['replay']:.2f} s CPU")
    reading = best["read"] / len(records) * 1000
    per_1000 = (best["replay"] - best["begin"]) / (live - 1) * 1000
    detector = Detector.fit(records[:REFERENCE_ROWS], alias="bench", version="bench", budget_rows=BUDGET_ROWS, seed=0)
    size = len(detector.state())
    updates = iter(records[REFERENCE_ROWS:])
    part = live // (2 * rounds)
    spent = best_cpu_s({"update": lambda: [detector.update(next(updates)) for _ in range(part)]}, 2 * rounds)
    return [
        Figure(
            name="backtest_s_per_1000", says="backtest, 1,000 exchanges of 700 characters", value=per_1000,
            unit="s CPU", bound=BOUND_S, baseline=reading, against="json.loads of the same lines",
        ),
        Figure(
            name="fit_s", says=f"reading and learning a reference of {REFERENCE_ROWS:,}", value=best["begin"],
            unit="s CPU", baseline=reading * REFERENCE_ROWS / 1000, against="json.loads of the same lines",
        ),
        Figure(name="update_us", says="one update of the detector", value=spent["update"] / part * 1e6, unit="us",
               baseline=reading * 1e3, against="json.loads of its line"),
        Figure(name="state_bytes", says=f"state, reference of {REFERENCE_ROWS:,}", value=size, unit="bytes",
               baseline=sum(map(len, lines[:REFERENCE_ROWS])), against="the reference as JSON lines"),
    ]  # fmt: skip


def _lines(n: int) -> Iterator[str]:
    """`n` logged exchanges a second apart, in the short form."""
    for i, talk in enumerate(texts.talks(n, seed=17, prompt_chars=PROMPT_CHARS, answer_chars=500)):
        yield json.dumps({"prompt": talk.prompt, "response": talk.answer, "timestamp": 1_790_000_000 + i}) + "\n"
