"""A real vLLM with a tiny model and Trimtab inside, started through `serving.launch` and ended with all its processes.

In: a folder. Out: a running server and the paths of its parts. Must never know: what is tested with it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from retrain.demo.process import free_port
from serving import launch
from serving.engine import Engine

__all__ = ["FAST_ARGS", "FAST_ENV", "TOKEN", "Server", "end", "free_port", "running"]

TOKEN = "open-sesame"
# One process less than by default: half the start. vLLM advises against it on the CPU for the sake of OpenMP's
# settings, which a model of 150,000 weights does not notice.
FAST_ENV = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
FAST_ARGS = ("--distributed-executor-backend", "uni")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running server. `ready_s` is how long its start took, in seconds."""

    url: str
    token: str
    model_dir: Path
    socket: Path
    log: Path
    pid: int
    ready_s: float

    def engine(self) -> Engine:
        """A new client, to be closed by the caller."""
        return Engine(self.url, self.token)


@contextlib.contextmanager
def running(
    model_dir: Path, folder: Path, *, port: int | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Starts the server, waits until it is ready, and ends its whole process group afterwards.

    The agent's socket is `folder/agent.sock` and the log `folder/vllm.log`. Raises `RemoteFault` with the log's end
    when the server does not come up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = launch.ServeSettings(
        model=model_dir, port=port or free_port(), max_loras=4, max_lora_rank=16, max_model_len=256,
        max_num_seqs=16, socket=str(folder / "agent.sock"), token=TOKEN, extra=FAST_ARGS,
    )  # fmt: skip
    environ = {**os.environ, **FAST_ENV, **(environ or {})}
    launch.check(settings, environ)
    argv, env = launch.command(settings, environ)
    log = folder / "vllm.log"
    begun = time.monotonic()
    with log.open("ab") as out:
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        url = f"http://{settings.host}:{settings.port}"
        with Engine(url, TOKEN) as engine:
            try:
                engine.wait_ready(300.0, alive=lambda: process.poll() is None)
            except Exception as why:
                why.add_note(log.read_text("utf-8", "replace")[-4000:])
                raise
        ready_s = time.monotonic() - begun
        yield Server(
            url=url, token=TOKEN, model_dir=model_dir, socket=folder / "agent.sock", log=log, pid=process.pid,
            ready_s=ready_s,
        )  # fmt: skip
    finally:
        end(process)


def end(process: subprocess.Popen[bytes], patience_s: float = 10.0) -> None:
    """Asks the whole process group to end, then makes it; the engine's children outlive a killed parent otherwise."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
