"""Sweeps by Weights & Biases: their server plans and gives up, this process is its agent.

In: a space, trials that are done. Out: calls of `run`. Must never know: training.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from retrain.sweep.space import Point, Run, Space, Trial
from serving.errors import InvalidInput


class WandB:
    """Bayesian search with hyperband, as their server plans it.

    Their agent calls a trial in a thread, and ends one that the server gives up by raising a bare Exception in it; what
    else a trial raises it swallows, so that is kept here and raised when the agent has ended.
    """

    def __init__(self, project: str = "trimtab") -> None:
        try:
            import wandb
        except ImportError as error:
            raise InvalidInput("sweeps by wandb need the package: pip install wandb") from error
        self._wandb, self._project = wandb, project

    def search(self, space: Space, trials: int, done: Sequence[Trial], run: Run, seed: int) -> Sequence[Trial]:  # noqa: ARG002
        """See `Backend`. A trial that the server gives up never comes back."""
        if trials <= len(done):
            return []
        sweep = self._wandb.sweep(
            {
                "method": "bayes",
                "metric": {"name": "valid_loss", "goal": "minimize"},
                "early_terminate": {"type": "hyperband", "min_iter": 2},
                "parameters": {
                    "lr": {"distribution": "log_uniform_values", "min": min(space.lrs), "max": max(space.lrs)},
                    "batch": {"values": list(space.batches)},
                },
            },
            project=self._project,
        )

        given_up: list[Trial] = []
        faults: list[Exception] = []

        def one() -> None:
            began, losses = time.monotonic(), list[float]()
            with self._wandb.init() as made:
                point = Point.drawn(made.config)

                def look(_number: int, loss: float) -> bool:
                    made.log({"valid_loss": loss})
                    losses.append(loss)
                    return bool(faults)

                try:
                    run(point, look)
                except Exception as error:
                    if type(error) is not Exception:
                        faults.append(error)
                        raise
                    given_up.append(
                        Trial(point=point, loss=min(losses, default=None), steps=0, seconds=time.monotonic() - began,
                              why=f"given up after {len(losses)} looks")
                    )  # fmt: skip

        self._wandb.agent(sweep, function=one, count=trials - len(done), project=self._project)
        if faults:
            raise faults[0]
        return given_up
