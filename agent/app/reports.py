"""Evidently reports for alarms: built one at a time in a process of their own, linked from the alarm.

Lives here: which alarm still lacks its report, the rows that go into it, and a report when somebody asks for one.
Comes in: the store. Goes out: `<home>/reports/alarm-<n>.html`, a copy in the object store from which any process of
the database shows it, and the link in the alarm's row.
Must never know: pandas or evidently; they live and die in the subprocess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from sqlmodel import col, select

from agent.app.references import read_reference, reference_path
from agent.app.steer import onset_rowid
from agent.drift.records import Record
from agent.drift.report import build_report
from agent.profile.features import features, features_of_texts
from agent.settings import Settings
from agent.store import Store
from agent.store.objects import Missing, Objects, Taken
from agent.store.settled import settled
from agent.store.tables import AlarmRow
from agent.types import Exchange, InvalidInput, TrimtabError

ROWS = 1000
FAILED = "failed"
_REACH = 4
"""How many times the wanted rows are looked through: other versions and failed exchanges stand between."""


class Reports:
    """Sees to it that every alarm gets its report, or is marked as failed once."""

    def __init__(self, settings: Settings, store: Store, objects: Objects | None = None) -> None:
        """Without `objects` a report is shown by the process that made it alone."""
        self._settings, self._store, self._objects = settings, store, objects

    def tick(self, now: datetime) -> str:
        """Build the oldest missing report, if any."""
        if not self._settings.drift.report:
            return "reports are switched off"
        with self._store.transaction() as session:
            query = select(AlarmRow).where(col(AlarmRow.report).is_(None)).order_by(col(AlarmRow.rowid)).limit(1)
            alarm = session.exec(query).first()
        if alarm is None:
            return "every alarm has its report"
        name = f"alarm-{alarm.rowid}.html"
        page = self._settings.home / "reports" / name
        try:
            self._build(alarm, page, now)
            self._share(page, now)
        except TrimtabError as fault:
            self._store.record("report", f"no Evidently report for alarm {alarm.rowid}: {fault}", now)
            name = FAILED
        with self._store.transaction() as session:
            alarm.report = name
            session.merge(alarm)
        return f"alarm {alarm.rowid}: {name}"

    def now(self, rows: int, now: datetime) -> Path:
        """A report on the newest `rows` exchanges of the version that answers: the page, with its JSON beside.

        Raises InvalidInput when nobody answers yet or too few exchanges are stored, RemoteFault when it fails.
        """
        rollout, last = self._store.rollout(self._settings.alias), self._store.last_rowid()
        lately = self._store.exchanges_after(max(0, last - _REACH * rows), _REACH * rows)
        version = rollout.champion if rollout else _busiest(e.version for _, e in lately if e.profiled)
        if version is None:
            raise InvalidInput(f"nobody has answered as {self._settings.alias!r} yet: start `trimtab agent` first")
        mine = [(rowid, e) for rowid, e in lately if e.version == version and e.profiled]
        window = mine[-rows:]
        onset = window[0][0] - 1 if window else last
        page = self._settings.home / "reports" / f"now-{last}.html"
        source, reference = self._reference(version, onset)
        found = [exchange for _, exchange in window]
        build_report(reference, [_row(e) for e in found], page, self._about(version, source, found, now))
        return page

    def _share(self, page: Path, now: datetime) -> None:
        """A report that was made twice, because of a crash, is the later one. One that cannot be shared stays here."""
        if self._objects is None:
            return
        key, data = _key(self._settings, page.name), page.read_bytes()
        try:
            try:
                self._objects.create(key, data)
            except Taken:
                self._objects.swap(key, data, self._objects.get(key)[1])
        except TrimtabError as fault:
            self._store.record("report", f"{page.name} is shown only by the process that made it: {fault}", now)

    def _build(self, alarm: AlarmRow, page: Path, now: datetime) -> None:
        """The report of an alarm: its reference, and what came since the onset."""
        onset = onset_rowid(alarm)
        window = [e for _, e in self._store.exchanges_after(onset, ROWS) if e.version == alarm.version and e.profiled]
        source, reference = self._reference(alarm.version, onset)
        about = self._about(alarm.version, source, window, now) | {"alarm": f"{alarm.at.isoformat()}, {alarm.reason}"}
        build_report(reference, [_row(e) for e in window], page, about)

    def _about(
        self, version: str, source: str, window: Sequence[Exchange], now: datetime
    ) -> dict[str, str | int | None]:
        """What stands above the page; texts but for the numbers that `build_report` adds."""
        times = [exchange.started_at.isoformat() for exchange in window]
        return {
            "alias": self._settings.alias,
            "version": version,
            "reference": source,
            "window_from": min(times, default=None),
            "window_to": max(times, default=None),
            "made": now.isoformat(timespec="seconds"),
            "alarm": None,
        }

    def _reference(self, version: str, onset: int) -> tuple[str, Sequence[Mapping[str, object]]]:
        """What the reference is, and its feature rows: the version's own; else what came before `onset`."""
        with self._store.transaction() as session:
            word = settled(session).get(version)
        since = word.upto if word is not None and word.upto <= onset else 0
        path = reference_path(self._settings, self._store, version)
        if path is not None and not since:
            records = read_reference(path)
            some = f"{path}, the first {ROWS} of {len(records)} rows" if len(records) > ROWS else str(path)
            return some, [_row_of(record) for record in records[:ROWS]]
        before = self._store.exchanges_after(max(since, onset - ROWS), ROWS)
        rows = [_row(e) for r, e in before if r <= onset and e.version == version and e.profiled]
        return "what this version answered just before", rows


def shared(objects: Objects | None, settings: Settings, name: str) -> bytes | None:
    """A report that another process of the database made; None when there is none. Raises as `Objects` says."""
    try:
        return None if objects is None else objects.get(_key(settings, name))[0]
    except Missing:
        return None


def _key(settings: Settings, name: str) -> str:
    return f"reports/{quote(settings.alias, safe='')}/{name}"


def _busiest(versions: Iterable[str]) -> str | None:
    return next((name for name, _ in Counter(versions).most_common(1)), None)


def _row(exchange: Exchange) -> Mapping[str, object]:
    found = features(exchange)
    return {**found.numbers, **found.labels}


def _row_of(record: Record) -> Mapping[str, object]:
    """A reference record has texts, and a template perhaps; what it lacks is no column, hence does not drift."""
    found = features_of_texts(record.id, record.prompt, record.answer)
    named = {} if record.template is None else {"template": record.template}
    return {**found.numbers, **found.labels, **named}
