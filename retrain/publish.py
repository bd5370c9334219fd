"""From trained weights to an immutable artifact and a row in the store.

In: an adapter folder, what is known about it, a verdict. Out: `<home>/adapters/<name>/`, sealed, and one transaction
that enters the version and closes the order. Must never know: how it was trained or judged, the engine.

The engine keys its cache by name and folder, so a version is evaluated from the folder where it will be served. Hence
two moves: `place` puts the weights there by one rename and thereby takes the name, `seal` adds the probes and, last,
the manifest. A folder without a manifest is no adapter to anybody (`agent.store.artifacts.verify`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from agent.store import Store, artifacts, convert
from agent.store.tables import EventRow, OrderRow
from agent.types import AdapterVersion
from serving.errors import InvalidInput

CLAIM = "order.json"
"""Says in the folder itself for which order the name was taken."""


def folder_of(home: Path, name: str) -> Path:
    """Where an adapter lives: absolute, because the engine and the rollout must spell it alike."""
    return (home / "adapters" / name).resolve()


def claimed_by(folder: Path) -> str | None:
    """The order that has taken a name; None when it is free, "" when nobody knows."""
    if not folder.exists():
        return None
    try:
        return str(json.loads((folder / CLAIM).read_text(encoding="utf-8"))["order"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def refuse_taken(folder: Path, order_id: str) -> None:
    """Raise InvalidInput when another order has the name: a name never gets other weights."""
    owner = claimed_by(folder)
    if owner is not None and owner != order_id:
        whose = f"to order {owner}" if owner else "to a folder that no order made"
        raise InvalidInput(f"adapter name {folder.name} already belongs {whose}: give a new challenger name")


def place(adapter: Path, home: Path, name: str, order_id: str, files: Mapping[str, Path] | None = None) -> Path:
    """Copy an adapter to where it will be served, by one rename; returns the folder. Safe to call again.

    `files` go in beside the weights under the given names (a reference set, probes).
    Raises InvalidInput when the name belongs to another order, or to other weights.
    """
    folder = folder_of(home, name)
    refuse_taken(folder, order_id)
    if folder.exists():
        ours, theirs = (artifacts.file_sha256(f / artifacts.WEIGHTS) for f in (adapter, folder))
        if ours != theirs:
            raise InvalidInput(f"adapter {folder} holds other weights than this run made: give a new challenger name")
        return folder
    draft = folder.with_name(f".{name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for item in (artifacts.CONFIG, artifacts.WEIGHTS):
        shutil.copyfile(adapter / item, draft / item)
    for item, source in (files or {}).items():
        shutil.copyfile(source, draft / item)
    (draft / CLAIM).write_text(json.dumps({"order": order_id, "adapter": name}) + "\n", encoding="utf-8")
    draft.rename(folder)
    return folder


def seal(folder: Path, facts: Mapping[str, Any], probes: Path | None = None) -> str:
    """Add the probes and, last, the manifest; returns the digest. A sealed folder is checked, never changed."""
    if (folder / artifacts.MANIFEST).exists():
        return artifacts.verify(folder)
    if probes is not None:
        shutil.copyfile(probes, folder / artifacts.PROBES)
    return artifacts.seal(folder, facts)


def enter(store: Store, version: AdapterVersion, order_id: str, now: datetime, says: str) -> None:
    """Enter a version and close its order, both or neither."""
    verdict = convert.verdict_json(version.verdict) if version.verdict else None
    event = {
        "at": now,
        "kind": "verdict",
        "text": says,
        "data": {"order": order_id, "version": version.name, "digest": version.digest, "status": version.status},
    }
    with store.transaction() as session:
        store.put_adapter(version, session)
        row = session.get(OrderRow, order_id)
        if row is not None:
            row.status, row.verdict, row.error = "done", verdict, None
            row.stage, row.progress, row.finished_at = "publish", 1.0, now
            session.add(row)
        session.execute(insert(EventRow), [event])
