"""Where rows come from: exchanges of the store, files of JSON lines.

In: the store, paths. Out: rows, newest first, and counts of the rest. Must never know: splits, duplicates, training.

The label of an exchange: a person's correction; else its own answer when a person called it right; else what the
labeller says (a weak label); else, where the order asks for it, its own answer when a judge approved. What is left has
no label: labelling functions and a teacher may give it one once it is on the training side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.store import Store
from agent.store.forgotten import file_mark
from agent.turns import completed
from agent.types import Exchange, Grade
from retrain.curate.labellers import Labeller, load_labeller
from retrain.curate.rows import Row, read_marked

__all__ = ["Fresh", "Labeller", "fresh_rows", "grouping", "label_of", "load_labeller", "rows_of_file"]

BATCH_ROWS = 500
MIN_GROUPS = 10
"""Fewer users (or conversations) than this cannot be split fairly: the next finer grouping is used."""
LIVE_ROWS = 1000
"""Newest exchanges that stand for live traffic in the report."""
_SOURCE = {
    "human_correction": "human",
    "human_confirmed": "feedback",
    "labeller": "labeller",
    "judge_approved": "judge",
}


@dataclass(kw_only=True)
class Fresh:
    """Rows of the window, newest first; those of `unlabelled` have an empty answer. `live` is traffic as it was."""

    rows: list[Row] = field(default_factory=list)
    unlabelled: list[Row] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)
    """Answers that a person called wrong, by the id of an unlabelled row: nothing may give it that label again."""
    live: list[Exchange] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def fresh_rows(
    store: Store,
    alias: str,
    since: int,
    until: int | None,
    labeller: Labeller | None,
    *,
    approved: float | None = None,
    forgotten: Collection[str] = (),
) -> Fresh:
    """Exchanges with since < rowid <= until, and what became of all of them.

    `approved`: the judge's score from which its opinion makes an answer a weak label; None: never.
    """
    grades = {exchange.id: marks for _, exchange, marks in store.graded(since)}
    made = Fresh()
    counts = made.counts
    found: list[tuple[Exchange, str, str, float]] = []
    for exchange in completed(_exchanges(store, since, until)):
        if exchange.alias != alias:
            continue
        counts["seen"] += 1
        if not exchange.profiled or not exchange.prompt.strip():
            counts["not_whole"] += 1
            continue
        if exchange.user in forgotten:
            counts["forgotten"] += 1
            continue
        made.live.append(exchange)
        marks = grades.get(exchange.id, ())
        label, why = label_of(exchange, marks, labeller, approved)
        counts[why] += 1
        if label is not None:
            found.append((exchange, label, _SOURCE[why], _sure(marks) if why == "judge_approved" else 1.0))
        elif why == "unlabelled":
            if any(grade.truth for grade in marks):
                made.wrong[exchange.id] = exchange.answer.strip()
            found.append((exchange, "", "weak", 1.0))
    found.reverse()
    made.live = made.live[: -LIVE_ROWS - 1 : -1]
    labelled = [exchange for exchange, label, *_ in found if label]
    level = grouping(labelled)
    counts[f"grouped_by_{level}"] = len(labelled)
    for exchange, label, source, weight in found:
        (made.rows if label else made.unlabelled).append(_row(exchange, label, source, level, weight))
    return made


def label_of(
    exchange: Exchange, grades: Sequence[Grade], labeller: Labeller | None, approved: float | None = None
) -> tuple[str | None, str]:
    """(label or None, what it rests on) of one exchange. A judge is heard last, and only when asked."""
    truths = [grade for grade in grades if grade.truth]
    corrections = {grade.correction.strip() for grade in truths if grade.correction and grade.correction.strip()}
    right = any(grade.score >= 0.5 and not grade.correction for grade in truths)
    answer = exchange.answer.strip()
    if len(corrections) > 1 or (right and corrections - {answer}):
        return None, "people_disagree"
    if corrections:
        return corrections.pop(), "human_correction"
    if right and answer:
        return answer, "human_confirmed"
    said = labeller(exchange.prompt) if labeller else None
    if said and said.strip():
        if truths and said.strip() == answer:
            return None, "labeller_against_human"
        return said.strip(), "labeller"
    opinions = [grade.score for grade in grades if not grade.truth]
    if approved is not None and not truths and answer and opinions and min(opinions) >= approved:
        return answer, "judge_approved"
    return None, "unlabelled"


def grouping(exchanges: Sequence[Exchange]) -> str:
    """user, conversation or text: the coarsest with enough groups to split fairly (pure).

    An exchange that does not have it falls back to the next finer one by itself.
    """
    for level in ("user", "conversation"):
        if len({getattr(exchange, level) for exchange in exchanges} - {None}) >= MIN_GROUPS:
            return level
    return "text"


def rows_of_file(
    path: Path, *, prefix: str, source: str, forgotten: Collection[str] = ()
) -> tuple[list[tuple[Row, str | None]], int]:
    """(rows with their "split" mark, how many belong to the forgotten). Users' names become marks."""
    found: list[tuple[Row, str | None]] = []
    gone = 0
    for row, mark in read_marked(path, prefix=prefix, source=source):
        if row.user is None:
            found.append((row, mark))
            continue
        user = file_mark(row.user)
        if user in forgotten or row.user in forgotten:
            gone += 1
            continue
        group = f"user:{user}" if row.group == row.user else row.group
        found.append((replace(row, user=user, group=group), mark))
    return found, gone


def _exchanges(store: Store, since: int, until: int | None) -> list[Exchange]:
    end = store.last_rowid() if until is None else until
    found: list[Exchange] = []
    cursor = since
    while cursor < end:
        batch = store.exchanges_after(cursor, BATCH_ROWS)
        found += [exchange for rowid, exchange in batch if rowid <= end]
        if not batch:
            break
        cursor = batch[-1][0]
    return found


def _row(exchange: Exchange, label: str, source: str, level: str, weight: float) -> Row:
    messages = tuple((message.role, message.text) for message in exchange.messages)
    by_user = f"user:{exchange.user}" if level == "user" and exchange.user else None
    by_conversation = f"conversation:{exchange.conversation}" if level != "text" and exchange.conversation else None
    return Row(
        id=exchange.id,
        messages=messages,
        answer=label,
        source=source,
        group=by_user or by_conversation or f"text:{exchange.prompt}",
        user=exchange.user,
        conversation=exchange.conversation,
        weight=weight,
    )


def _sure(grades: Sequence[Grade]) -> float:
    scores = [grade.score for grade in grades if not grade.truth]
    return round(max(0.01, min(1.0, sum(scores) / len(scores))), 4)
