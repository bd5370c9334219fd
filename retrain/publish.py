"""From trained weights to an immutable artifact and a row in the store.

In: an adapter folder, what is known about it, a verdict. Out: `<home>/adapters/<name>/`, sealed; where the order names
an object store, the same there; then one transaction that enters the version and closes the order.
Must never know: how it was trained or judged, the engine.

The engine keys its cache by name and folder, so a version is evaluated from the folder where it will be served. Hence
two moves: `place` puts the weights there by one rename and thereby takes the name, `seal` adds the probes and, last,
the manifest. A folder without a manifest is no adapter to anybody (`agent.store.artifacts.verify`).

All that the store is told is read out of the sealed manifest. So a job that died between the object store and the
transaction is completed by the next one from what is published, also on another machine.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import insert

from agent.store import Store, artifacts, convert, shelf
from agent.store.objects import Objects, objects_at
from agent.store.tables import EventRow, OrderRow
from agent.types import AdapterVersion, Verdict
from retrain.curate.manifest import FILE as DATA_MANIFEST
from retrain.gate import verdict as gate
from retrain.model_card import model_card
from retrain.order import Order
from serving.errors import InvalidInput

CARD = "README.md"
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


def seal(folder: Path, facts: Mapping[str, Any], probes: Path | None = None, *, card: bool = False) -> str:
    """Add the probes, the model card and, last, the manifest; returns the digest.

    A sealed folder is checked, never changed.
    """
    if (folder / artifacts.MANIFEST).exists():
        return artifacts.verify(folder)
    if probes is not None:
        shutil.copyfile(probes, folder / artifacts.PROBES)
    if card:
        (folder / CARD).write_text(model_card(facts), encoding="utf-8")
    return artifacts.seal(folder, facts)


def objects_of(order: Order) -> Objects | None:
    """The object store of an order; None when its adapters stay in its home."""
    part = order.objects
    return None if part is None else objects_at(part.url, endpoint=part.endpoint, region=part.region)


def left_before(order: Order) -> Path | None:
    """The folder of what an earlier attempt had published before it died; None when there is nothing.

    Raises InvalidInput when the name is another order's, RemoteFault when the object store cannot be asked.
    """
    objects = objects_of(order)
    there = None if objects is None else shelf.published(objects, order.challenger)
    if objects is None or there is None:
        return None
    if there.get("order") != order.id:
        raise InvalidInput(
            f"adapter name {order.challenger} already belongs to order {there.get('order')} in {objects.url}: give a "
            "new challenger name"
        )
    folder = folder_of(order.home, order.challenger)
    shelf.bring(objects, order.challenger, str(there["digest"]), folder)
    return folder


def bring_champion(order: Order) -> None:
    """Fetch the champion, to start from and to contest with, where this machine has none. Raises as `shelf.bring`."""
    objects, champion = objects_of(order), order.champion
    if objects is not None and champion is not None and champion.digest is not None:
        shelf.bring(objects, champion.name, champion.digest, champion.path)


def status_of(order: Order, verdict: Verdict | None) -> str:
    """The place in life that a verdict gives."""
    if not order.serve or (verdict is not None and not verdict.accepted):
        return "rejected"
    return "waiting" if verdict is not None and order.gate.approval == "required" else "accepted"


def conclude(order: Order, store: Store, folder: Path, now: datetime) -> str:
    """Put a sealed folder into the object store, then enter it and close its order; returns what the record says.

    Safe to call again. Raises RemoteFault or InvalidInput before anything is entered.
    """
    digest, facts = artifacts.verify(folder), artifacts.manifest(folder)
    objects = objects_of(order)
    if objects is not None:
        if (people := order.work / DATA_MANIFEST).is_file():
            shelf.record_people(objects, order.id, people.read_bytes())
        shelf.put(objects, folder, order.challenger)
    verdict = convert.verdict(facts["verdict"]) if facts["verdict"] else None
    version = AdapterVersion(
        name=order.challenger,
        alias=order.alias,
        path=str(folder),
        digest=digest,
        base_digest=facts["base_digest"],
        parent=facts["parent"],
        status=status_of(order, verdict),
        created_at=now,
        order_id=order.id,
        verdict=verdict,
    )
    says = _says(order, version, facts["train_only"])
    _enter(store, version, order.id, now, says)
    return f"{says}; digest {digest[:12]}, {folder if objects is None else objects.url}"


def _says(order: Order, version: AdapterVersion, train_only: str | None) -> str:
    verdict, name = version.verdict, version.name
    kind = verdict.kind.value.replace("_", " ") if verdict else "published without a contest"
    says = f"{name}: {kind}" if order.serve else f"{name}: trained, {train_only}"
    if verdict is not None:
        says += f" ({'; '.join(gate.reasons(verdict))})"
    if version.status == "waiting":
        says += f"; it waits for a person: trimtab approve {name}, or trimtab reject {name}"
    return says


def _enter(store: Store, version: AdapterVersion, order_id: str, now: datetime, says: str) -> None:
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
