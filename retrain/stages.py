"""Which stages of an order are done, on disk, so that a killed job goes on where it was.

In: the order's folder and digest. Out: what each finished stage left behind: facts, and files by their sha256.
Must never know: what the stages do. A stage that was not marked done is run again, so each may be run twice.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from agent.store import artifacts
from serving.errors import InvalidInput

STAGES = ("curate", "train", "evaluate", "gate", "publish")
FILE = "stages.json"
PACKAGES = ("trimtab", "torch", "transformers", "peft", "cleanlab", "scikit-learn")
"""Whose versions a stage's result may depend on."""


class Stages:
    """The stage manifest of one order: `done` holds facts by stage, `left` what lies on disk, when and by what."""

    def __init__(self, work: Path, order_digest: str) -> None:
        """Read what is done. Raises InvalidInput when the folder holds the work of another order, or no manifest."""
        self._work, self._path = work, work / FILE
        self._digest = order_digest
        self._done: dict[str, dict[str, Any]] = {}
        self._left: dict[str, dict[str, Any]] = {}
        self._began = time.monotonic()
        if not self._path.exists():
            return
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            theirs, self._done = found["order"], dict(found["done"])
            self._left = dict(found.get("left", {}))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{self._path} is no stage manifest ({error}): give the order a new id") from error
        if theirs != order_digest:
            raise InvalidInput(f"{work} holds the work of an order that said something else: give this one a new id")

    def done(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage left; None when it is not done. Raises InvalidInput when its files are others now."""
        facts = self._done.get(stage)
        if facts is None:
            self._began = time.monotonic()
            return None
        for name, digest in self._left.get(stage, {}).get("files", {}).items():
            if _digest(self._work / name) != digest:
                raise InvalidInput(
                    f"{self._work / name} is not what stage {stage} left there (another digest, or gone): bring it "
                    "back, or give the order a new id"
                )
        return facts

    def finish(self, stage: str, facts: Mapping[str, Any], files: Sequence[str] = ()) -> dict[str, Any]:
        """Mark a stage done with what it left. On disk when this returns."""
        self._done[stage] = dict(facts)
        self._left[stage] = {
            "files": {name: digest for name in files if (digest := _digest(self._work / name))},
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - self._began, 1),
            "versions": _versions(),
        }
        draft = self._path.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump({"order": self._digest, "done": self._done, "left": self._left}, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._path)
        return self._done[stage]


def _digest(path: Path) -> str | None:
    return artifacts.file_sha256(path) if path.is_file() else None


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
