"""What was said in the contest, as people read it: figures per model and slice.

In: the lines of eval.jsonl. Out: a dictionary of figures. Must never know: the engine, bounds, what the gate needs.
The metrics are imported only when figures are wanted.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from retrain.evaluate.record import Line, Said, Slices
from retrain.metrics import right as rules


def figures(said: Said, slices: Slices, roles: Sequence[str]) -> dict[str, Any]:
    """Per role and slice: right, exact match, ROUGE, BLEU, METEOR, accuracy, precision, recall, F1, latency, tokens."""
    from retrain.metrics.answers import Answers
    from retrain.metrics.labels import Labels

    answers, labels = Answers(keep_in_memory=True), Labels(keep_in_memory=True)
    known = _kinds(slices)
    made: dict[str, Any] = {}
    for role in roles:
        made[role] = {}
        every: list[float] = []
        for name, rows in slices.items():
            if not rows:
                continue
            lines = [said[name, number, role] for number in range(len(rows))]
            predicted, expected = [str(x["answer"]) for x in lines], [str(x["expected"]) for x in lines]
            kinds = [rules.kind(text, known) for text in predicted], [rules.kind(text, known) for text in expected]
            made[role][name] = {
                "right": sum(bool(x["right"]) for x in lines) / len(lines),
                **_round(answers.compute(predictions=predicted, references=expected)),
                **_round(labels.compute(predictions=kinds[0], references=kinds[1])),
                **_speed(lines),
            }
            every += [float(x["latency_s"]) for x in lines]
        made[role]["median_latency_s"] = round(statistics.median(every), 4) if every else None
    return made


def _kinds(slices: Slices) -> dict[str, str]:
    """Right answer -> label, where rows carry one and no two disagree."""
    found: dict[str, str] = {}
    clash: Counter[str] = Counter()
    for row in (row for rows in slices.values() for row in rows):
        label = dict(row.labels).get("intent") or dict(row.labels).get("label")
        if label is not None:
            clash[row.answer] += found.setdefault(row.answer, label) != label
    return {answer: label for answer, label in found.items() if not clash[answer]}


def _speed(lines: Sequence[Line]) -> dict[str, float | None]:
    seconds = sorted(float(x["latency_s"]) for x in lines if math.isfinite(float(x["latency_s"])))
    tokens = [int(x["tokens"]) for x in lines if x.get("tokens") is not None]
    return {
        "latency_p50_s": round(statistics.median(seconds), 4) if seconds else None,
        "latency_p95_s": round(seconds[math.ceil(0.95 * len(seconds)) - 1], 4) if seconds else None,
        "answer_tokens": round(statistics.fmean(tokens), 2) if tokens else None,
    }


def _round(values: Mapping[str, float] | None) -> dict[str, float | None]:
    return {name: round(v, 6) if math.isfinite(v) else None for name, v in (values or {}).items()}
