"""Windows of traffic: features of exchanges fill a window for each version, and a full one becomes a profile.

Lives here: when a window is full, its profile and those of its slices, and how far it lies from the reference.
Comes in: exchanges in their order. Goes out: profile rows, and readings as columns of their table.
Must never know: the detector, cursors, transactions.

Rows of a half-filled window are not saved: after a restart they are computed again from the stored exchanges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from agent.app.references import References, read_pairs
from agent.drift.distances import distances
from agent.profile.features import features
from agent.profile.profiler import Profiler
from agent.profile.reference import profile_of_file
from agent.profile.slices import ALL, sliced
from agent.settings import Settings
from agent.store import Store
from agent.store.tables import ProfileRow
from agent.types import Exchange, Features, InvalidInput

RECALL = 10_000
"""Rows of a half-filled window that are looked for at a restart."""
WINDOW_S, WINDOW_ROWS = 1.0, 5_000
"""A window lasts this long at least, under heavy traffic, unless it holds this many rows already."""
MEASURES = frozenset({"ks", "psi", "chi2", "mmd"})
"""Distances that are kept as readings; `trimtab profile --against` computes them all, with intervals."""

Reading = dict[str, Any]
"""The columns of one row of readings; a window has two hundred, too many for objects of the ORM."""


class Windows:
    """Feed with `add`. Two things must survive a restart.

    `begun`: the first row of each version's open window. `fresh`: profiles of versions' first windows that are not
    saved yet; whoever has saved them empties it.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        references: References,
        first: Callable[[str, int], bytes] = lambda *_: b"",
    ) -> None:
        """`first(version, after)` is the profile of its first window, if one was saved after that row."""
        self._settings, self._store, self._references, self._saved = settings, store, references, first
        self._settled: dict[str, int] = {}
        self.recall({}, {}, 0)

    def recall(self, begun: Mapping[str, int], fresh: Mapping[str, bytes], cursor: int) -> None:
        """Everything as of the last commit, up to row `cursor`."""
        self.begun, self.fresh = dict(begun), dict(fresh)
        self._firsts = dict(fresh)
        self._rows: dict[str, list[Features]] = {}
        self._since: dict[str, datetime] = {}
        self._origins: dict[str, bytes] = {}
        for version, first in self.begun.items():
            upto = [e for r, e in self._store.exchanges_after(first - 1, RECALL) if r <= cursor]
            mine = [e for e in upto if e.version == version and e.profiled]
            if not mine:
                continue
            self._since[version] = mine[0].started_at
            if len(mine) < self._settings.drift.window_rows or not self._whole(mine[-1], len(mine)):
                self._rows[version] = [self._features(e) for e in mine]

    def settle(self, settled: Mapping[str, int]) -> None:
        """Up to which row a person found the traffic of a version normal: the next window is its first one."""
        for version, upto in settled.items():
            if self._settled.get(version) == upto:
                continue
            self._settled[version] = upto
            for known in (self._firsts, self._origins, self.fresh):
                known.pop(version, None)
            if self.begun.get(version, 0) <= upto:
                self._rows.pop(version, None)
                self.begun.pop(version, None)

    def add(self, rowid: int, exchange: Exchange) -> tuple[list[ProfileRow], list[Reading]]:
        """Take one in; what becomes of its window when that is full now, with the profiles of its slices."""
        version = exchange.version
        rows = self._rows.setdefault(version, [])
        if not rows:
            self.begun[version], self._since[version] = rowid, exchange.started_at
        rows.append(self._features(exchange))
        if len(rows) < self._settings.drift.window_rows or not self._whole(exchange, len(rows)):
            return [], []
        window_id = f"{version}-{self.begun[version]}"
        profiles = list(self._profiles(window_id, exchange, rows))
        whole = profiles[0].profile
        if version not in self._firsts:
            saved = self._saved(version, self._settled.get(version, 0))
            self._firsts[version] = saved or self.fresh.setdefault(version, whole)
        readings: list[Reading] = [
            {"exchange_rowid": rowid, "window_id": window_id, "version": version, "feature": feature,
             "measure": measure, "value": value, "at": exchange.started_at}
            for (feature, measure), value in self._how_far(exchange, whole).items()
        ]  # fmt: skip
        self._rows[version] = []
        return profiles, readings

    def _features(self, exchange: Exchange) -> Features:
        return features(exchange, language=self._settings.profile.language)

    def _whole(self, exchange: Exchange, rows: int) -> bool:
        """Whether a window with enough rows has lasted long enough, too."""
        lasted_s = (exchange.started_at - self._since[exchange.version]).total_seconds()
        return rows >= WINDOW_ROWS or not 0 < lasted_s < min(WINDOW_S, self._settings.tick_s)

    def _profiles(self, window_id: str, last: Exchange, rows: Sequence[Features]) -> Iterator[ProfileRow]:
        """The profile of all rows, then those of the slices."""
        since = self._since[last.version]
        parts = sliced(rows, self._settings.profile.slices)
        for name, part in {ALL: rows, **parts}.items():
            profiler = Profiler(since)
            profiler.track(part)
            yield ProfileRow(
                window_id=window_id if name == ALL else f"{window_id}/{name}",
                version=last.version,
                start_at=since,
                end_at=last.started_at,
                rows=len(part),
                slice=name,
                profile=profiler.serialize(),
            )

    def _how_far(self, exchange: Exchange, window: bytes) -> dict[tuple[str, str], float]:
        """Distances from the version's reference; from its first window for what the reference does not hold."""
        found: dict[tuple[str, str], float] = {}
        for reference in (self._origin(exchange.version, exchange.started_at), self._firsts[exchange.version]):
            if reference:
                far = {(d.feature, d.measure): d.value for d in distances(reference, window, level=None)}
                found = far | found
        return {key: value for key, value in found.items() if key[1] in MEASURES}

    def _origin(self, version: str, at: datetime) -> bytes:
        """The profile of the chosen file, or of the training set that the version brings; empty without either."""
        if version not in self._origins:
            path = self._settings.profile.reference
            if path is None and version not in self._settled:
                path = self._references.path(version, at)
            language = self._settings.profile.language
            try:
                self._origins[version] = profile_of_file(path, read_pairs, language=language)[0] if path else b""
            except InvalidInput as fault:
                self._origins[version] = b""
                self._store.record("reference", f"distances start from the first window: {fault}", at)
        return self._origins[version]
