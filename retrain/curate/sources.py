"""Where rows come from: labelled exchanges of the store, a replay file, a labeller.

In: the store, a file of JSON lines, `file.py:function`. Out: rows, newest first, and counts of the rest.
Must never know: splits, duplicates, training.

The label of an exchange: a person's correction; else its own answer when a person called it right; else what
the labeller says (a weak label); else none, and the exchange is left out.
"""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from agent.store import Store
from agent.types import Exchange, Grade
from retrain.curate.rows import Row
from serving.errors import InvalidInput, TrimtabError

Labeller = Callable[[str], str | None]

BATCH_ROWS = 500
MIN_GROUPS = 10
"""Fewer users (or conversations) than this cannot be split fairly: the next finer grouping is used."""


def fresh_rows(
    store: Store, alias: str, since: int, until: int | None, labeller: Labeller | None
) -> tuple[list[Row], Counter[str]]:
    """Labelled exchanges with since < rowid <= until, newest first, and what became of all of them."""
    grades = {exchange.id: marks for _, exchange, marks in store.graded(since)}
    counts: Counter[str] = Counter()
    labelled: list[tuple[Exchange, str, str]] = []
    for exchange in _exchanges(store, since, until):
        if exchange.alias != alias:
            continue
        counts["seen"] += 1
        if not exchange.profiled or not exchange.prompt.strip():
            counts["not_whole"] += 1
            continue
        label, why = label_of(exchange, grades.get(exchange.id, ()), labeller)
        counts[why] += 1
        if label is not None:
            labelled.append((exchange, label, "human" if why.startswith("human") else "labeller"))
    labelled.reverse()
    level = grouping([exchange for exchange, _, _ in labelled])
    counts[f"grouped_by_{level}"] = len(labelled)
    return [_row(exchange, label, source, level) for exchange, label, source in labelled], counts


def label_of(exchange: Exchange, grades: Sequence[Grade], labeller: Labeller | None) -> tuple[str | None, str]:
    """(label or None, what it rests on) of one exchange. Opinions of a judge are no labels."""
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
    if not said or not said.strip():
        return None, "unlabelled"
    if truths and said.strip() == answer:
        return None, "labeller_against_human"
    return said.strip(), "labeller"


def grouping(exchanges: Sequence[Exchange]) -> str:
    """user, conversation or text: the coarsest with enough groups to split fairly (pure)."""
    for level in ("user", "conversation"):
        values = [getattr(exchange, level) for exchange in exchanges]
        if values and None not in values and len(set(values)) >= MIN_GROUPS:
            return level
    return "text"


def load_labeller(spec: str | None) -> Labeller | None:
    """The function of `file.py:function`. Raises InvalidInput when there is none.

    The file is run: an order may name only code that its writer trusts, as with every job that it starts.
    """
    if spec is None:
        return None
    file, _, name = spec.rpartition(":")
    path = Path(file)
    module_spec = importlib.util.spec_from_file_location(f"labeller_{path.stem}", path)
    if not path.is_file() or module_spec is None or module_spec.loader is None:
        raise InvalidInput(f"labeller {spec}: there is no file {file}; write file.py:function")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module.__name__] = module  # dataclasses and pickles look a class's module up by name
    try:
        module_spec.loader.exec_module(module)
        function = getattr(module, name)
    except Exception as error:
        raise InvalidInput(f"labeller {spec} cannot be loaded: {type(error).__name__}: {error}") from error

    def label(text: str) -> str | None:
        try:
            said = function(text)
        except Exception as error:
            raise TrimtabError(f"labeller {spec} failed on {text[:80]!r}: {type(error).__name__}: {error}") from error
        if said is not None and not isinstance(said, str):
            raise InvalidInput(f"labeller {spec} gave a {type(said).__name__}: it must give text or None")
        return said

    return label


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


def _row(exchange: Exchange, label: str, source: str, level: str) -> Row:
    messages = tuple((message.role, message.text) for message in exchange.messages)
    group = exchange.prompt if level == "text" else str(getattr(exchange, level))
    return Row(
        id=exchange.id,
        messages=messages,
        answer=label,
        source=source,
        group=f"{level}:{group}",
        user=exchange.user,
    )
