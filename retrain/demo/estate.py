"""What the demo needs before its curtain rises: a model, a champion, a judge, a task.

Lives here: the record of a prepared estate and the protocol of a task; the large one is made by `prepare`,
tests make a tiny one.
Comes in: nothing. Goes out: paths and numbers.
Must never know: how any of it was trained.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

Kind = Literal["reference", "drifted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """One thing a user of the assistant says, with the answer that is exactly right.

    `fresh` marks a feature that did not exist when the champion was trained.
    """

    text: str
    answer: str
    fresh: bool
    user: str


class Task(Protocol):
    """A task with known truth."""

    system: str
    """The system message of every request."""

    def traffic(self, kind: Kind, seed: int) -> Iterator[Ask]:
        """An endless, seeded stream of asks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estate:
    """Everything prepared. Paths are absolute; the judge's numbers come from rows that it never saw."""

    task: Task
    model: Path
    champion: Path
    judge: Path
    judge_auc: float
    judge_midpoint: float
    judge_slope: float
    reference: Path
    replay: Path
    labeller: str
    recipe: dict[str, Any]
    answer_tokens: int
    heldout_accuracy: float | None = None
    serve_arguments: tuple[str, ...] = ()
