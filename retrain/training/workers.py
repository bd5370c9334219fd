"""A run shared by several processes: torchrun starts and watches them here, or Ray Train on a cluster's machines.

In: what `retrain.train.train` is given. Out: what it leaves, and told as JSON what it returns.
Must never know: how training works, what Ray is (cluster.py). Each worker learns its share of every planned batch, and
gradients are averaged over all answer tokens of a step, so that the adapter is one process's but for rounding. Only the
first worker writes, says and saves. A process between, the starter, watches over the workers and hands their words on:
when one worker dies the others are ended; when the order's process dies, all of them die with it.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
INSIDE = "TRIMTAB_WORKER"
"""Set in the environment of a worker, and of nobody else."""
Tell = Callable[[dict[str, Any]], object]
"""Takes a worker's words to the order's process: {kind: what}."""
_KINDS: dict[str, type[TrimtabError]] = {"InvalidInput": InvalidInput, "Diverged": Diverged}
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def inside() -> bool:
    """Whether this process is one of several workers."""
    return INSIDE in os.environ


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

    if recipe.cluster is None:
        _refuse_too_many(recipe)
    folder = out.with_name(out.name + ".workers").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    write_rows(folder / ROWS, rows)
    write_rows(folder / VALID, valid)
    run = {
        "base": _whole(base), "out": _whole(out), "recipe": recipe.to_json(), "init": _whole(init), "resume": resume,
        "record_in": _whole(record_in), "tells": say is not None, "asks": on_look is not None, "parent": os.getpid(),
    }  # fmt: skip
    (folder / RUN).write_text(json.dumps(run), encoding="utf-8")
    if say is not None:
        where = "" if recipe.cluster is None else f" on the Ray cluster {recipe.cluster}"
        say(
            f"{recipe.workers} processes{where} share each batch of {recipe.batch}; memory and tokens are told of one "
            "of them"
        )
    done: dict[str, Any] = {}

    def hear(kind: str, said: Any) -> bool | None:
        """Hand a word on; what is no None is the answer that a worker waits for."""
        if kind == "look" and on_look is not None:
            return on_look(*said)
        if kind == "step" and on_step is not None:
            on_step(*said)
        elif kind == "say" and say is not None:
            say(said)
        elif kind == "done":
            done.update(said)
        return None

    status = _listen(folder, recipe.workers, hear)
    if not done or status:
        raise _fault(folder, status)
    shutil.rmtree(folder)
    return done


def _whole(path: Path | None) -> str | None:
    """A path that means the same in every worker's folder."""
    return None if path is None else str(path.absolute())


def _refuse_too_many(recipe: Recipe) -> None:
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() < recipe.workers:
        has = torch.cuda.device_count()
        raise InvalidInput(
            f"recipe: {recipe.workers} workers want a GPU each, and this machine has {has}: write workers: {has}"
        )


def _listen(folder: Path, workers: int, hear: Callable[[str, Any], bool | None]) -> int:
    """Run the starter until it ends, hearing and answering what the first worker tells; returns its exit status."""
    threads = max(1, len(os.sched_getaffinity(0)) // workers)
    command = [sys.executable, "-m", "retrain.training.workers", str(folder), str(workers)]
    with (folder / LOG).open("wb") as log, subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
        env={"OMP_NUM_THREADS": str(threads), **os.environ},
    ) as starter:  # fmt: skip
        try:
            for line in starter.stdout or ():
                if line.startswith(MARK.encode()):
                    for kind, said in json.loads(line[len(MARK) :]).items():
                        _answer(starter, hear(kind, said))
        finally:
            starter.terminate()  # when all went well it has ended, and nobody is there to hear it
        return starter.wait() if starter.returncode is None else starter.returncode


def _answer(starter: subprocess.Popen[bytes], answer: bool | None) -> None:
    if answer is not None and starter.stdin is not None:
        with suppress(BrokenPipeError):  # it died meanwhile, which is heard at the end of its words
            starter.stdin.write(json.dumps(answer).encode() + b"\n")
            starter.stdin.flush()


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


def work(folder: Path, tell: Tell, ask: Callable[[], bool]) -> None:
    """One worker's part of the run. `tell` takes the first worker's words away, `ask` waits for the answer to a look.

    Raises what training raises.
    """
    import torch

    from retrain.curate.rows import read_rows
    from retrain.recipe import Recipe
    from retrain.train import train

    os.environ[INSIDE] = "1"
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))

    def told(**said: Any) -> None:
        if leads():
            tell(said)

    def looked(step: int, loss: float) -> bool:
        told(look=[step, loss])
        answer = [ask() if leads() else False]
        torch.distributed.broadcast_object_list(answer, src=0)
        return answer[0]

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    done = train(
        read_rows(folder / ROWS), Path(run["base"]), Path(run["out"]), Recipe.from_json(run["recipe"]),
        Path(run["init"]) if run["init"] else None, lambda step, loss: told(step=[step, loss]),
        resume=run["resume"], valid=read_rows(folder / VALID) if (folder / VALID).stat().st_size else (),
        record_in=Path(run["record_in"]) if run["record_in"] and leads() else None,
        say=(lambda line: told(say=line)) if run["tells"] and leads() else None,
        on_look=looked if run["asks"] else None,
    )  # fmt: skip
    told(done=asdict(done))


def tell(said: dict[str, Any]) -> None:
    """Tell the order's process, over the starter's standard output."""
    sys.stdout.write(MARK + json.dumps(said) + "\n")
    sys.stdout.flush()


def ask() -> bool:
    """Wait for the order's process to answer the last look, over the starter's standard input."""
    return bool(json.loads(sys.stdin.readline()))


@contextmanager
def faults_left(folder: Path) -> Iterator[None]:
    """What goes wrong within is written down, and raised on."""
    try:
        yield
    except Exception as error:
        leave_fault(folder, error)
        raise


def leave_fault(folder: Path, error: Exception) -> None:
    """Write down what went wrong, for `share` to raise; the first to do so is right."""
    says = str(error) if isinstance(error, TrimtabError) else f"{type(error).__name__}: {error}"
    with suppress(OSError), (folder / FAULT).open("x", encoding="utf-8") as stream:
        json.dump({"kind": type(error).__name__, "says": says}, stream)


def _start(folder: Path, workers: int) -> None:
    """The starter: under it are all workers."""
    run = json.loads((folder / RUN).read_text(encoding="utf-8"))
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    if os.getppid() != run["parent"]:
        return
    if run["recipe"].get("cluster"):
        from retrain.training import cluster

        cluster.start(folder, run["base"], run["recipe"]["cluster"], workers)
        return
    from torch.distributed.run import main

    main(["--standalone", f"--nproc-per-node={workers}", "-m", "retrain.training.workers", str(folder), "0"])


def _work_under_torchrun(folder: Path) -> None:
    import torch.distributed

    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    with faults_left(folder):
        work(folder, tell, ask)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _work_under_torchrun(Path(sys.argv[1]))
    else:
        _start(Path(sys.argv[1]), int(sys.argv[2]))
