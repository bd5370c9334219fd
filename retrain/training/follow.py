"""What is told of a run's steps and looks, and the run's early end: the rules of watch.py over the trainer's history.

In: the trainer's history after each step and look. Out: calls, Diverged, "stop". Must never know: the model, files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from retrain.recipe import Recipe
from retrain.training import watch
from retrain.training.watch import Diverged

OnStep = Callable[[int, float], None]
"""(step, loss) after every step, counted from 1."""
OnLook = Callable[[int, float], bool]
"""(step, validation loss) after every look; True ends the run there (a search that gives a recipe up)."""


class Follower:
    """What is told of each step and look; ends a run that falls apart or learns nothing more."""

    def __init__(self, recipe: Recipe, on_step: OnStep | None, on_look: OnLook | None) -> None:
        self.loss = math.nan
        self.looks: list[watch.Look] = []
        self.stopped = ""
        self._recipe = recipe
        self._on_step = on_step
        self._on_look = on_look

    def step(self, number: int, history: Sequence[dict[str, Any]]) -> None:
        """A step was done. Raises Diverged before it is saved."""
        losses = {int(entry["step"]): float(entry["loss"]) for entry in history if "loss" in entry}
        self.loss = losses[number]
        if reason := watch.no_number(number, self.loss):
            raise Diverged(reason)
        means = [] if self.looks else watch.blocks(list(losses.values()), self._recipe.steps)
        if reason := watch.came_apart(means, what="the training loss, by blocks of steps,"):
            raise Diverged(reason)
        if self._on_step is not None:
            self._on_step(number, self.loss)

    def look(self, number: int, history: Sequence[dict[str, Any]]) -> bool:
        """The validation rows were looked at; True when the run should end. Step 0 is the start, never the best."""
        losses = {int(entry["step"]): float(entry["eval_loss"]) for entry in history if "eval_loss" in entry}
        if reason := watch.no_number(number, losses[number], what="validation at"):
            raise Diverged(reason)
        if reason := watch.came_apart(list(losses.values()), what="the validation loss"):
            raise Diverged(reason)
        self.looks = [(step, loss) for step, loss in losses.items() if step > 0]
        if number == 0:
            return False
        self.stopped = watch.out_of_patience(self.looks, self._recipe.patience) or ""
        if self._on_look is not None and self._on_look(number, losses[number]):
            self.stopped = self.stopped or "given up by the search"
        return bool(self.stopped)
