"""When a run should end early: it learns nothing new, or it falls apart (pure).

In: losses so far. Out: a reason, or None. Must never know: the trainer, files.

Both rules read the whole history anew, so a run that was killed and goes on decides as an unbroken one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from serving.errors import TrimtabError

RISES = 3
"""So many rises in a row are no accident."""
APART = 1.2
"""A loss that rose and stands so many times above where it began has come apart."""
BLOCKS = 10
"""Training losses are noisy: a run without validation rows is watched by the means of so many blocks of steps."""
LEAST_BLOCK = 5

Look = tuple[int, float]
"""(step, validation loss)"""


class Diverged(TrimtabError):
    """The loss is no number any more, or it rises and rises; another recipe is needed."""


def no_number(step: int, loss: float, *, what: str = "training") -> str | None:
    """Why a loss that is no finite number ends a run."""
    if math.isfinite(loss):
        return None
    return f"{what} step {step}: the loss is {loss}; lower recipe.lr or look at the rows"


def came_apart(losses: Sequence[float], *, what: str) -> str | None:
    """Why losses that rise at each of the last RISES looks, to above APART times the first, end a run."""
    last = losses[-RISES - 1 :]
    if len(last) <= RISES or not all(before < after for before, after in pairwise(last)):
        return None
    if losses[-1] <= APART * losses[0]:
        return None
    return (
        f"{what} rose {RISES} times in a row, from {last[0]:.3g} to {last[-1]:.3g}, and began at {losses[0]:.3g}: "
        "take a third of recipe.lr, or a longer recipe.warmup_ratio"
    )


def blocks(losses: Sequence[float], steps: int) -> list[float]:
    """Means of the whole blocks of a run of `steps`; too short a run has none."""
    size = max(LEAST_BLOCK, steps // BLOCKS)
    whole = len(losses) // size
    return [sum(losses[at * size : (at + 1) * size]) / size for at in range(whole)]


def out_of_patience(looks: Sequence[Look], patience: int) -> str | None:
    """Why a run whose last `patience` looks brought no new least loss ends, keeping the best one."""
    if not looks:
        return None
    best_step, best = min(looks, key=lambda look: (look[1], look[0]))
    since = sum(step > best_step for step, _ in looks)
    if since < patience:
        return None
    return f"no better validation loss than {best:.4g} of step {best_step} in {since} looks"
