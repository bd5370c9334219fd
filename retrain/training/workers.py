"""A run shared by several processes of this machine: torchrun starts and watches them, the first one speaks.

In: what `retrain.train.train` is given. Out: what it leaves, and told as JSON what it returns.
Must never know: how training works. Each worker learns its share of every planned batch, and gradients are averaged
over all answer tokens of a step, so that the adapter is one process's but for rounding. Only the first worker writes,
says and saves. When one dies torchrun ends the others; when the order's process dies, all of them die with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrain.training.watch import Diverged
from serving.errors import InvalidInput, TrimtabError

if TYPE_CHECKING:
    from retrain.curate.rows import Row
    from retrain.recipe import Recipe

MARK = "trimtab-worker "
"""Begins a line of the first worker that is for the order's process."""
RUN, ROWS, VALID, FAULT, LOG = "run.json", "rows.jsonl", "valid.jsonl", "fault.json", "log"
_KINDS: dict[str, type[TrimtabError]] = {"InvalidInput": InvalidInput, "Diverged": Diverged}
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def inside() -> bool:
    """Whether this process is one of several workers."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """Which of the workers this process is; 0 where there is one."""
    return int(os.environ["RANK"]) if inside() else 0


def leads() -> bool:
    """Whether this process is the one that writes and tells."""
    return rank() == 0


def together() -> None:
    """Wait until every worker has come as far as this."""
    if inside():
        import torch.distributed

        torch.distributed.barrier()


def share(
    rows: Sequence[Row], base: Path, out: Path, recipe: Recipe, init: Path | None,
    on_step: Callable[[int, float], None] | None, resume: bool, valid: Sequence[Row],
    record_in: Path | None, say: Callable[[str], None] | None, on_look: Callable[[int, float], bool] | None,
) -> dict[str, Any]:  # fmt: skip
    """Have `recipe.workers` processes do a run; returns the fields of `Trained` as JSON.

    Raises what a worker raised; RuntimeError with its last words when it died otherwise.
    """
    from retrain.curate.rows import write_rows

    _refuse_too_many(recipe)
    folder = out.with_name(out.name + ".workers")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_rows(folder / ROWS, rows)
    write_rows(folder / VALID, valid)
    run = {
        "base": str(base), "out": str(out), "recipe": recipe.to_json(), "init": None if init is None else str(init),
        "resume": resume, "record_in": None if record_in is None else str(record_in), "tells": say is not None,
        "parent": os.getpid(),
    }  # fmt: skip
    (folder / RUN).write_text(json.dumps(run), encoding="utf-8")
    if say is not None:
        say(f"{recipe.workers} processes share each batch of {recipe.batch}; memory and tokens are told of one of them")
    done: dict[str, Any] = {}

    def hear(kind: str, said: Any) -> None:
        if kind == "step" and on_step is not None:
            on_step(*said)
        elif kind == "look" and on_look is not None:
            on_look(*said)
        elif kind == "say" and say is not None:
            say(said)
        elif kind == "done":
            done.update(said)

    status = _listen(folder, recipe.workers, hear)
    if not done or status:
        raise _fault(folder, status)
    shutil.rmtree(folder)
    return done


def _refuse_too_many(recipe: Recipe) -> None:
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() < recipe.workers:
        has = torch.cuda.device_count()
        raise InvalidInput(
            f"recipe: {recipe.workers} workers want a GPU each, and this machine has {has}: write workers: {has}"
        )


def _listen(folder: Path, workers: int, hear: Callable[[str, Any], None]) -> int:
    """Run torchrun until it ends, hearing what the first worker tells; returns its exit status."""
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    command = [sys.executable, "-m", "retrain.training.workers", str(folder), str(workers)]
    with (folder / LOG).open("wb") as log, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=log, env={"OMP_NUM_THREADS": str(threads), **os.environ}
    ) as torchrun:  # fmt: skip
        try:
            for line in torchrun.stdout or ():
                if line.startswith(MARK.encode()):
                    for kind, said in json.loads(line[len(MARK) :]).items():
                        hear(kind, said)
        finally:
            torchrun.terminate()  # when all went well it has ended, and nobody is there to hear it
        return torchrun.wait() if torchrun.returncode is None else torchrun.returncode


def _fault(folder: Path, status: int) -> Exception:
    """What went wrong, as the worker that met it first left it; else the last line of the log."""
    try:
        found = json.loads((folder / FAULT).read_text(encoding="utf-8"))
        return _KINDS[found["kind"]](found["says"]) if found["kind"] in _KINDS else RuntimeError(found["says"])
    except (OSError, ValueError):
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no word"]
        return RuntimeError(
            f"a training process died (exit status {status}; {folder / LOG}): {lines[-1].strip()[:200]}"
        )


# -- in the workers ------------------------------------------------------------------------------------------


def _work(folder: Path, run: Mapping[str, Any]) -> None:
    """One worker's part of the run."""
    import torch

    from retrain.curate.rows import read_rows
    from retrain.recipe import Recipe
    from retrain.train import train

    def tell(**said: Any) -> None:
        if leads():
            sys.stdout.write(MARK + json.dumps(said) + "\n")
            sys.stdout.flush()

    def looked(step: int, loss: float) -> bool:
        tell(look=[step, loss])
        return False

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    record_in = Path(run["record_in"]) if run["record_in"] and leads() else None
    done = train(
        read_rows(folder / ROWS), Path(run["base"]), Path(run["out"]), Recipe.from_json(run["recipe"]),
        Path(run["init"]) if run["init"] else None, lambda step, loss: tell(step=[step, loss]),
        resume=run["resume"], valid=read_rows(folder / VALID) if (folder / VALID).stat().st_size else (),
        record_in=record_in, say=(lambda line: tell(say=line)) if run["tells"] and leads() else None, on_look=looked,
    )  # fmt: skip
    torch.distributed.destroy_process_group()
    tell(done=asdict(done))


def _main(folder: Path, workers: int) -> None:
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if not inside():
        if os.getppid() != run["parent"]:
            return
        from torch.distributed.run import main

        main(["--standalone", f"--nproc-per-node={workers}", "-m", "retrain.training.workers", str(folder), "0"])
        return
    try:
        _work(folder, run)
    except Exception as error:
        says = str(error) if isinstance(error, TrimtabError) else f"{type(error).__name__}: {error}"
        with suppress(OSError), (folder / FAULT).open("x", encoding="utf-8") as stream:
            json.dump({"kind": type(error).__name__, "says": says}, stream)
        raise


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
