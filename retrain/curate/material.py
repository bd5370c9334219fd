"""What curation is given and what it makes: two records.

In: rows. Out: `Material`, `Curated`. Must never know: steps, files, the store.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from retrain.curate.rows import Row

Marked = tuple[Row, str | None]
Label = Callable[[Sequence[Row]], tuple[list[Row], dict[str, Any]]]
"""Gives rows without an answer one, and says what it did."""


@dataclass(frozen=True, kw_only=True)
class Curated:
    """What curation made; `report` holds the counts of every step with examples of what was left out."""

    train: list[Row]
    fresh: list[Row]
    old: list[Row]
    validation: list[Row] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that may be learnt or examined. `fresh` and `unlabelled` are newest first; `fixed` is never learnt."""

    fresh: Sequence[Row] = ()
    replay: Sequence[Marked] = ()
    extra: Sequence[Row] = ()
    unlabelled: Sequence[Row] = ()
    fixed: Sequence[Row] = ()
    wrong: dict[str, str] = field(default_factory=dict)
    labellers: Sequence[tuple[str, Label]] = ()
