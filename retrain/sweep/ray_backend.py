"""Sweeps by Ray Tune with ASHA, on this machine or a Ray cluster.

In: a space, trials that are done. Out: calls of `run`, in Ray's worker processes.
Must never know: training. With an address, every node must see the order's home at the same path.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
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
            raise InvalidInput("sweeps by ray need the package: pip install 'trimtab[ray]'") from error
        self._ray, self._tune, self._address = ray, tune, address

    def search(self, space: Space, trials: int, done: Sequence[Trial], run: Run, seed: int) -> Sequence[Trial]:  # noqa: ARG002
        """See `Backend`. ASHA ends a trial with its process, so a trial that is given up never comes back."""
        tune = self._tune
        if trials <= len(done):
            return []
        self._ray.init(address=self._address, ignore_reinit_error=True, include_dashboard=False, logging_level="ERROR")
        try:
            with tempfile.TemporaryDirectory(prefix="trimtab-sweep-") as scratch:
                found = tune.Tuner(
                    tune.with_resources(_trainable(run, tune.report), self._resources()),
                    param_space={
                        "lr": tune.loguniform(min(space.lrs), max(space.lrs)),
                        "batch": tune.choice(list(space.batches)),
                    },
                    tune_config=tune.TuneConfig(
                        metric="loss", mode="min", num_samples=trials - len(done),
                        scheduler=tune.schedulers.ASHAScheduler(grace_period=2),
                    ),
                    run_config=tune.RunConfig(storage_path=None if self._address else scratch, verbose=0),
                ).fit()  # fmt: skip
        finally:
            self._ray.shutdown()
        return [_given_up(result.config or {}, result.metrics or {}) for result in found if _unfinished(result)]

    def _resources(self) -> dict[str, int]:
        return {"gpu": 1} if self._ray.cluster_resources().get("GPU") else {"cpu": os.cpu_count() or 1}


def _trainable(run: Run, report: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """One trial as Ray calls it, in a process of its own: a report a look, and one more at its end."""

    def trainable(config: dict[str, Any]) -> None:
        def look(_number: int, loss: float) -> bool:
            report({"loss": loss, "ended": False})
            return False

        made = run(Point.drawn(config), look)
        report({"loss": math.inf if made.loss is None else made.loss, "ended": True})

    return trainable


def _unfinished(result: Any) -> bool:
    """Given up by ASHA; one that failed has an error, and stands in the file already."""
    return result.error is None and (result.metrics or {}).get("ended") is False


def _given_up(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> Trial:
    looks = int(metrics.get("training_iteration", 0))
    return Trial(
        point=Point.drawn(config), loss=float(metrics["loss"]), steps=0,
        seconds=float(metrics.get("time_total_s", 0.0)), why=f"given up after {looks} looks",
    )  # fmt: skip
