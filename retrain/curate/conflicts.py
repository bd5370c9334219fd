"""Contradictory labels: the same question with two answers teaches nothing (pure).

In: rows of all slices. Out: the rows that stay and the rows that go, with the reason.
Must never know: splits, files. The more trusted label stays; equals that disagree all go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from retrain.curate.rows import Row


def settle(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """(kept, dropped), each in the old order."""
    by_question: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_question[row.key].append(row)
    winners = {key: _answer(asked) for key, asked in by_question.items()}
    kept = [row for row in rows if winners[row.key] == row.answer]
    dropped = [row for row in rows if winners[row.key] != row.answer]
    return kept, dropped


def _answer(rows: Sequence[Row]) -> str | None:
    """The one answer of the most trusted rows; None when they disagree among themselves."""
    best = max(row.trust for row in rows)
    answers = {row.answer for row in rows if row.trust == best}
    return answers.pop() if len(answers) == 1 else None
