"""The watch loop: stored exchanges go to windows and detectors, and what those say is committed with the cursor.

Lives here: how much is looked at and how often, and the transaction that makes it exactly-once.
Comes in: exchanges after a cursor. Goes out: profile, reading and alarm rows, and the new cursor, all in one commit.
Must never know: what anybody will do about an alarm; how a window (`windows.py`) or a stream (`streams.py`) works.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from agent.app import watch_state
from agent.app.references import Bring, References, read_reference
from agent.app.streams import Streams
from agent.app.windows import Reading, Windows
from agent.quality.sample import chosen
from agent.settings import Settings
from agent.store import Store, convert
from agent.store.settled import settled
from agent.store.tables import EventRow, ProfileRow
from agent.types import Alarm, Exchange

BATCH = 1000
"""Exchanges of one commit at most: what the detector has learnt is written each time, and that costs as much as 50."""
TICK_S = 2.0
"""A look goes on for so long while exchanges wait, and the next one takes up the rest."""
EAGER_ROWS, RESTS_TICKS = 100, 5
"""With fewer waiting, so many ticks pass between two looks."""
FAR_BEHIND, HEARD = 5_000, 0.25
"""When so many exchanges wait, the detector hears this share of them, chosen by chance, until it has caught up."""


class Watch:
    """Follows the stream of stored exchanges, a batch a tick."""

    def __init__(
        self, settings: Settings, store: Store, redact: Callable[[str], str] | None = None, bring: Bring = bool
    ) -> None:
        """Goes on where the store says that the loop has been. Without `redact` no reference text is shown.

        `bring(version)` has a version's folder on this machine before its reference is looked for: it may lie in an
        object store. What it raises ends the tick, which is tried again; only a version that is nowhere to be had
        (Unservable) is watched without its reference.
        """
        self._settings = settings
        self._store = store
        self._redact = redact
        self._references = References(settings, store, bring)
        self._windows = Windows(settings, store, self._references, partial(watch_state.first_window, store))
        self._streams = Streams(settings, store, self._references)
        self._looked_at = -math.inf
        self._recall()

    def rest(self) -> None:
        """Somebody else watches meanwhile: the next tick begins from the last commit."""
        self._stale = True

    def _recall(self) -> None:
        """Everything as of the last commit."""
        known = watch_state.load(self._store)
        self.cursor, self._text_off, self._detectors = known.cursor, known.text_off, known.detectors
        self._notes = known.notes
        self._streams.recall(known.streams)
        self._windows.recall(known.begun, known.first_windows, known.cursor)
        self._stale = False

    @property
    def phase(self) -> str:
        """What the detector is doing, in words."""
        return self._streams.phase

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
        with self._store.transaction() as session:
            known = {version: word.upto for version, word in settled(session).items()}
        self._windows.settle(known)
        self._streams.settle(known)
        self._streams.turn_to(self._store.rollout(self._settings.alias), now)
        batch = self._store.exchanges_after(self.cursor, BATCH)
        if not batch:
            return 0
        rows: list[ProfileRow | EventRow] = []
        readings: list[Reading] = []
        for rowid, exchange in batch:
            if exchange.alias == self._settings.alias and exchange.profiled:
                rows += self._text_said(exchange, now)
                profiles, distances = self._windows.add(rowid, exchange)
                rows += profiles
                readings += distances
        alarms = self._streams.hear(self._heard(batch), now)
        for rowid, alarm in alarms:
            readings += self._streams.said(alarm.version, rowid, now, alarm.evidence)
        readings += self._streams.stands(batch, now)
        self._commit(batch[-1][0], rows, readings, alarms, now)
        return len(batch)

    def _heard(self, batch: Sequence[tuple[int, Exchange]]) -> Sequence[tuple[int, Exchange]]:
        """What of a batch the detector hears: its texts, and under more traffic than it can follow a fair share.

        Fewer rows are fewer looks: the promise of false alarms holds, an alarm comes some exchanges later.
        """
        mine = [(rowid, e) for rowid, e in batch if e.alias == self._settings.alias and e.profiled and e.has_text]
        if len(batch) < BATCH or self._store.last_rowid() - batch[-1][0] < FAR_BEHIND:
            return mine
        return [(rowid, e) for rowid, e in mine if chosen(e.id, HEARD, "watch")]

    def _text_said(self, exchange: Exchange, now: datetime) -> list[EventRow]:
        """Say once that texts are no longer stored, or that they are stored again."""
        off = exchange.text_gone == "off"
        if off == self._text_off:
            return []
        self._text_off = off
        text = "no texts are stored (capture.text = none): the detector rests, profiles go on"
        return [
            EventRow(at=now, kind="detector", text=text if off else "texts are stored: the detector goes on", data={})
        ]

    def vanished(self, alarm: Alarm) -> list[tuple[str, str, str]]:
        """The reference texts that come less, as they may be shown: (id, prompt, answer)."""
        if self._redact is None:
            return []
        path = self._references.present(alarm.version)
        known = {record.id: (record.prompt, record.answer) for record in read_reference(path)} if path else {}
        shown = []
        for name in alarm.vanished:
            exchange = None if name in known else self._store.exchange(name)
            prompt, answer = known.get(name) or ((exchange.prompt, exchange.answer) if exchange else ("", ""))
            shown.append((name, self._redact(prompt), self._redact(answer)))
        return shown

    def _commit(
        self,
        cursor: int,
        rows: list[ProfileRow | EventRow],
        readings: list[Reading],
        alarms: list[tuple[int, Alarm]],
        now: datetime,
    ) -> None:
        streams, windows = self._streams.of, self._windows
        heard = {name: s.detector for name, s in streams.items() if s.detector is not None and s.moved}
        moved = {name: detector.state() for name, detector in heard.items()}
        noted = {name: d.notes for name, d in heard.items() if d.notes != self._notes.get(name, [])}
        remembered = watch_state.Remembered(
            cursor=cursor, begun=windows.begun, text_off=self._text_off, streams=streams, first_windows=windows.fresh,
            detectors=self._detectors,
        )  # fmt: skip
        vanished = {rowid: self.vanished(alarm) for rowid, alarm in alarms}
        with self._store.transaction() as session:
            session.add_all(rows)
            for rowid, alarm in alarms:
                session.add(convert.alarm_row(alarm, rowid, vanished[rowid]))
                data = {"exchange_rowid": rowid, "evidence": alarm.evidence}
                session.add(EventRow(at=now, kind="alarm", text=alarm.reason, data=data))
            self._store.put_readings(session, readings)
            for name, notes in noted.items():
                session.add_all(EventRow(at=now, kind="detector", text=f"{name}: {note}", data={}) for note in notes)
            self._detectors = watch_state.save(self._store, session, remembered, moved, noted)
        self._notes = {name: notes for name, notes in (self._notes | noted).items() if name in self._detectors}
        for name in moved:
            streams[name].moved = False
        windows.fresh.clear()
        self.cursor = cursor
