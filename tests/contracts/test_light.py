"""A command starts light: the heavy libraries are loaded where they are used, and nowhere before."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {
    "apprise",
    "datasets",
    "evidently",
    "matplotlib",
    "pandas",
    "peft",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
    "trl",
    "vllm",
}


@pytest.mark.parametrize("module", ["agent.app", "agent.cli", "retrain.cli", "retrain.demo.cli", "serving.cli"])
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    """None of the heavy libraries is among the modules loaded by the import alone."""
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, [], "")
