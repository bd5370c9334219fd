"""`trimtab forget`: one person's data out of the store, out of finished orders, out of all later training.

Lives here: the walk over the store and the orders' folders, and what is told.
Comes in: settings, a name. Goes out: blanked rows, rewritten data files, the adapters that learnt from that person.
Must never know: argv; how data files are made, beyond their names and the keys `user` and `id`.

An adapter cannot unlearn: it is named, and who runs the service decides whether it is replaced.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.app.database import existing_store
from agent.app.main import redactor_of
from agent.settings import Settings
from agent.store import Store, artifacts, forgotten
from agent.store.pages import cut_log
from agent.types import AdapterVersion, InvalidInput

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

    def lines(self) -> Iterator[str]:
        """For a person to read."""
        yield f"{self.exchanges} exchanges blanked, {self.rows} rows taken out of {len(self.orders)} orders' data"
        for name, why in self.adapters:
            yield f"adapter {name}: {why}"
        if not self.adapters:
            yield "no adapter is known to have learnt from this person"
        for order in self.in_hand:
            yield f"order {order} is in hand and holds their rows: when it has ended, run this command again"


def forget(settings: Settings, user: str) -> Forgotten:
    """Forget one person; safe to repeat. Raises InvalidInput for an empty name or a home without a store."""
    if not user.strip():
        raise InvalidInput("give the name that the application sends as `user`")
    store = existing_store(settings)
    try:
        marks = {redactor_of(settings).hash(user), forgotten.file_mark(user)}
        return _forget(settings.home, store, marks)
    finally:
        store.close()


def _forget(home: Path, store: Store, marks: Collection[str]) -> Forgotten:
    said = Forgotten()
    said.exchanges = forgotten.forget(store.engine, marks)
    cut_log(store.engine)
    busy = {order.id for order in store.orders(status=IN_HAND)}
    learnt, texts = set(), set()
    for path in sorted((home / "orders").glob(f"*/{MANIFEST}")):
        order, manifest = path.parent.name, _read(path)
        theirs = {**manifest.get("users", {}), **manifest.get("users_examined", {})}
        if marks & theirs.keys():
            if marks & manifest.get("users", {}).keys():
                learnt.add(order)
            if order in busy:
                said.in_hand.append(order)
                continue
            found, prompts = _clean(path.parent, marks)
            texts |= prompts
            said.rows += found
            said.orders += [order] if found else []
    said.adapters = _adapters(store.adapters(), learnt, texts)
    return said


def _clean(folder: Path, marks: Collection[str]) -> tuple[int, set[str]]:
    """Rewrite an order's data files without these people; returns (rows taken out, their prompts)."""
    ids: set[str] = set()
    prompts: set[str] = set()
    rows = 0
    for name in ROWS:
        stay = []
        for line, value in _lines(folder / name):
            if value.get("user") in marks:
                ids.add(str(value.get("id")))
                prompts |= {str(m.get("content")) for m in value.get("messages", ()) if m.get("role") == "user"}
                rows += 1
            else:
                stay.append(line)
        _rewrite(folder / name, stay)
    if rows:
        for name in ANSWERS:
            _rewrite(folder / name, [line for line, value in _lines(folder / name) if str(value.get("id")) not in ids])
        report = _read(folder / REPORT)
        if report:  # examples may be theirs
            report["steps"] = [{**step, "examples": []} for step in report.get("steps", ())]
            report["live"] = {}
            _rewrite(folder / REPORT, [json.dumps(report, indent=2, ensure_ascii=False)])
        for name in (PAGE, artifacts.PROBES):
            (folder / name).unlink(missing_ok=True)
    return rows, prompts


def _adapters(versions: Collection[AdapterVersion], learnt: set[str], texts: set[str]) -> list[tuple[str, str]]:
    """(name, why): made by an order that learnt from them, started from such an adapter, or holding their words."""
    found: dict[str, str] = {}
    for version in sorted(versions, key=lambda v: v.created_at):
        if version.order_id in learnt:
            found[version.name] = f"was trained on their data by order {version.order_id} ({version.status})"
        elif version.parent in found:
            found[version.name] = f"was started from or compared with {version.parent} ({version.status})"
        held = sum(text in texts for text in _probes(Path(version.path)))
        if held:
            why = found.get(version.name, f"was not trained on their data ({version.status})")
            found[version.name] = f"{why}; its {artifacts.PROBES} repeats {held} of their messages"
    return list(found.items())


def _probes(folder: Path) -> Iterator[str]:
    try:
        probes = json.loads((folder / artifacts.PROBES).read_text(encoding="utf-8"))
        for probe in probes if isinstance(probes, list) else probes.get("probes", ()):
            yield from (str(message.get("content")) for message in probe.get("messages", ()))
    except (OSError, ValueError, AttributeError):
        return


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
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
