"""Which stages of an order are done, on disk, so that a killed job goes on where it was.

In: the order's folder and digest. Out: what each finished stage left behind.
Must never know: what the stages do. A stage that was not marked done is run again, so each may be run twice.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from serving.errors import InvalidInput

STAGES = ("curate", "train", "evaluate", "gate", "publish")
FILE = "stages.json"


class Stages:
    """The stage manifest of one order."""

    def __init__(self, work: Path, order_digest: str) -> None:
        """Read what is done. Raises InvalidInput when the folder holds the work of another order."""
        self._path = work / FILE
        self._digest = order_digest
        self._done: dict[str, dict[str, Any]] = {}
        if not self._path.exists():
            return
        found = json.loads(self._path.read_text(encoding="utf-8"))
        if found["order"] != order_digest:
            raise InvalidInput(f"{work} holds the work of an order that said something else: give this one a new id")
        self._done = found["done"]

    def done(self, stage: str) -> dict[str, Any] | None:
        """What a finished stage left; None when it is not done."""
        return self._done.get(stage)

    def finish(self, stage: str, **facts: Any) -> dict[str, Any]:
        """Mark a stage done with what it left. On disk when this returns."""
        self._done[stage] = facts
        draft = self._path.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as stream:
            json.dump({"order": self._digest, "done": self._done}, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(self._path)
        return facts
