"""How vLLM is started."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serving import launch
from serving.cli import app
from serving.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a model."""
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_the_command_names_the_middleware_and_the_adapters(model: Path) -> None:
    """The engine is called in this Python, with LoRA, without lm_head, with Trimtab; extra arguments come last."""
    argv, _ = launch.command(launch.ServeSettings(model=model, extra=("--seed", "3")), {})
    assert argv[:3] == [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    assert argv[argv.index("--middleware") + 1] == "serving.middleware.Trimtab"
    assert argv[argv.index("--served-model-name") + 1] == "base"
    assert {"--enable-lora", "--enforce-eager"} <= set(argv)
    assert "lm_head" not in argv
    assert argv[-2:] == ["--seed", "3"]


def test_the_environment_is_complete(model: Path) -> None:
    """The engine finds the middleware, its token and its socket, and keeps what the caller had set."""
    settings = launch.ServeSettings(model=model, socket="run/agent.sock", token="sesame")
    _, env = launch.command(settings, {"PYTHONPATH": "/a", "VLLM_CPU_KVCACHE_SPACE": "7", "HOME": "/h"})
    assert env["PYTHONPATH"].split(os.pathsep) == [str(ROOT), "/a"]
    assert env["TRIMTAB_SOCKET"] == str(Path("run/agent.sock").absolute())
    assert (env["TRIMTAB_TOKEN"], env["HOME"]) == ("sesame", "/h")
    assert env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert (env["VLLM_CPU_KVCACHE_SPACE"], env["VLLM_CPU_OMP_THREADS_BIND"]) == ("7", "nobind")


def test_a_gpu_gets_no_cpu_settings(model: Path) -> None:
    """The CPU's flags stay away from a GPU, and no socket stays none."""
    argv, env = launch.command(launch.ServeSettings(model=model, cpu=False), {})
    assert "--enforce-eager" not in argv
    assert not [name for name in env if name.startswith("VLLM_CPU")]
    assert env["TRIMTAB_SOCKET"] == ""


def test_a_missing_model_is_said(tmp_path: Path) -> None:
    """A path that is no model is refused before vLLM spends half a minute on it."""
    with pytest.raises(InvalidInput, match="is no model folder"):
        launch.check(launch.ServeSettings(model=tmp_path / "none"), {})


@pytest.mark.parametrize("port", [-1, 65536])
def test_an_impossible_port_is_said(model: Path, port: int) -> None:
    """A port that cannot be is refused with the way out."""
    with pytest.raises(InvalidInput, match=r"choose another --port"):
        launch.check(launch.ServeSettings(model=model, port=port), {})


def test_a_taken_port_is_said(model: Path, taken: int) -> None:
    """A port that somebody holds is refused with the way out."""
    with pytest.raises(InvalidInput, match=f"Port {taken} on 127.0.0.1 cannot be used"):
        launch.check(launch.ServeSettings(model=model, port=taken), {})


def test_the_rust_front_end_is_refused(model: Path) -> None:
    """A front end that would bypass guard and capture does not start."""
    with pytest.raises(InvalidInput, match="unset it"):
        launch.check(launch.ServeSettings(model=model, port=0), {"VLLM_USE_RUST_FRONTEND": "1"})
    launch.check(launch.ServeSettings(model=model, port=0), {"VLLM_USE_RUST_FRONTEND": "0"})


@pytest.mark.parametrize(
    "extra",
    [("--api-server-count", "2"), ("--api-server-count=3",), ("--seed", "1", "--api_server_count", "2"), ("-asc", "2")],
)
def test_several_api_processes_are_refused(model: Path, extra: tuple[str, ...]) -> None:
    """vLLM would start one process and say nothing, so we say it."""
    with pytest.raises(InvalidInput, match="leave out --api-server-count"):
        launch.check(launch.ServeSettings(model=model, port=0, extra=extra), {})


@pytest.mark.parametrize("extra", [(), ("--api-server-count", "1"), ("--api-server-count",), ("--api-server-count=x",)])
def test_one_api_process_is_fine(model: Path, extra: tuple[str, ...]) -> None:
    """What asks for one, or makes no sense, is left to vLLM."""
    launch.check(launch.ServeSettings(model=model, port=0, extra=extra), {})


def test_a_socket_path_that_no_kernel_takes_is_said(model: Path) -> None:
    """A path that could never be connected is refused, not retried for ever."""
    with pytest.raises(InvalidInput, match="shorter --socket"):
        launch.check(launch.ServeSettings(model=model, port=0, socket="/" + "x" * 107), {})


def test_the_command_says_one_sentence_and_exits_2(model: Path, taken: int) -> None:
    """A caller's mistake is one line on stderr, no traceback."""
    for args in (["--model", str(model / "none")], ["--model", str(model), "--port", str(taken)]):
        result = CliRunner().invoke(app, args)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert len(result.stderr.splitlines()) == 1


def test_the_command_becomes_vllm(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all in order the process is replaced, and what follows `--` reaches vLLM."""
    became: list[list[str]] = []
    monkeypatch.setattr(os, "execve", lambda path, argv, env: became.append(argv))
    result = CliRunner().invoke(app, ["--model", str(model), "--port", "0", "--", "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert became[0][-2:] == ["--seed", "3"]
