"""The import laws of the house bite: a breach planted in a copy of the source is found, law by law."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("agent", "alerts", "dashboards", "retrain", "serving")

BREACHES = [
    ("one-way", "agent/types.py", "import retrain.recipe"),
    ("one-way", "serving/wire.py", "import agent.types"),
    ("one-way", "serving/engine.py", "import retrain"),
    ("rooms", "agent/intake/__init__.py", "import agent.drift"),
    ("rooms", "agent/drift/__init__.py", "import agent.profile"),
    ("rooms", "agent/rollout/__init__.py", "import agent.launch"),
    ("rooms", "agent/store/__init__.py", "import agent.intake"),
    ("rooms", "agent/types.py", "import agent.store"),
    ("rooms", "agent/export/__init__.py", "import agent.app"),
    ("rooms", "agent/attic/__init__.py", '"""A room that no plan names."""'),
    ("watchers", "agent/export/__init__.py", "import dashboards"),
    ("light-agent", "agent/drift/__init__.py", "def lazily(): import torch"),
    ("light-agent", "agent/quality/__init__.py", "from transformers import pipeline"),
    ("light-agent", "agent/profile/__init__.py", "import pandas"),
    ("engine-side", "serving/tap.py", "import httpx"),
    ("engine-side", "serving/guard.py", "import serving.engine"),
]


def lint(folder: Path, contract: str) -> subprocess.CompletedProcess[str]:
    """Judge one contract on the source in `folder`."""
    script = Path(sys.executable).with_name("lint-imports")
    command = [str(script), "--no-cache", "--contract", contract]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the source that may be spoilt."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("contract", sorted({contract for contract, _, _ in BREACHES}))
def test_the_house_keeps_its_laws(house: Path, contract: str) -> None:
    """The source as it stands breaks no law."""
    done = lint(house, contract)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("contract", "file", "line"), BREACHES, ids=[f"{c}:{f}:{t}" for c, f, t in BREACHES])
def test_a_breach_fails_the_build(house: Path, contract: str, file: str, line: str) -> None:
    """One planted import is enough for its law to be reported as broken."""
    path = house / file
    path.parent.mkdir(exist_ok=True)
    before = path.read_text() if path.exists() else ""
    path.write_text(f"{before}\n\n{line}\n")
    done = lint(house, contract)
    assert done.returncode == 1, done.stdout
    assert "BROKEN" in done.stdout or "not listed" in done.stdout or "Missing layers" in done.stdout
