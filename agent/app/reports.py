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
from agent.drift.report import build_report
from agent.profile.features import features
from agent.settings import Settings
from agent.store import Store
from agent.store.objects import Missing, Objects, Taken
from agent.store.tables import AlarmRow
from agent.types import Exchange, InvalidInput, Message, Outcome, TrimtabError

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
            build_report(*self._rows(alarm), page)
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
        build_report(self._reference(version, onset, now), [_row(e) for _, e in window], page)
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

    def _rows(self, alarm: AlarmRow) -> tuple[Sequence[Mapping[str, object]], Sequence[Mapping[str, object]]]:
        """Feature rows of the reference and of what came since the onset."""
        onset = onset_rowid(alarm)
        after = self._store.exchanges_after(onset, ROWS)
        window = [e for _, e in after if e.version == alarm.version and e.profiled]
        return self._reference(alarm.version, onset, alarm.at), [_row(e) for e in window]

    def _reference(self, version: str, onset: int, at: datetime) -> Sequence[Mapping[str, object]]:
        """Feature rows of the version's reference; where it brings none, of what came before `onset`."""
        path = reference_path(self._settings, self._store, version)
        if path is not None:
            records = read_reference(path)[:ROWS]
            return [_row(_as_exchange(r.id, r.prompt, r.answer, self._settings.alias, version, at)) for r in records]
        before = self._store.exchanges_after(max(0, onset - ROWS), ROWS)
        return [_row(e) for r, e in before if r <= onset and e.version == version and e.profiled]


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


def _as_exchange(identity: str, prompt: str, answer: str, alias: str, version: str, at: datetime) -> Exchange:
    """A reference record has texts only; the rest of the row is empty, and what is empty does not drift."""
    return Exchange(
        id=identity, worker="reference", seq=0, started_at=at, path="", alias=alias, version=version, status=200,
        outcome=Outcome.COMPLETE, messages=(Message(role="user", text=prompt),), answer=answer,
    )  # fmt: skip
