"""A run's losses, told to a tracker that people already have: MLflow or Weights & Biases. Off by default.

In: an order's `track` part. Out: a `Tracker` that never raises. Must never know: the model, the store.

A tracker that is missing or down is a warning, once, and never a failed order: what counts lies in training.json.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from retrain.order import Order, TrackPart

Say = Callable[[str], None]


class Backend(Protocol):
    """What a tracker must do; it may raise whatever it likes."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers of a step."""

    def close(self, summary: Mapping[str, float]) -> None:
        """The run is over; an empty summary means that it failed."""


class Tracker:
    """Stands before a backend: the first fault is said, and the backend is left alone from then on."""

    def __init__(self, open_backend: Callable[[], Backend] | None, say: Say) -> None:
        self._say = say
        self._backend: Backend | None = None
        if open_backend is not None:
            self._try(lambda: self._keep(open_backend()))

    def log(self, step: int, **values: float) -> None:
        """Tell numbers of a step."""
        if (backend := self._backend) is not None:
            self._try(lambda: backend.log(step, values))

    def end(self, **summary: float) -> None:
        """Tell how it ended; more calls are let be."""
        backend, self._backend = self._backend, None
        if backend is not None:
            self._try(lambda: backend.close(summary))

    def _keep(self, backend: Backend) -> None:
        self._backend = backend

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001  # a tracker's fault is never the order's
            self._backend = None
            why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            if isinstance(error, ModuleNotFoundError):
                why = f"the package {error.name} is not installed here: install it, or leave `track` out of the order"
            self._say(f"careful: the tracker is left out from here on ({why})")


@contextmanager
def tracked(order: Order, say: Say) -> Iterator[Tracker]:
    """The tracker that an order asks for, or one that does nothing; closed in the end whatever happens."""
    part = order.track
    tracker = Tracker(None if part is None else lambda: _open(part, order), say)
    try:
        yield tracker
    finally:
        tracker.end()


def _open(part: TrackPart, order: Order) -> Backend:
    name, facts = f"{order.challenger} ({order.id})", order.recipe.to_json()
    if part.kind == "mlflow":
        return MLflow(part.uri or f"sqlite:///{(order.work / 'mlflow.db').resolve()}", part.project, name, facts)
    return WandB(Path(part.uri) if part.uri else order.work / "wandb", part.project, name, facts)


class MLflow:
    """An MLflow run by its client; `mlflow-skinny` is enough. Raises ImportError without it."""

    def __init__(self, uri: str, project: str, name: str, facts: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=uri)
        found = self._client.get_experiment_by_name(project)
        experiment = found.experiment_id if found else self._client.create_experiment(project)
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        for key, value in facts.items():
            self._client.log_param(self._run, key, value)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """One metric a number."""
        for key, value in values.items():
            self._client.log_metric(self._run, key, value, step=step)

    def close(self, summary: Mapping[str, float]) -> None:
        """FINISHED with a summary, FAILED without."""
        for key, value in summary.items():
            self._client.log_metric(self._run, f"final_{key}", value)
        self._client.set_terminated(self._run, "FINISHED" if summary else "FAILED")


class WandB:
    """A Weights & Biases run, offline: `wandb sync` sends it when a person wants so. Raises ImportError without it."""

    def __init__(self, folder: Path, project: str, name: str, facts: Mapping[str, Any]) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        mode = os.environ.get("WANDB_MODE", "offline")
        self._run = wandb.init(project=project, name=name, config=dict(facts), dir=str(folder), mode=mode)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """All numbers of a step at once."""
        self._run.log(dict(values), step=step)

    def close(self, summary: Mapping[str, float]) -> None:
        """Exit code 1 without a summary."""
        self._run.summary.update(dict(summary))
        self._run.finish(exit_code=0 if summary else 1)
