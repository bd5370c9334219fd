"""What a sweep tries, and what came of it (pure).

In: an order's recipe. Out: points (learning rate, rows a batch), recipes of equal cost, trials.
Must never know: a search library, how a trial is run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from retrain.recipe import Recipe
from serving.errors import InvalidInput

Look = Callable[[int, float], bool]
"""(look number from 1, validation loss) -> whether to give the trial up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One place in the space."""

    lr: float
    batch: int

    @classmethod
    def drawn(cls, values: Mapping[str, Any]) -> Point:
        """What a search drew: its rate to three digits, as people write it."""
        return cls(lr=float(f"{values['lr']:.3g}"), batch=int(values["batch"]))


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """3 to 5 learning rates by 2 to 3 batch sizes; a search that is no grid draws rates between the outermost."""

    lrs: tuple[float, ...]
    batches: tuple[int, ...]

    def grid(self) -> list[Point]:
        """All points; the middle rate first, because a sweep may be cut short."""
        middle = math.log(self.lrs[len(self.lrs) // 2])
        near = sorted(self.lrs, key=lambda lr: abs(math.log(lr) - middle))
        return [Point(lr=lr, batch=batch) for lr in near for batch in self.batches]


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """What came of a point. `loss` is the least validation loss, None when the run failed; `why` says what ended it."""

    point: Point
    loss: float | None
    steps: int
    seconds: float
    why: str = ""

    def to_json(self) -> dict[str, Any]:
        """One line of trials.jsonl."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Trial:
        """Read it back."""
        return cls(**{**value, "point": Point(**value["point"])})


Run = Callable[[Point, Look], Trial]
"""Runs one trial and keeps it; it never raises for a recipe that fails."""


class Backend(Protocol):
    """A search: it chooses points, runs each through `run`, and gives up what is clearly worse."""

    def search(self, space: Space, trials: int, done: Sequence[Trial], run: Run, seed: int) -> Sequence[Trial]:
        """Try points until `trials` are done, those of `done` counted in; returns the trials that never came back.

        They are what the search itself ended, so that `run` could not write them down.
        """


def space_around(recipe: Recipe, lrs: Sequence[float] = (), batches: Sequence[int] = ()) -> Space:
    """The given values, or five rates a third of a decade apart around the recipe's own and half, its own, twice.

    Batches that the recipe's workers cannot share evenly are none by default, and refused where they are given.
    """
    chosen = tuple(sorted(lrs)) or tuple(float(f"{recipe.lr * factor:.2g}") for factor in (0.2, 0.5, 1.0, 2.0, 5.0))
    half = max(1, recipe.batch // 2 // recipe.workers) * recipe.workers
    sizes = tuple(sorted(batches)) or tuple(sorted({half, recipe.batch, recipe.batch * 2}))
    if not all(0 < lr < 1 for lr in chosen) or not all(size >= 1 for size in sizes):
        raise InvalidInput("a sweep needs learning rates between 0 and 1 and batch sizes of at least 1")
    if odd := [size for size in sizes if size % recipe.workers]:
        raise InvalidInput(f"the recipe's {recipe.workers} workers cannot share a batch of {odd[0]} rows evenly")
    return Space(lrs=chosen, batches=sizes)


def recipe_at(recipe: Recipe, point: Point, *, looks: int) -> Recipe:
    """The recipe at a point: as many rows are seen as in the order's own, so that trials cost alike."""
    rows = recipe.steps * recipe.batch
    steps = max(looks, round(rows / point.batch))
    return replace(recipe, lr=point.lr, batch=point.batch, steps=steps, evaluations=looks)


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the least loss; of equals the cheaper."""
    good = [trial for trial in trials if trial.loss is not None and math.isfinite(trial.loss)]
    return min(good, key=lambda trial: (trial.loss, trial.seconds), default=None)
