"""The workers of a run on the machines of a Ray cluster: Ray Train's TorchTrainer starts and watches them.

In: the run's folder, which every machine sees under the same path; the cluster's address in Ray's words. Out: what the
first worker told, handed on to the order's process. Must never know: how training works.

Ray is asked for one GPU a worker where the cluster has any, else for one CPU; it places them. Nothing is tried again
here: an order that is run again goes on from the workers' checkpoint.
"""

from __future__ import annotations

import os
import socket
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retrain.training import workers
from serving.errors import InvalidInput, TrimtabError

MINUTES = 10
"""So long a cluster has, an autoscaler among it, to find room for the workers; Ray asks it once a minute."""
ANSWERS_S = 10.0
QUIET = ("HF_", "TRANSFORMERS_", "TOKENIZERS_", "DO_NOT_TRACK")
"""Variables of the order's process that hold in its workers too: nothing is fetched, nothing is told to anybody."""
RESULTS = "ray"


def refuse_without_ray() -> None:
    """Raise InvalidInput when Ray Train is not installed here."""
    if find_spec("ray") is None:
        raise InvalidInput("recipe: cluster needs Ray: pip install 'trimtab[ray]', or leave cluster out")


def start(folder: Path, base: str, address: str, count: int) -> None:
    """Run the workers to their end. Raises TrimtabError for a cluster that is not there, or has no room."""
    with workers.faults_left(folder):
        _start(folder, base, address, count)


def _start(folder: Path, base: str, address: str, count: int) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray
    from ray import train
    from ray.train.torch import TorchTrainer
    from ray.util.queue import Queue

    found = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    try:
        if found != "auto":  # Ray itself would ask an address where nobody is for minutes
            host, _, port = found.rpartition(":")
            socket.create_connection((host, int(port)), ANSWERS_S).close()
        ray.init(address=found, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(
            f"recipe: no Ray cluster answers at {found}: run the order on a machine of one (`ray start --head` makes "
            "one of this machine), or leave cluster out"
        ) from error
    gpus = ray.cluster_resources().get("GPU", 0) > 0
    told, answers = Queue(actor_options={"num_cpus": 0}), Queue(actor_options={"num_cpus": 0})
    relay = threading.Thread(target=_relay, args=(told, answers), daemon=True)
    relay.start()
    trainer = TorchTrainer(
        _work,
        train_loop_config={
            "folder": str(folder), "base": base, "told": told, "answers": answers,
            "environment": {name: value for name, value in os.environ.items() if name.startswith(QUIET)},
        },
        scaling_config=train.ScalingConfig(num_workers=count, use_gpu=gpus),
        run_config=train.RunConfig(
            name=RESULTS, storage_path=str(folder),
            failure_config=train.FailureConfig(max_failures=0, controller_failure_limit=MINUTES),
        ),
    )  # fmt: skip
    try:
        trainer.fit()
    except train.ControllerError as error:
        kind = "GPU" if gpus else "CPU"
        has = ray.cluster_resources().get(kind, 0)
        raise TrimtabError(
            f"the Ray cluster found no room for {count} workers of one {kind} each within {MINUTES} minutes; "
            f"it has {kind}: {has:g}"
        ) from error
    finally:
        told.put(None)
        relay.join()


def _relay(told: Any, answers: Any) -> None:
    """Hand the first worker's words on, and the order's answers back, until there are no more."""
    while (said := told.get()) is not None:
        if "fault" in said:
            workers.leave_fault(Path(said["folder"]), InvalidInput(said["fault"]))
            continue
        workers.tell(said)
        if "look" in said:
            answers.put(workers.ask())


def _work(config: dict[str, Any]) -> None:
    """One worker, in a process of Ray's, perhaps on another machine."""
    os.environ.update(config["environment"])
    folder = Path(config["folder"])
    for needed in (folder / workers.RUN, Path(config["base"])):
        if not needed.exists():
            says = (
                f"recipe: the machine {socket.gethostname()} of the Ray cluster does not see {needed}: mount the "
                "order's home and the base model at the same paths on every machine of it, or leave cluster out"
            )
            config["told"].put({"fault": says, "folder": str(folder)})
            raise InvalidInput(says)
    with workers.faults_left(folder):
        workers.work(folder, config["told"].put, config["answers"].get)
