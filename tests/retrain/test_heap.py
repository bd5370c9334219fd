"""Freed memory leaves the process, and a run that is to save memory sees to it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from retrain.curate.rows import Row
from retrain.recipe import Recipe
from retrain.train import train
from retrain.training import heap

ROOT = Path(__file__).resolve().parents[2]
KEPT = """
import sys
from retrain.training import heap

def resident():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * 4 // 1024

if sys.argv[1] == "back":
    heap.give_back()
for megabytes in (8, 16, 30):  # by each of these glibc raises its bound
    bytearray(megabytes << 20)
before = resident()
blocks = [bytearray(b"x" * (1 << 20)) for _ in range(120)]
last = blocks[-1]
del blocks
print(resident() - before)
"""


def test_freed_blocks_leave_the_process() -> None:
    """Below one block that lives on, glibc keeps all others; after give_back it keeps none."""

    def kept(how: str) -> int:
        done = subprocess.run(
            [sys.executable, "-c", KEPT, how], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
        )
        return int(done.stdout)

    assert kept("as it is") > 60
    assert kept("back") < 20


def test_checkpointing_gives_memory_back(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe that asks for less memory is the one whose process lets it go."""
    called: list[bool] = []
    monkeypatch.setattr(heap, "give_back", lambda: called.append(True))
    row = Row(id="1", messages=(("user", "light on"),), answer="on", source="replay", group="1")
    recipe = Recipe(r=2, steps=1, batch=1)
    train([row], tiny_model, tmp_path / "plain", recipe)
    assert not called
    train([row], tiny_model, tmp_path / "saving", replace(recipe, gradient_checkpointing=True))
    assert called
