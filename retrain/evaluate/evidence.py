"""What was said in the contest, as the gate needs it (pure).

In: the lines of eval.jsonl, what was measured beside them. Out: `Evidence`. Must never know: the engine, bounds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from retrain.curate.rows import LABELS, Row, normal
from retrain.evaluate.measured import Measured
from retrain.evaluate.record import BASE, CANARY, CHALLENGER, CHAMPION, FRESH, OLD, Line, Said, Slices
from retrain.gate.verdict import NOTHING, Counted, Evidence, Paired
from retrain.metrics import right as rules

LEAST_SLICE = 5
"""Rows below which a part of the old slice is not looked at by itself."""
MOST_SLICES = 20


def evidence(said: Said, slices: Slices, other: str, measured: Measured | None = None) -> Evidence:
    """All answers as evidence; `other` is whom the challenger contests with: the champion, else the bare model."""
    tested = [(name, number) for name in (FRESH, OLD) for number in range(len(slices.get(name, ())))]
    everything = [(name, number) for name, rows in slices.items() for number in range(len(rows))]
    champion = other == CHAMPION
    beside = measured if measured is not None and champion else Measured()
    same_task = [key for key in everything if key[0] in (OLD, CANARY)]
    one_line = not any("\n" in slices[name][number].answer for name, number in tested)
    return Evidence(
        fresh=_paired(said, [key for key in tested if key[0] == FRESH], other),
        old=_paired(said, [key for key in tested if key[0] == OLD], other),
        base=_paired(said, tested, BASE),
        well_formed=[_formed(said[(*key, CHALLENGER)], one_line=one_line) for key in tested],
        slowdowns=[_ratio(said, key, other, "latency_s") for key in tested] if champion else [],
        lengths=[_ratio(said, key, other, "tokens") for key in same_task] if champion else [],
        slices={name: _paired(said, keys, other) for name, keys in parts(slices.get(OLD, ())).items()},
        canary=_paired(said, [key for key in everything if key[0] == CANARY], other),
        guards=_guards(said, slices, tested, everything, one_line=one_line) if champion else {},
        perplexity=beside.perplexity,
        grades=beside.grades,
        preferences={name: Counted(*counts) for name, counts in beside.preferences.items()},
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


def _ratio(said: Said, key: tuple[str, int], other: str, what: str) -> float:
    """The challenger's value over the other's; NaN without both."""
    mine, theirs = (float(said[(*key, role)].get(what) or math.nan) for role in (CHALLENGER, other))
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
