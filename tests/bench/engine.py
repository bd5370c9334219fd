"""A real vLLM with a tiny model and Trimtab's switch inside.

In: a folder. Out: the address of a running server that captures to `folder/agent.sock`. Must never know: who asks.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from serving import launch
from serving.engine import Engine
from tests.bench.figures import ROOT, say
from tests.estate import server


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """Builds the model, starts vLLM, waits for it, and ends all its processes afterwards."""
    say("    real vLLM: building a tiny model and starting (half a minute or more)")
    log = folder / "vllm.log"
    settings = launch.ServeSettings(
        model=_model(folder / "model", log), port=server.free_port(), max_loras=1, max_lora_rank=8,
        max_model_len=256, socket=str(folder / "agent.sock"), token=server.TOKEN,
    )  # fmt: skip
    argv, env = launch.command(settings, os.environ)
    argv[argv.index("serving.middleware.Trimtab")] = "tests.bench.switch.Switch"
    with log.open("ab") as out:
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True)
    url = f"http://{settings.host}:{settings.port}"
    try:
        with Engine(url, server.TOKEN) as engine:
            try:
                engine.wait_ready(300.0, alive=lambda: process.poll() is None)
            except Exception as why:
                why.add_note(log.read_text("utf-8", "replace")[-4000:])
                raise
        yield url
    finally:
        server.end(process)


def _model(folder: Path, log: Path) -> Path:
    """A tiny model, built by a process that takes torch away with it when it ends."""
    argv = [sys.executable, "-c", "import sys; from tests.estate.tiny import *; build_model(Path(sys.argv[1]))"]
    with log.open("wb") as out:
        subprocess.run([*argv, str(folder)], cwd=ROOT, stdout=out, stderr=out, check=True)
    return folder
