"""While no champion is named: everything is watched and measured, nothing is moved.

Lives here: `Observer`: what passes counts for the one alias, each served model name is a version of its own, and the
decision of each moment is to look on. `claim`: what was seen before the alias was named so counts for it, too.
Comes in: exchanges on their way into the store, what the engine serves. Goes out: the same exchanges under the alias,
unverified versions, estimates, decisions. Must never know: orders, rollouts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlmodel import col, select, update

from agent.policy.decide import is_news
from agent.quality.room import estimate_once
from agent.settings import Settings
from agent.store import Store
from agent.store.settled import standing
from agent.store.tables import AdapterRow, AlarmRow, DecisionRow, EventRow, ExchangeRow, ExchangeTallyRow
from agent.types import Action, AdapterVersion, Decision, Exchange, RemoteFault

UNVERIFIED = "unverified"
"""Status of a version that was seen to answer, and that nobody has named, sealed or evaluated."""
STATE = "observe"
SAYS = "observe only: no champion named"
LATELY_ROWS = 5_000
"""Newest exchanges whose versions are looked up."""
LOOK_S = 10.0
"""Seconds between two questions to the engine what it serves."""
MOST_VERSIONS = 100
"""Versions that get a row; of further names the exchanges are stored and counted like the others'."""
_OK = 200
_MOST_SAID = 8
_TALLY_KEY = ("worker", "alias", "version", "outcome")
_REMEDY = "set `champion` to the sealed folder of the adapter that should answer, and retraining and rollout begin"


class Observer:
    """Stands before the store while nobody has been named for the alias; steps aside once somebody has."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        add: Callable[[Sequence[Exchange]], int],
        served: Callable[[], Mapping[str, str]],
    ) -> None:
        """`add` stores exchanges; `served()` says name -> folder of what the engine serves, or raises RemoteFault."""
        self._settings, self._store, self._add, self._served = settings, store, add, served
        self.observing = store.rollout(settings.alias) is None
        self._known = {version.name for version in store.adapters(settings.alias)}
        self._seen: dict[str, str] = {}
        self._looked_at: datetime | None = None
        self._turn = 0
        if self.observing:
            self._notice(self._answered_lately())

    def add(self, exchanges: Sequence[Exchange]) -> int:
        """Store what passed; while observing all of it counts for the alias."""
        if self.observing and self._store.rollout(self._settings.alias) is not None:
            self.observing = False
        if not self.observing:
            return self._add(exchanges)
        stored = self._add([under(exchange, self._settings.alias) for exchange in exchanges])
        self._notice(exchange.version for exchange in exchanges if exchange.status == _OK)
        return stored

    def tick(self, now: datetime) -> str:
        """Note new versions, measure one of them, and say where things stand."""
        self._ask(now)
        self._name(now)
        versions = self._store.adapters(self._settings.alias)
        names = [version.name for version in versions if version.status == UNVERIFIED]
        decision = self._decision(names, now)
        last = self._store.last_decision(self._settings.alias)
        if last is None or is_news(decision, last.action, last.seen):
            self._store.put_decision(decision)
        return SAYS

    # -- versions ---------------------------------------------------------------------------------

    def _ask(self, now: datetime) -> None:
        """What has answered others, and what the engine serves: that is there before it has answered.

        An engine that does not answer is nobody's fault.
        """
        if self._looked_at is not None and (now - self._looked_at).total_seconds() < LOOK_S:
            return
        self._looked_at = now
        self._notice(self._answered_lately())
        try:
            served = self._served()
        except RemoteFault:
            return
        judge = self._settings.quality.judge_model
        for name, folder in served.items():
            if name not in self._known and name not in (judge, self._settings.alias):
                self._seen[name] = folder

    def _answered_lately(self) -> Sequence[str]:
        """What other processes of this database, or the last one, may have seen and not named."""
        query = select(ExchangeRow.version).distinct()
        answered = (ExchangeRow.alias == self._settings.alias, ExchangeRow.status == _OK)
        with self._store.transaction() as session:
            return session.exec(
                query.where(*answered, col(ExchangeRow.rowid) > self._store.last_rowid() - LATELY_ROWS)
            ).all()

    def _notice(self, names: Iterable[str]) -> None:
        for name in names:
            if name and name not in self._known:
                self._seen.setdefault(name, "")

    def _name(self, now: datetime) -> None:
        """A row for each version that has none yet."""
        for name, folder in sorted(dict(self._seen).items()):
            if len(self._known) < MOST_VERSIONS and name not in self._known:
                seen = AdapterVersion(
                    name=name, alias=self._settings.alias, path=folder, digest="", base_digest="", parent=None,
                    status=UNVERIFIED, created_at=now,
                )  # fmt: skip
                self._store.put_adapter(seen)
                self._store.record("observed", f"{name} is served: it is a version of its own, unverified", now)
            self._known.add(name)
            self._seen.pop(name, None)

    # -- decision ---------------------------------------------------------------------------------

    def _decision(self, versions: Sequence[str], now: datetime) -> Decision:
        alias, alarm = self._settings.alias, self._alarm()
        if versions:  # one a tick: an estimate costs a query
            self._turn += 1
            estimate_once(self._store, versions[self._turn % len(versions)], self._settings, now)
        reasons = [SAYS, f"seen so far: {_listed(versions)}"]
        if alarm is not None:
            at = f"{alarm.at:%Y-%m-%d %H:%M:%S} UTC"  # "seconds ago" would stand there for days, until there is news
            reasons.append(f"drift alarm ({alarm.kind}) on {alarm.version} at {at}: {alarm.reason}")
        for name in versions:
            found = self._store.last_estimate(name)
            if found is not None:
                reasons.append(f"quality of {name} {found.value:.2f} ({found.low:.2f} to {found.high:.2f})")
        reasons.append(_REMEDY)
        seen: dict[str, Any] = {
            "row": "observe",
            "facts": ["drift"] if alarm else [],
            "version": alarm.version if alarm else ", ".join(versions),
        }
        return Decision(at=now, alias=alias, action=Action.HOLD, reasons=tuple(reasons), seen=seen)

    def _alarm(self) -> AlarmRow | None:
        query = select(AlarmRow).where(AlarmRow.alias == self._settings.alias).order_by(col(AlarmRow.rowid).desc())
        with self._store.transaction() as session:
            return session.exec(standing(session, query).limit(1)).first()


def under(exchange: Exchange, alias: str) -> Exchange:
    """The exchange as one of the alias; who asked for no model by name is answered by one called like the alias."""
    return replace(exchange, alias=alias, version=exchange.version or exchange.alias or alias)


def claim(settings: Settings, store: Store, now: datetime) -> None:
    """What was observed while the alias had another name counts for the present one. One transaction, once."""
    _, state = store.load_state(STATE)
    former = json.loads(state)["alias"] if state else None
    if store.rollout(settings.alias) is not None or former == settings.alias:
        return
    with store.transaction() as session:
        if former is not None:
            for table in (ExchangeRow, AlarmRow, DecisionRow, AdapterRow):
                session.connection().execute(
                    update(table).where(col(table.alias) == former).values(alias=settings.alias)
                )
            for row in session.exec(select(ExchangeTallyRow).where(ExchangeTallyRow.alias == former)).all():
                key = (row.worker, settings.alias, row.version, row.outcome)
                other = session.get(ExchangeTallyRow, key)
                counted = row.n + (other.n if other else 0)
                session.merge(ExchangeTallyRow(**dict(zip(_TALLY_KEY, key, strict=True)), n=counted))
                session.delete(row)
            text = f"what was observed as {former} counts for {settings.alias}"
            session.add(EventRow(at=now, kind="observed", text=text, data={}))
        store.save_state(session, STATE, 0, json.dumps({"alias": settings.alias}).encode())


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nothing; send a request, or hand exchanges in"
    more = len(names) - _MOST_SAID
    return ", ".join(names[:_MOST_SAID]) + (f" and {more} more" if more > 0 else "")
