"""`trimtab forget`: one person's data out of the store, finished orders, published adapters' files, later training.

Lives here: the walk over the store, the orders' folders and the adapters, here and in the object store; what is told.
Comes in: settings, a name. Goes out: blanked rows, rewritten data files, the adapters that learnt from that person.
Must never know: argv; how data files are made, beyond their names and the keys `user` and `id`.

An adapter cannot unlearn: it is named, and who runs the service decides whether it is replaced. What tells which words
are theirs (the store, the orders' rows) is taken away last, so that a run that was cut off is completed by the next.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.app.database import existing_store
from agent.app.main import redactor_of
from agent.app.orders import objects_of
from agent.app.withdraw import IsTheirs, asked, keeper, theirs_by, withdraw
from agent.settings import Settings
from agent.store import Store, artifacts, forgotten, shelf
from agent.store.objects import Objects
from agent.store.pages import cut_log
from agent.types import AdapterVersion, InvalidInput, RemoteFault

MANIFEST = "data.json"
ROWS = ("train.jsonl", "valid.jsonl", "holdout_fresh.jsonl", "holdout_old.jsonl")
ANSWERS = ("eval.jsonl", "teacher.jsonl")
REPORT, PAGE = "report.json", "data.html"
IN_HAND = ("open", "running")


@dataclass(kw_only=True)
class Forgotten:
    """What was found. `adapters` are (name, why), those that learnt from the person first."""

    exchanges: int = 0
    rows: int = 0
    orders: list[str] = field(default_factory=list)
    in_hand: list[str] = field(default_factory=list)
    adapters: list[tuple[str, str]] = field(default_factory=list)
    withdrawn: list[tuple[str, str]] = field(default_factory=list)
    """(adapter, where) of those whose probes or reference repeated the person's words until now."""
    unknown: list[tuple[str, str]] = field(default_factory=list)
    """(adapter, order) of those of which nobody recorded here whose data they learnt from."""
    faults: list[str] = field(default_factory=list)

    def lines(self) -> Iterator[str]:
        """For a person to read."""
        yield f"{self.exchanges} exchanges blanked, {self.rows} rows taken out of {len(self.orders)} orders' data"
        if not (self.exchanges or self.rows or self.withdrawn or self.adapters or self.in_hand):
            yield "nothing is stored under that name: give it exactly as the application sends `user`, upper case too"
        for name, where in self.withdrawn:
            yield f"their messages taken out of the probes and the reference of adapter {name} in {where}"
        for name, why in self.adapters:
            yield f"adapter {name}: {why}"
        if self.adapters:
            yield "weights cannot unlearn: later orders leave this person out; retire what is named once one took over"
        else:
            yield "no adapter is known to have learnt from this person"
        for name, order in self.unknown:
            yield f"adapter {name}: whose data order {order} used is on record neither here nor in the object store"
        for fault in self.faults:
            yield f"not looked at: {fault}"
        for order in self.in_hand:
            yield f"order {order} is in hand and holds their rows: when it has ended, run this command again"


def forget(settings: Settings, user: str) -> Forgotten:
    """Forget one person; safe to repeat, also after it was cut off.

    Raises InvalidInput for an empty name or a home without a store; RemoteFault when the object store does not answer,
    before anything but the person's place in the list of the forgotten is written.
    """
    if not user.strip():
        raise InvalidInput("give the name that the application sends as `user`")
    store = existing_store(settings)
    try:
        marks = {redactor_of(settings).hash(user), forgotten.file_mark(user)}
        return _forget(settings.home, store, marks, {user, *marks}, objects_of(settings))
    except RemoteFault as fault:
        raise RemoteFault(
            f"{fault}; later training leaves this person out, their data is still stored; run this command again"
        ) from fault
    finally:
        store.close()


def _forget(home: Path, store: Store, marks: set[str], names: Collection[str], objects: Objects | None) -> Forgotten:
    said = Forgotten()
    forgotten.enter(store.engine, marks)
    orders = {path.parent: _read(path) for path in sorted((home / "orders").glob(f"*/{MANIFEST}"))}
    theirs = theirs_by(names, forgotten.said(store.engine, marks) | _written(orders, marks))
    used = [(folder.name, manifest) for folder, manifest in orders.items()]
    busy = {order.id for order in store.orders(status=IN_HAND)}
    if objects is not None:
        used += [(order, _document(data)) for order, data in shelf.people(objects)]
        lost, said.faults = shelf.sift(objects, keeper(theirs), unfinished=not busy)
        said.withdrawn += [(name, objects.url) for name in lost]
    for folder in sorted({*_folders(home), *(Path(version.path) for version in store.adapters())}):
        if withdraw(folder, keeper(theirs)):
            said.withdrawn.append((folder.name, str(folder)))
    learnt = {order for order, manifest in used if marks & manifest.get("users", {}).keys()}
    for folder, manifest in orders.items():
        if marks & {*manifest.get("users", {}), *manifest.get("users_examined", {})}:
            if folder.name in busy:
                said.in_hand.append(folder.name)
            elif found := _clean(folder, marks, theirs):
                said.rows += found
                said.orders.append(folder.name)
    said.adapters = _adapters(store.adapters(), learnt)
    known = {order for order, _ in used}
    said.unknown = [(v.name, v.order_id) for v in store.adapters() if v.order_id and v.order_id not in known]
    said.exchanges = forgotten.forget(store.engine, marks)
    cut_log(store.engine)
    return said


def _folders(home: Path) -> Iterator[Path]:
    return (path for path in (home / "adapters").glob("*") if path.is_dir())


def _written(orders: Collection[Path], marks: Collection[str]) -> set[str]:
    """What these people wrote, as it stands in orders' rows."""
    rows = (value for folder in orders for name in ROWS for _, value in _lines(folder / name))
    return {text for row in rows if row.get("user") in marks for text in asked(row)}


def _clean(folder: Path, marks: Collection[str], theirs: IsTheirs) -> int:
    """Rewrite an order's data files without these people; returns how many rows went. The rows themselves go last."""
    held = {name: list(_lines(folder / name)) for name in ROWS}
    ids = {str(value.get("id")) for lines in held.values() for _, value in lines if value.get("user") in marks}
    if not ids:
        return 0
    for name in ANSWERS:
        stay = [line for line, value in _lines(folder / name) if str(value.get("id")) not in ids and not theirs(value)]
        _rewrite(folder / name, stay)
    report = _read(folder / REPORT)
    if report:  # examples may be theirs
        report["steps"] = [{**step, "examples": []} for step in report.get("steps", ())]
        report["live"] = {}
        _rewrite(folder / REPORT, [json.dumps(report, indent=2, ensure_ascii=False)])
    for name in (PAGE, artifacts.PROBES):
        (folder / name).unlink(missing_ok=True)
    rows = 0
    for name, lines in held.items():
        stay = [line for line, value in lines if value.get("user") not in marks]
        rows += len(lines) - len(stay)
        _rewrite(folder / name, stay)
    return rows


def _adapters(versions: Collection[AdapterVersion], learnt: Collection[str]) -> list[tuple[str, str]]:
    """(name, why): made by an order that learnt from them, or started from such an adapter."""
    found: dict[str, str] = {}
    for version in sorted(versions, key=lambda v: v.created_at):
        if version.order_id in learnt:
            found[version.name] = f"was trained on their data by order {version.order_id} ({version.status})"
        elif version.parent in found:
            found[version.name] = f"was started from or compared with {version.parent} ({version.status})"
    return list(found.items())


def _read(path: Path) -> dict[str, Any]:
    try:
        return _document(path.read_bytes())
    except OSError:
        return {}


def _document(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            try:
                value = json.loads(line)
            except ValueError:
                value = {}
            yield line, value if isinstance(value, dict) else {}


def _rewrite(path: Path, lines: Collection[str]) -> None:
    if not path.is_file():
        return
    draft = path.with_name(path.name + ".tmp")
    draft.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    draft.replace(path)
