"""Sweeps by Ray Tune with ASHA, on this machine or a Ray cluster. UNTRIED here: see retrain/README.md.

In: a space, trials that are done. Out: calls of `run`, in Ray's worker processes.
Must never know: training. With an address, every node must see the order's home at the same path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from retrain.sweep.space import Point, Run, Space, Trial
from serving.errors import InvalidInput


class RayTune:
    """ASHA (Li et al. 2020) over rates drawn on a log scale; one trial at a time on each GPU, or on this CPU."""

    def __init__(self, address: str | None = None) -> None:
        try:
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            import ray
            from ray import tune
        except ImportError as error:
            raise InvalidInput("sweeps by ray need the package: pip install 'ray[tune]'") from error
        self._ray, self._tune, self._address = ray, tune, address

    def search(self, space: Space, trials: int, done: Sequence[Trial], run: Run, seed: int) -> None:  # noqa: ARG002
        """See `Backend`."""
        tune = self._tune
        if trials <= len(done):
            return
        self._ray.init(address=self._address, ignore_reinit_error=True, include_dashboard=False)

        def trainable(config: dict[str, Any]) -> None:
            def look(_number: int, loss: float) -> bool:
                tune.report({"loss": loss})  # ASHA ends the process itself when the trial is given up
                return False

            made = run(Point(lr=float(f"{config['lr']:.3g}"), batch=int(config["batch"])), look)
            if made.loss is not None:
                tune.report({"loss": made.loss})

        resources = {"gpu": 1} if self._ray.cluster_resources().get("GPU") else {"cpu": os.cpu_count() or 1}
        tune.Tuner(
            tune.with_resources(trainable, resources),
            param_space={
                "lr": tune.loguniform(min(space.lrs), max(space.lrs)),
                "batch": tune.choice(list(space.batches)),
            },
            tune_config=tune.TuneConfig(
                metric="loss", mode="min", num_samples=trials - len(done),
                scheduler=tune.schedulers.ASHAScheduler(grace_period=2),
            ),
        ).fit()  # fmt: skip
