"""What was said in the contest, as the gate needs it and as people read it: evidence and figures.

In: the lines of eval.jsonl. Out: `Evidence`, a dictionary of figures. Must never know: the engine, bounds.
Heavy imports only in `figures`.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from retrain.curate.rows import LABELS, Row, normal
from retrain.gate import NOTHING, Evidence, Paired
from retrain.metrics import right as rules

CHAMPION, CHALLENGER, BASE = "champion", "challenger", "base"
FRESH, OLD, CANARY = "fresh", "old", "canary"
LEAST_SLICE = 5
"""Rows below which a part of the old slice is not looked at by itself."""
MOST_SLICES = 20

Key = tuple[str, int, str]
Line = Mapping[str, Any]
Said = Mapping[Key, Line]
Slices = Mapping[str, Sequence[Row]]


def evidence(said: Said, slices: Slices, other: str) -> Evidence:
    """All answers as evidence; `other` is whom the challenger contests with: the champion, else the bare model."""
    tested = [(name, number) for name in (FRESH, OLD) for number in range(len(slices.get(name, ())))]
    everything = [(name, number) for name, rows in slices.items() for number in range(len(rows))]
    champion = other == CHAMPION
    one_line = not any("\n" in slices[name][number].answer for name, number in tested)
    return Evidence(
        fresh=_paired(said, [key for key in tested if key[0] == FRESH], other),
        old=_paired(said, [key for key in tested if key[0] == OLD], other),
        base=_paired(said, tested, BASE),
        well_formed=[_formed(said[(*key, CHALLENGER)], one_line=one_line) for key in tested],
        slowdowns=[_slowdown(said, key, other) for key in tested] if champion else [],
        slices={name: _paired(said, keys, other) for name, keys in parts(slices.get(OLD, ())).items()},
        canary=_paired(said, [key for key in everything if key[0] == CANARY], other),
        guards=_guards(said, slices, tested, everything, one_line=one_line) if champion else {},
        answers=len({normal(row.answer) for row in slices.get(FRESH, ())}) if slices.get(FRESH) else None,
    )


def parts(rows: Sequence[Row]) -> dict[str, list[tuple[str, int]]]:
    """The old slice by each label that its rows carry and by their source; the largest parts, none trivial."""
    found: dict[str, list[tuple[str, int]]] = {}
    for key in (*LABELS, "source"):
        of: dict[str, list[tuple[str, int]]] = {}
        for number, row in enumerate(rows):
            value = row.source if key == "source" else dict(row.labels).get(key)
            if value is not None:
                of.setdefault(f"{key}={value}", []).append((OLD, number))
        whole = [keys for keys in of.values() if len(keys) == len(rows)]
        found |= {} if whole else {name: keys for name, keys in of.items() if len(keys) >= LEAST_SLICE}
    largest = sorted(found, key=lambda name: (-len(found[name]), name))[:MOST_SLICES]
    return {name: found[name] for name in largest}


def _paired(said: Said, keys: Sequence[tuple[str, int]], other: str) -> Paired:
    if not keys:
        return NOTHING
    return Paired(
        challenger=[bool(said[(*key, CHALLENGER)]["right"]) for key in keys],
        other=[bool(said[(*key, other)]["right"]) for key in keys],
    )


def _slowdown(said: Said, key: tuple[str, int], other: str) -> float:
    mine, theirs = (float(said[(*key, role)].get("latency_s") or math.nan) for role in (CHALLENGER, other))
    return mine / theirs


def _formed(line: Line, *, one_line: bool) -> bool:
    return rules.well_formed(str(line["answer"]), str(line["finish"]), one_line=one_line)


def _guards(
    said: Said,
    slices: Slices,
    tested: Sequence[tuple[str, int]],
    everything: Sequence[tuple[str, int]],
    *,
    one_line: bool,
) -> dict[str, Paired]:
    """Whose answers are in form, are no refusals where an answer was asked for, and are safe."""
    rows = {key: slices[key[0]][key[1]] for key in everything}
    answerable = [key for key, row in rows.items() if row.match != "refusal" and not rules.refused(row.answer)]

    def fine(key: tuple[str, int], role: str) -> bool:
        return _formed(said[(*key, role)], one_line=one_line)

    def answered(key: tuple[str, int], role: str) -> bool:
        return not rules.refused(str(said[(*key, role)]["answer"]))

    def safe(key: tuple[str, int], role: str) -> bool:
        row, answer = rows[key], str(said[(*key, role)]["answer"])
        given = (*(text for _, text in row.messages), row.answer)
        return not rules.leaks(answer, *given) and (row.match != "refusal" or rules.refused(answer))

    asked = {"format": (tested, fine), "refusals": (answerable, answered), "safety": (everything, safe)}
    return {
        name: Paired(challenger=[check(key, CHALLENGER) for key in keys], other=[check(key, CHAMPION) for key in keys])
        for name, (keys, check) in asked.items()
    }


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
