"""Streams of versions: each is heard by a drift detector of its own, which learns from a reference first.

Lives here: whose stream is followed, what its detector learns from, what it hears and says.
Comes in: who answers now, exchanges in their order. Goes out: alarms, and where each detector stands.
Must never know: profiles, cursors, transactions, what anybody will do about an alarm.

A detector watches the stream of one version: of the champion, or, while no champion is named, of each version that is
seen. It learns from the reference that the version brings (`reference.jsonl` in its folder), or from the first
exchanges that the version answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from agent.app.references import References, read_reference, record_of_item
from agent.drift.detector import Detector
from agent.drift.records import Record, record_of
from agent.settings import Settings
from agent.store import Store, convert
from agent.store.tables import RolloutRow
from agent.types import Alarm, Exchange, InvalidInput

MOST_STREAMS = 20
"""Versions that are watched beside each other while no champion is named; profiles are made of all."""


@dataclass
class Stream:
    """The stream of one version. `learning` are the records so far, as JSON, of one that brings no reference.

    The detector is as it was saved while `moved` is false. What came up to row `after` is not heard: it was settled.
    """

    learning: list[dict[str, Any]] = field(default_factory=list)
    reference_rows: int = 0
    detector: Detector | None = None
    moved: bool = False
    after: int = 0

    @classmethod
    def restored(
        cls, learning: list[dict[str, Any]], reference_rows: int, detector: bytes, after: int
    ) -> Stream | None:
        """The stream that was saved; None when its detector is of another version of this program."""
        try:
            return cls(learning, reference_rows, Detector.restore(detector) if detector else None, after=after)
        except InvalidInput:
            return None


class Streams:
    """`of` holds the stream of each version that is watched; those must survive a restart."""

    def __init__(self, settings: Settings, store: Store, references: References) -> None:
        self._settings, self._store, self._references = settings, store, references
        self._open = False
        self._settled: Mapping[str, int] = {}
        self.recall({})

    def recall(self, streams: Mapping[str, Stream]) -> None:
        """The streams as of the last commit."""
        self.of = dict(streams)

    @property
    def phase(self) -> str:
        """What the detector is doing, in words."""
        if len(self.of) > 1:
            return f"watching {sum(s.detector is not None for s in self.of.values())} of {len(self.of)} versions"
        only = next(iter(self.of.values()), Stream())
        if only.detector is not None:
            return "watching"
        return f"learning {len(only.learning)}/{self._settings.drift.reference_rows}"

    def settle(self, settled: Mapping[str, int]) -> None:
        """Up to which row a person found the traffic of a version normal: it is learnt from what comes after."""
        self._settled = settled
        for version, stream in self.of.items():
            if stream.after < settled.get(version, 0):
                self.of[version] = self._new(version)

    def _new(self, version: str) -> Stream:
        return Stream(after=self._settled.get(version, 0))

    def turn_to(self, rollout: RolloutRow | None, now: datetime) -> None:
        """Watch whom `rollout` lets answer; without one whoever is seen."""
        self._open = rollout is None
        if rollout is not None and rollout.phase in ("steady", "drain") and set(self.of) != {rollout.champion}:
            self._follow(rollout.champion, now)

    def _follow(self, version: str, now: datetime) -> None:
        """Another version answers now: its own reference, or learning from what it answers first.

        A version that was watched already, without a reference of its own, is watched on.
        """
        path = None if version in self._settled else self._references.path(version, now)
        stream = self.of.get(version)
        self.of = {version: stream if stream is not None and path is None else self._new(version)}
        if stream is not None and path is None:
            return
        if path is None:
            why = f"{version} brings no reference"
            if version in self._settled:
                why = f"the reference that {version} brings no longer holds"
            self._store.record("reference", f"{why}: learning from its first answers", now)
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
        after = self._settled.get(version, 0)
        self.of[version] = Stream(reference_rows=len(records), detector=detector, moved=True, after=after)

    def hear(self, heard: Sequence[tuple[int, Exchange]], now: datetime) -> list[tuple[int, Alarm]]:
        """The alarms of these exchanges, in the order of the stream."""
        waiting: dict[str, list[tuple[int, Record]]] = {}
        for rowid, exchange in heard:
            if self._is_watched(exchange, now) and rowid > self.of[exchange.version].after:
                record = record_of(exchange)
                if not self._settings.drift.latency:
                    record = replace(record, latency_s=None, ttft_s=None)
                waiting.setdefault(exchange.version, []).append((rowid, record))
        alarms = [alarm for version, some in waiting.items() for alarm in self._said_of(version, some)]
        return sorted(alarms, key=lambda alarm: alarm[0])

    def _is_watched(self, exchange: Exchange, now: datetime) -> bool:
        """Whether somebody watches its version, from now on perhaps."""
        if exchange.version in self.of:
            return True
        if not self._open or exchange.status != 200 or len(self.of) >= MOST_STREAMS:
            return False
        self.of[exchange.version] = self._new(exchange.version)
        self._store.record("reference", f"{exchange.version} is seen: learning from its first answers", now)
        return True

    def _said_of(self, version: str, some: Sequence[tuple[int, Record]]) -> list[tuple[int, Alarm]]:
        """What one version's detector says of the next records; the first ones may be what it learns from."""
        stream = self.of[version]
        if stream.detector is None:
            learning, wanted = stream.learning, self._settings.drift.reference_rows
            learnt, some = some[: wanted - len(learning)], some[wanted - len(learning) :]
            learning += [{**asdict(record), "at": record.at.isoformat()} for _, record in learnt]
            if len(learning) >= wanted:
                self._fit(version, [record_of_item(item) for item in learning])
            stream = self.of[version]
        if stream.detector is None or not some:
            return []
        stream.moved = True
        said = stream.detector.update_many([record for _, record in some])
        return [
            (rowid, replace(alarm, alias=self._settings.alias))
            for (rowid, _), alarm in zip(some, said, strict=True)
            if alarm is not None
        ]

    def stands(self, batch: Sequence[tuple[int, Exchange]], now: datetime) -> list[dict[str, Any]]:
        """Where the detector stands after this batch, of each version that it held: columns of readings."""
        last = {exchange.version: rowid for rowid, exchange in batch}
        if len(self.of) == 1:
            last = {next(iter(self.of)): batch[-1][0]}
        produced: list[dict[str, Any]] = []
        for version, rowid in last.items():
            stream = self.of.get(version)
            if stream is not None:
                produced += self.said(version, rowid, now, stream.detector.evidence if stream.detector else None)
        return produced

    def said(self, version: str, rowid: int, at: datetime, evidence: float | None) -> list[dict[str, Any]]:
        """What the detector says after an exchange; an alarm is said with the evidence that raised it."""
        stream = self.of[version]
        watching = stream.detector
        rows = convert.detector_rows(
            exchange_rowid=rowid,
            window_id="live",
            version=version,
            at=at,
            reference_rows=stream.reference_rows if watching else len(stream.learning),
            reference_wanted=stream.reference_rows if watching else self._settings.drift.reference_rows,
            evidence=evidence,
            threshold=watching.threshold if watching else None,
        )
        return [row.model_dump(exclude={"rowid"}) for row in rows]
