"""Sweeps by Weights & Biases. UNTRIED here (it needs their server): see retrain/README.md.

In: a space, trials that are done. Out: calls of `run`. Must never know: training.
"""

from __future__ import annotations

from collections.abc import Sequence

from retrain.sweep.space import Point, Run, Space, Trial
from serving.errors import InvalidInput


class WandB:
    """Bayesian search with hyperband, as their server plans it; this process is its agent."""

    def __init__(self, project: str = "trimtab") -> None:
        try:
            import wandb
        except ImportError as error:
            raise InvalidInput("sweeps by wandb need the package: pip install wandb") from error
        self._wandb, self._project = wandb, project

    def search(self, space: Space, trials: int, done: Sequence[Trial], run: Run, seed: int) -> Sequence[Trial]:  # noqa: ARG002
        """See `Backend`. Every trial comes back."""
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

        def one() -> None:
            with self._wandb.init() as made:

                def look(_number: int, loss: float) -> bool:
                    made.log({"valid_loss": loss})
                    return False

                run(Point.drawn(made.config), look)

        self._wandb.agent(sweep, function=one, count=trials - len(done), project=self._project)
        return []
