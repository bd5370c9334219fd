"""The watch loop: stored exchanges -> features, window profiles, the detector, readings and alarms.

Lives here: the only line where the rooms profile and drift meet, and the transaction that makes it exactly-once.
Comes in: exchanges after a cursor. Goes out: profile, reading and alarm rows, and the new cursor, all in one commit.
Must never know: what anybody will do about an alarm.

A detector watches the stream of one version: of the champion, or, while no champion is named, of each version that is
seen. It learns from the reference that the version brings (`reference.jsonl` in its folder), or from the first
exchanges that the version answers.
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.drift.detector import Detector
from agent.drift.distances import distances
from agent.drift.records import Record, record_of
from agent.profile.features import features
from agent.profile.profiler import Profiler
from agent.profile.reference import profile_of_file
from agent.profile.slices import ALL, sliced
from agent.quality.sample import chosen
from agent.settings import Settings
from agent.store import Store, convert
from agent.store.tables import EventRow, ProfileRow, ReadingRow
from agent.types import AdapterVersion, Alarm, Exchange, Features, InvalidInput, Unservable

BATCH = 1000
"""Exchanges of one commit at most: what the detector has learnt is written each time, and that costs as much as 50."""
RECALL = 10_000
"""Rows of a half-filled window that are looked for at a restart."""
TICK_S = 2.0
"""A look goes on for so long while exchanges wait, and the next one takes up the rest."""
EAGER_ROWS, RESTS_TICKS = 100, 5
"""With fewer waiting, so many ticks pass between two looks."""
WINDOW_S, WINDOW_ROWS = 1.0, 5_000
"""A window lasts this long at least, under heavy traffic, unless it holds this many rows already."""
FAR_BEHIND, HEARD = 5_000, 0.25
"""When so many exchanges wait, the detector hears this share of them, chosen by chance, until it has caught up."""
STATE = "watch"
MEASURES = frozenset({"ks", "psi", "chi2", "mmd"})
"""Distances that are kept as readings; `trimtab profile --against` computes them all, with intervals."""


MOST_STREAMS = 20
"""Versions that are watched beside each other while no champion is named; profiles are made of all."""


@dataclass
class _Kept:
    """What must survive a restart of one version's stream: the detector, or what it is learning from."""

    learning: list[dict[str, Any]] = field(default_factory=list)
    detector: str = ""
    reference_rows: int = 0


@dataclass
class _Stream:
    """The stream of one version. `kept.detector` is as of the last commit while `moved` is false."""

    kept: _Kept = field(default_factory=_Kept)
    detector: Detector | None = None
    moved: bool = False


@dataclass
class _State:
    """What must survive a restart beside the streams: windows that are filling, and what distances start from."""

    window_from: dict[str, int] = field(default_factory=dict)
    reference_window: dict[str, str] = field(default_factory=dict)
    text_off: bool = False


class Watch:
    """Follows the stream of stored exchanges, a batch a tick."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        redact: Callable[[str], str] | None = None,
        bring: Callable[[AdapterVersion], object] = bool,
    ) -> None:
        """Goes on where the store says that the loop has been. Without `redact` no reference text is shown.

        `bring(version)` has a version's folder on this machine before its reference is looked for: it may lie in an
        object store. What it raises ends the tick, which is tried again; only a version that is nowhere to be had
        (Unservable) is watched without its reference.
        """
        self._settings = settings
        self._bring = bring
        self._redact = redact
        self._store = store
        self._stale = False
        self._open = False
        self._looked_at = -math.inf
        self._recall()

    def rest(self) -> None:
        """Somebody else watches meanwhile: the next tick begins from the last commit."""
        self._stale = True

    def _recall(self) -> None:
        """Everything as of the last commit."""
        self.cursor, state = self._store.load_state(STATE)
        said: dict[str, Any] = json.loads(state) if state else {}
        self._streams = _restored(_streams_of(said))
        self._state = _State(**said)
        self._windows: dict[str, list[Features]] = {}
        self._began: dict[str, datetime] = {}
        self._references: dict[str, bytes] = {}
        self._recall_windows()
        self._stale = False

    @property
    def phase(self) -> str:
        """What the detector is doing, in words."""
        streams = self._streams
        if len(streams) > 1:
            return f"watching {sum(s.detector is not None for s in streams.values())} of {len(streams)} versions"
        learning = next(iter(streams.values()), _Stream())
        if learning.detector is not None:
            return "watching"
        return f"learning {len(learning.kept.learning)}/{self._settings.drift.reference_rows}"

    def paced(self, now: datetime) -> int:
        """As `tick`, but not for a few exchanges at a time: each look writes all that the detector knows."""
        few = self._store.last_rowid() - self.cursor < EAGER_ROWS
        if few and time.monotonic() - self._looked_at < RESTS_TICKS * self._settings.tick_s:
            return 0
        self._looked_at = time.monotonic()
        return self.tick(now)

    def tick(self, now: datetime) -> int:
        """Look at what waits, a batch a commit, for at most `TICK_S`; returns how many exchanges that were.

        When it raises, memory may have run ahead of the cursor: the next tick begins from the last commit.
        """
        seen, until = 0, time.monotonic() + TICK_S
        while True:
            if self._stale:
                self._recall()
            self._stale = True
            batch = self._look(now)
            self._stale = False
            seen += batch
            if batch < BATCH or time.monotonic() >= until:
                return seen

    def _look(self, now: datetime) -> int:
        row = self._store.rollout(self._settings.alias)
        self._open = row is None
        if row is not None and row.phase in ("steady", "drain") and set(self._streams) != {row.champion}:
            self._follow(row.champion, now)
        batch = self._store.exchanges_after(self.cursor, BATCH)
        if not batch:
            return 0
        produced: list[Any] = []
        for rowid, exchange in batch:
            if exchange.alias == self._settings.alias and exchange.profiled:
                produced += self._text_off(exchange, now)
                produced += self._profile(rowid, exchange)
        alarms = self._watch(self._heard(batch), now)
        for rowid, alarm in alarms:
            produced += self._said(alarm.version, rowid, alarm.at, alarm.evidence)
        produced += self._evidence(batch, now)
        self._commit(batch[-1][0], produced, alarms, now)
        return len(batch)

    # -- profiles ---------------------------------------------------------------------------------

    def _profile(self, rowid: int, exchange: Exchange) -> list[Any]:
        rows = self._windows.setdefault(exchange.version, [])
        if not rows:
            self._state.window_from[exchange.version] = rowid
            self._began[exchange.version] = exchange.started_at
        rows.append(features(exchange, language=self._settings.profile.language))
        if len(rows) < self._settings.drift.window_rows or not self._whole(exchange, len(rows)):
            return []
        window_id = f"{exchange.version}-{self._state.window_from[exchange.version]}"
        since = self._began[exchange.version]
        whole = _profiled(rows, since)
        parts = {name: (part, None) for name, part in sliced(rows, self._settings.profile.slices).items()}
        produced: list[Any] = [
            ProfileRow(
                window_id=window_id if name == ALL else f"{window_id}/{name}",
                version=exchange.version,
                start_at=since,
                end_at=exchange.started_at,
                rows=len(part),
                slice=name,
                profile=profile or _profiled(part, since),
            )
            for name, (part, profile) in {ALL: (rows, whole), **parts}.items()
        ]
        self._state.reference_window.setdefault(exchange.version, base64.b64encode(whole).decode())
        for (feature, measure), value in self._how_far(exchange, whole).items():
            produced.append(
                ReadingRow(
                    exchange_rowid=rowid,
                    window_id=window_id,
                    version=exchange.version,
                    feature=feature,
                    measure=measure,
                    value=value,
                    at=exchange.started_at,
                )
            )
        self._windows[exchange.version] = []
        return produced

    def _whole(self, exchange: Exchange, rows: int) -> bool:
        """Whether a window with enough rows has lasted long enough, too."""
        lasted_s = (exchange.started_at - self._began[exchange.version]).total_seconds()
        return rows >= WINDOW_ROWS or not 0 < lasted_s < min(WINDOW_S, self._settings.tick_s)

    def _how_far(self, exchange: Exchange, window: bytes) -> dict[tuple[str, str], float]:
        """Distances from the version's reference; from its first window for what the reference does not hold."""
        found: dict[tuple[str, str], float] = {}
        first = base64.b64decode(self._state.reference_window[exchange.version])
        for reference in (self._reference(exchange.version, exchange.started_at), first):
            if reference:
                far = {(d.feature, d.measure): d.value for d in distances(reference, window, level=None)}
                found = far | found
        return {key: value for key, value in found.items() if key[1] in MEASURES}

    def _reference(self, version: str, at: datetime) -> bytes:
        """The profile of the chosen file, or of the training set that the version brings; empty without either."""
        if version not in self._references:
            path = self._settings.profile.reference or self._reference_path(version, at)
            language = self._settings.profile.language
            try:
                self._references[version] = profile_of_file(path, language=language)[0] if path else b""
            except InvalidInput as fault:
                self._references[version] = b""
                self._store.record("reference", f"distances start from the first window: {fault}", at)
        return self._references[version]

    def _reference_path(self, version: str, at: datetime) -> Path | None:
        """Where its reference lies, once its folder is here."""
        if self._settings.reference is None or version != self._settings.first_version:
            for adapter in self._store.adapters(self._settings.alias):
                if adapter.name == version and adapter.digest:  # one that was only seen has no folder of ours
                    try:
                        self._bring(adapter)
                    except Unservable as fault:
                        self._store.record("reference", f"{version} cannot be brought here: {fault}", at)
        return reference_path(self._settings, self._store, version)

    def _recall_windows(self) -> None:
        """Rows of half-filled windows are not saved: they are computed again from the stored exchanges."""
        for version, first in self._state.window_from.items():
            upto = [e for r, e in self._store.exchanges_after(first - 1, RECALL) if r <= self.cursor]
            language = self._settings.profile.language
            mine = [e for e in upto if e.version == version and e.profiled]
            if not mine:
                continue
            self._began[version] = mine[0].started_at
            if len(mine) < self._settings.drift.window_rows or not self._whole(mine[-1], len(mine)):
                self._windows[version] = [features(e, language=language) for e in mine]

    # -- drift ------------------------------------------------------------------------------------

    def _follow(self, version: str, now: datetime) -> None:
        """Another version answers now: its own reference, or learning from what it answers first.

        A version that was watched already, without a reference of its own, is watched on.
        """
        path = self._reference_path(version, now)
        stream = self._streams.get(version)
        self._streams = {version: stream if stream is not None and path is None else _Stream()}
        if stream is not None and path is None:
            return
        if path is None:
            self._store.record("reference", f"{version} brings no reference: learning from its first answers", now)
            return
        records = read_reference(path)
        self._fit(version, records)
        self._store.record("reference", f"watching {version} against its {len(records)} reference exchanges", now)

    def _fit(self, version: str, records: Sequence[Record]) -> None:
        drift = self._settings.drift
        detector = Detector.fit(
            records,
            alias=self._settings.alias,
            version=version,
            budget_rows=drift.budget_windows * drift.window_rows,
            seed=drift.seed,
        )
        self._streams[version] = _Stream(_Kept(reference_rows=len(records)), detector, moved=True)

    def _stream(self, exchange: Exchange, now: datetime) -> _Stream | None:
        """The stream that an exchange belongs to; None when nobody watches its version."""
        known = self._streams.get(exchange.version)
        if known is not None or not self._open or exchange.status != 200 or len(self._streams) >= MOST_STREAMS:
            return known
        self._streams[exchange.version] = _Stream()
        self._store.record("reference", f"{exchange.version} is seen: learning from its first answers", now)
        return self._streams[exchange.version]

    def _heard(self, batch: Sequence[tuple[int, Exchange]]) -> Sequence[tuple[int, Exchange]]:
        """What of a batch the detector hears: its texts, and under more traffic than it can follow a fair share.

        Fewer rows are fewer looks: the promise of false alarms holds, an alarm comes some exchanges later.
        """
        mine = [(rowid, e) for rowid, e in batch if e.alias == self._settings.alias and e.profiled and e.has_text]
        if len(batch) < BATCH or self._store.last_rowid() - batch[-1][0] < FAR_BEHIND:
            return mine
        return [(rowid, e) for rowid, e in mine if chosen(e.id, HEARD, "watch")]

    def _watch(self, heard: Sequence[tuple[int, Exchange]], now: datetime) -> list[tuple[int, Alarm]]:
        """The alarms of a batch, in the order of the stream."""
        waiting: dict[str, list[tuple[int, Record]]] = {}
        for rowid, exchange in heard:
            if self._stream(exchange, now) is not None:
                record = record_of(exchange)
                if not self._settings.drift.latency:
                    record = replace(record, latency_s=None, ttft_s=None)
                waiting.setdefault(exchange.version, []).append((rowid, record))
        alarms = [alarm for version, some in waiting.items() for alarm in self._hear(version, some)]
        return sorted(alarms, key=lambda alarm: alarm[0])

    def _hear(self, version: str, some: Sequence[tuple[int, Record]]) -> list[tuple[int, Alarm]]:
        """What one version's detector says of the next records; the first ones may be what it learns from."""
        stream = self._streams[version]
        if stream.detector is None:
            learning, wanted = stream.kept.learning, self._settings.drift.reference_rows
            learnt, some = some[: wanted - len(learning)], some[wanted - len(learning) :]
            learning += [{**asdict(record), "at": record.at.isoformat()} for _, record in learnt]
            if len(learning) >= wanted:
                self._fit(version, [_record(item) for item in learning])
            stream = self._streams[version]
        if stream.detector is None or not some:
            return []
        stream.moved = True
        said = stream.detector.update_many([record for _, record in some])
        return [
            (rowid, replace(alarm, alias=self._settings.alias))
            for (rowid, _), alarm in zip(some, said, strict=True)
            if alarm is not None
        ]

    def _text_off(self, exchange: Exchange, now: datetime) -> list[EventRow]:
        """Say once that texts are no longer stored, or that they are stored again."""
        off = exchange.text_gone == "off"
        if off == self._state.text_off:
            return []
        self._state.text_off = off
        text = "no texts are stored (capture.text = none): the detector rests, profiles go on"
        return [
            EventRow(at=now, kind="detector", text=text if off else "texts are stored: the detector goes on", data={})
        ]

    def _evidence(self, batch: Sequence[tuple[int, Exchange]], now: datetime) -> list[ReadingRow]:
        """Where the detector stands after this batch, of each version that it held."""
        last = {exchange.version: rowid for rowid, exchange in batch}
        if len(self._streams) == 1:
            last = {next(iter(self._streams)): batch[-1][0]}
        produced: list[ReadingRow] = []
        for version, rowid in last.items():
            stream = self._streams.get(version)
            if stream is not None:
                evidence = stream.detector.evidence if stream.detector else None
                produced += self._said(version, rowid, now, evidence)
        return produced

    def _said(self, version: str, rowid: int, at: datetime, evidence: float | None) -> list[ReadingRow]:
        """What the detector says after an exchange; an alarm is said with the evidence that raised it."""
        stream = self._streams[version]
        watching, kept = stream.detector, stream.kept
        return convert.detector_rows(
            exchange_rowid=rowid,
            window_id="live",
            version=version,
            at=at,
            reference_rows=kept.reference_rows if watching else len(kept.learning),
            reference_wanted=kept.reference_rows if watching else self._settings.drift.reference_rows,
            evidence=evidence,
            threshold=watching.threshold if watching else None,
        )

    def vanished(self, alarm: Alarm) -> list[tuple[str, str, str]]:
        """The reference texts that come less, as they may be shown: (id, prompt, answer)."""
        if self._redact is None:
            return []
        path = reference_path(self._settings, self._store, alarm.version)
        known = {record.id: (record.prompt, record.answer) for record in read_reference(path)} if path else {}
        shown = []
        for name in alarm.vanished:
            exchange = None if name in known else self._store.exchange(name)
            prompt, answer = known.get(name) or ((exchange.prompt, exchange.answer) if exchange else ("", ""))
            shown.append((name, self._redact(prompt), self._redact(answer)))
        return shown

    # -- one commit -------------------------------------------------------------------------------

    def _commit(self, cursor: int, produced: list[Any], alarms: list[tuple[int, Alarm]], now: datetime) -> None:
        for stream in self._streams.values():
            if stream.detector is not None and stream.moved:
                stream.kept.detector = base64.b64encode(stream.detector.state()).decode()
                stream.moved = False
        state = asdict(self._state) | {"streams": {name: asdict(s.kept) for name, s in self._streams.items()}}
        vanished = {rowid: self.vanished(alarm) for rowid, alarm in alarms}
        with self._store.transaction() as session:
            self._store.put_readings(session, [row for row in produced if isinstance(row, ReadingRow)])
            session.add_all([row for row in produced if not isinstance(row, ReadingRow)])
            for rowid, alarm in alarms:
                session.add(convert.alarm_row(alarm, rowid, vanished[rowid]))
                data = {"exchange_rowid": rowid, "evidence": alarm.evidence}
                session.add(EventRow(at=now, kind="alarm", text=alarm.reason, data=data))
            self._store.save_state(session, STATE, cursor, json.dumps(state).encode())
        self.cursor = cursor


def _streams_of(said: dict[str, Any]) -> dict[str, _Kept]:
    """Takes the streams out of a state; one that an earlier program wrote holds a single one beside the rest."""
    single = {name: said.pop(name) for name in ("version", *_Kept.__dataclass_fields__) if name in said}
    streams = said.pop("streams", {})
    if version := single.pop("version", ""):
        streams[version] = single
    return {name: _Kept(**kept) for name, kept in streams.items()}


def _restored(streams: dict[str, _Kept]) -> dict[str, _Stream]:
    """The streams as of the last commit; one of another version of this program is then followed anew."""
    restored = {}
    for name, kept in streams.items():
        try:
            detector = Detector.restore(base64.b64decode(kept.detector)) if kept.detector else None
        except InvalidInput:
            continue
        restored[name] = _Stream(kept, detector)
    return restored


def _profiled(rows: Sequence[Features], at: datetime) -> bytes:
    profiler = Profiler(at)
    profiler.track(rows)
    return profiler.serialize()


def reference_path(settings: Settings, store: Store, version: str) -> Path | None:
    """Where the reference of a version lies: the settings name the first one, later ones bring their own."""
    if version == settings.first_version and settings.reference is not None:
        return settings.reference
    for adapter in store.adapters(settings.alias):
        path = Path(adapter.path) / "reference.jsonl"
        if adapter.name == version and path.exists():
            return path
    return None


def read_reference(path: Path) -> list[Record]:
    """Records of a JSON lines file with keys prompt, answer (or response) and optionally at, user, conversation."""
    try:
        with path.open(encoding="utf-8") as lines:
            return [_record(json.loads(line), n) for n, line in enumerate(lines, 1) if line.strip()]
    except (OSError, ValueError, KeyError) as error:
        msg = (
            f"reference {path} is not JSON lines with prompt and answer ({error}): record it again or unset `reference`"
        )
        raise InvalidInput(msg) from error


def _record(item: dict[str, Any], number: int = 0) -> Record:
    at = item.get("at") or "1970-01-01T00:00:00+00:00"
    return Record(
        id=str(item.get("id", number)),
        prompt=item["prompt"],
        answer=item["answer"] if "answer" in item else item["response"],
        at=datetime.fromisoformat(at),
        user=item.get("user"),
        conversation=item.get("conversation"),
        template=item.get("template"),
        latency_s=item.get("latency_s"),
        ttft_s=item.get("ttft_s"),
    )
