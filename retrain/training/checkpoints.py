"""Checkpoints of a run, and the adapter that it leaves: whole or not there.

In: a run's work folder, a model. Out: the newest checkpoint to go on from, an adapter folder.
Must never know: what is trained.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

WHOLE = "whole"
"""Written last into a checkpoint: its presence says that the checkpoint can be resumed from."""


def mark_whole(checkpoint: Path) -> None:
    """Everything of the checkpoint is on the disk."""
    os.sync()
    (checkpoint / WHOLE).touch()


def newest_whole(work: Path) -> Path | None:
    """The newest checkpoint that was written to its end; halves are thrown away."""
    found = list(work.glob("checkpoint-*"))
    whole = [folder for folder in found if (folder / WHOLE).exists()]
    for folder in found:
        if folder not in whole:
            shutil.rmtree(folder, ignore_errors=True)
    return max(whole, key=step_of, default=None)


def step_of(checkpoint: Path) -> int:
    """The step after which it was written."""
    return int(checkpoint.name.rpartition("-")[2])


def save(model: Any, out: Path) -> None:
    """Write the adapter beside its place, then rename it there."""
    draft = out.with_name(out.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft, safe_serialization=True)
    (draft / "README.md").unlink(missing_ok=True)
    os.sync()
    if out.exists():
        shutil.rmtree(out)
    draft.rename(out)
