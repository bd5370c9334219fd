"""Sweeps by Optuna, the default: a grid, or TPE; both with a median pruner.

In: a space, trials that are done. Out: calls of `run`. Must never know: training.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retrain.sweep.space import Point, Run, Space, Trial
from serving.errors import InvalidInput

WARMUP_LOOKS, STARTUP_TRIALS = 2, 3


class Optuna:
    """`grid` tries the points of the grid in its order; otherwise TPE (Bergstra et al. 2011) draws the rate.

    A trial whose loss at a look is above the median of earlier trials at that look is given up (median stopping rule,
    Golovin et al. 2017); the first STARTUP_TRIALS, and each one's first WARMUP_LOOKS, never are.
    """

    def __init__(self, *, grid: bool) -> None:
        try:
            import optuna
        except ImportError as error:
            raise InvalidInput("sweeps by optuna need the package: pip install 'trimtab[sweep]'") from error
        self._optuna = optuna
        self._grid = grid

    def search(self, space: Space, trials: int, done: Sequence[Trial], run: Run, seed: int) -> Sequence[Trial]:
        """See `Backend`. Every trial comes back."""
        optuna = self._optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(
            direction="minimize",
            sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=STARTUP_TRIALS),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARMUP_LOOKS),
        )
        where = {
            "lr": optuna.distributions.FloatDistribution(min(space.lrs), max(space.lrs), log=True),
            "batch": optuna.distributions.CategoricalDistribution(space.batches),
        }
        for old in done:
            self._remember(study, where, old)
        points = [point for point in space.grid() if point not in {trial.point for trial in done}]
        for _ in range(trials - len(done)):
            if self._grid:
                if not points:
                    break
                point = points.pop(0)
                study.enqueue_trial({"lr": point.lr, "batch": point.batch})
            self._one(study, where, run)
        return []

    def _one(self, study: Any, where: Any, run: Run) -> None:
        trial = study.ask(where)
        given_up: list[int] = []

        def look(number: int, loss: float) -> bool:
            trial.report(loss, number)
            if trial.should_prune():
                given_up.append(number)
            return bool(given_up)

        made = run(Point.drawn(trial.params), look)
        state = self._optuna.trial.TrialState
        if made.loss is None:
            study.tell(trial, state=state.FAIL)
        elif given_up:
            study.tell(trial, state=state.PRUNED)
        else:
            study.tell(trial, made.loss)

    def _remember(self, study: Any, where: Any, old: Trial) -> None:
        """A trial of an earlier start, so that the search goes on where it was."""
        state = self._optuna.trial.TrialState
        params = {"lr": min(max(old.point.lr, where["lr"].low), where["lr"].high), "batch": old.point.batch}
        if old.loss is None or old.point.batch not in where["batch"].choices:
            return
        study.add_trial(
            self._optuna.trial.create_trial(params=params, distributions=where, value=old.loss, state=state.COMPLETE)
        )
