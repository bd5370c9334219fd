"""Weak labels from Snorkel labelling functions: many half-right rules, weighed against each other.

In: rows without an answer, a Python file. Out: the rows that got one, with its probability as weight.
Must never know: the test side: the label model is fitted on training rows alone.

The file holds functions decorated with `snorkel.labeling.labeling_function()`; each takes `x` with `x.text`,
`x.system`, `x.answer` (what the model said) and gives a label as text, or None to abstain. One function alone is a
labeller (`data.labeller`); from three on, Snorkel's label model learns whom to believe (Ratner et al., VLDB 2017).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from retrain.curate.labellers import load_file
from retrain.curate.rows import Row
from serving.errors import InvalidInput, TrimtabError

ABSTAIN = -1
LEAST_FUNCTIONS = 3
LEAST_SURE = 0.6
EPOCHS = 300


def label(rows: Sequence[Row], path: Path, said: Mapping[str, str], seed: int = 0) -> tuple[list[Row], dict[str, Any]]:
    """(labelled rows, coverage of each function). `said` is the model's own answer by row id.

    A row is labelled where the chosen label has a probability of at least 0.6. Raises InvalidInput when snorkel is
    missing or the file holds no labelling function, TrimtabError when a function fails.
    """
    functions = load(path)
    points = [
        SimpleNamespace(text=row.prompt, system=row.frame, answer=said.get(row.id, ""), id=row.id) for row in rows
    ]
    votes = [[_vote(function, point, path) for function in functions] for point in points]
    names = sorted({vote for row in votes for vote in row if vote is not None})
    facts = {f.name: {"labels": sum(v[n] is not None for v in votes), "of": len(rows)} for n, f in enumerate(functions)}
    if not names:
        return [], facts
    chosen = _weigh(votes, names, seed)
    made = [
        replace(row, answer=names[number], weight=round(sure, 4))
        for row, (number, sure) in zip(rows, chosen, strict=True)
        if number != ABSTAIN and sure >= LEAST_SURE
    ]
    return made, facts


def load(path: Path) -> list[Any]:
    """The labelling functions of a file, in the order in which it defines them."""
    try:
        from snorkel.labeling import LabelingFunction
    except ImportError as error:
        raise InvalidInput("labelling_functions need Snorkel: pip install 'trimtab[snorkel]'") from error
    module = load_file(path, f"labelling_functions {path}")
    found = [value for value in vars(module).values() if isinstance(value, LabelingFunction)]
    if not found:
        raise InvalidInput(
            f"labelling_functions {path} defines none: decorate a function with @labeling_function() from snorkel"
        )
    return found


def _vote(function: Callable[[Any], Any], point: Any, path: Path) -> str | None:
    try:
        vote = function(point)
    except Exception as error:
        name = getattr(function, "name", "?")
        raise TrimtabError(f"labelling function {name} of {path} failed: {type(error).__name__}: {error}") from error
    if vote is None or vote == ABSTAIN:
        return None
    if not isinstance(vote, str) or not vote.strip():
        raise InvalidInput(f"labelling functions of {path} must give text or None, not {vote!r}")
    return vote.strip()


def _weigh(votes: Sequence[Sequence[str | None]], names: Sequence[str], seed: int) -> list[tuple[int, float]]:
    """(label number, its probability) of each row; ties and silence abstain."""
    import numpy as np
    from snorkel.labeling.model import LabelModel, MajorityLabelVoter

    index = {name: number for number, name in enumerate(names)}
    matrix = np.array([[ABSTAIN if vote is None else index[vote] for vote in row] for row in votes])
    size = max(2, len(names))
    if matrix.shape[1] >= LEAST_FUNCTIONS and len(names) > 1:
        model = LabelModel(cardinality=size, verbose=False)
        model.fit(matrix, n_epochs=EPOCHS, seed=seed, progress_bar=False)
    else:
        model = MajorityLabelVoter(cardinality=size)
    numbers, chances = model.predict(matrix, return_probs=True, tie_break_policy="abstain")
    silent = (matrix == ABSTAIN).all(axis=1)
    return [(ABSTAIN if silent[n] else int(number), float(chances[n].max())) for n, number in enumerate(numbers)]
