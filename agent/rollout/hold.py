"""What the engine of a rollout holds: the wanted versions, each exactly as it was evaluated, and the judge.

Lives here: `Holder`, and `EnginePort`, what it asks of an engine.
Comes in: the stand of an alias, the store's adapter versions. Goes out: loads, unloads, lines of the record.
Must never know: who moves an alias, and when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from agent.rollout import plan
from agent.settings import Settings
from agent.store import Store, shelf
from agent.store.artifacts import verify
from agent.store.objects import Objects
from agent.types import AdapterVersion, TrimtabError, Unservable


class EnginePort(Protocol):
    """What a rollout asks of an engine; `serving.engine.Engine` is the real one."""

    def live(self) -> bool:
        """Whether the engine answers."""

    def models(self) -> Mapping[str, str]:
        """What it serves now, base and adapters: name -> folder."""

    def load(self, name: str, folder: Path | str) -> None:
        """Load an adapter folder under a name. Raises RemoteFault or Unservable."""

    def unload(self, name: str) -> None:
        """Forget an adapter; one that is not there is fine."""

    def probe(self, name: str, probes: Sequence[Sequence[Mapping[str, str]]]) -> list[str]:
        """Greedy answers of one model to recorded chats, in their order."""


class Holder:
    """Has the engine hold what is wanted; called again, it changes nothing."""

    def __init__(self, settings: Settings, store: Store, engine: EnginePort, objects: Objects | None) -> None:
        """From `objects` a version is fetched that is not whole in its folder."""
        self._settings, self._store, self._engine, self._objects = settings, store, engine, objects
        self._judge_refused = ""

    def hold(self, stand: plan.Stand, now: datetime) -> None:
        """Load what the stand needs, and let go what is retired or was rejected. Raises Unservable, RemoteFault."""
        loaded = self._engine.models()
        paths = {version.name: version for version in self._store.adapters(self._settings.alias)}
        for name in plan.wanted(stand):
            version = paths.get(name)
            if version is None:
                msg = f"{name} is wanted but the store has no such adapter"
                raise Unservable(msg)
            self.load(version, loaded, now)
        for name in self._leftovers(stand, loaded):
            self._engine.unload(name)
            self._store.record("unloaded", f"the engine let {name} go", now, version=name)

    def load(self, version: AdapterVersion, loaded: Mapping[str, str], now: datetime) -> None:
        """Have the engine hold a version, unless it does already: `loaded` is name -> folder of what it holds."""
        name = version.name
        if loaded.get(name) == version.path:
            return
        if name in loaded:
            self._engine.unload(name)
        self.check(version)
        self._engine.load(name, version.path)
        self._store.record("loaded", f"the engine holds {name}", now, version=name, digest=version.digest)

    def check(self, version: AdapterVersion) -> None:
        """Have the version here, and raise Unservable unless it is exactly what was evaluated."""
        if self._objects is not None:
            shelf.bring(self._objects, version.name, version.digest, Path(version.path))
        digest = verify(Path(version.path))
        if digest != version.digest:
            found = f"digest {digest[:12]} instead of {version.digest[:12]}"
            msg = f"{version.name} at {version.path} is not what was evaluated: {found}"
            raise Unservable(msg)

    def hold_judge(self, now: datetime) -> None:
        """Keep the judge loaded; a judge that cannot be had is said once and stops nobody else."""
        judge, path = self._settings.quality.judge_model, self._settings.quality.judge_path
        if not judge or not path or judge in self._engine.models():
            return
        try:
            verify(path)
            self._engine.load(judge, path)
        except TrimtabError as fault:
            if str(fault) != self._judge_refused:
                self._store.record("unservable", f"the judge cannot be loaded: {fault}", now)
            self._judge_refused = str(fault)
            return
        self._store.record("loaded", f"the engine holds the judge {judge}", now, version=judge)

    def _leftovers(self, stand: plan.Stand, loaded: Mapping[str, str]) -> list[str]:
        over = [v.name for v in self._store.adapters(self._settings.alias) if v.status in ("rejected", "retired")]
        return [name for name in over if name in loaded and name not in plan.wanted(stand)]
