"""The loop that tells people: gather what is new, send it as one message, remember how far it came.

Lives here: cursors over the record and the decisions, grouping in time, repetition, giving up.
Comes in: the store, settings, outlets. Goes out: messages; a line in the record for what could not be delivered.
Must never know: how an address is spoken to.

The cursor moves when every address took the message, or after three tries: a killed agent may tell a thing twice,
never not at all; at the first start it tells nothing of the past.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import col, select

from agent.export.notify import News, Outlet, deliver, message, of_decision, of_event
from agent.settings import Settings
from agent.store import Store, convert
from agent.store.tables import DecisionRow, EventRow

STATE = "notify"
MOST_TRIES = 3
MOST_ROWS = 200


@dataclass
class _Kept:
    """What must survive a restart: both cursors; of a message under way, where it ends and whom it must still reach."""

    events: int = 0
    decisions: int = 0
    upto_events: int = 0
    upto_decisions: int = 0
    tries: int = 0
    open_to: list[str] = field(default_factory=list)
    sent: int = 0
    failed: int = 0


class Notices:
    """Tells of one alias. Without outlets it does nothing at all."""

    def __init__(self, settings: Settings, store: Store, outlets: Sequence[Outlet], page: str) -> None:
        """`page` is the sidecar's own address, for links where the settings name no other."""
        self._settings, self._store, self._outlets = settings, store, outlets
        self._page = settings.notify.page or page

    def tick(self, now: datetime) -> str:
        """One look; says what was sent or what it waits for."""
        if not self._outlets:
            return "no address is set"
        kept = self._load()
        if kept is None:
            self._save(_Kept(events=self._newest(EventRow), decisions=self._newest(DecisionRow)))
            return "tells what is new from now on"
        news, events, decisions = self._news(kept)
        if not news:
            if (events, decisions) != (kept.events, kept.decisions):
                self._save(_moved(kept, events, decisions))
            return "nothing new"
        age_s = (now - min(item.at for item in news)).total_seconds()
        if 0 <= age_s < self._settings.notify.group_s and not kept.tries:
            return f"gathers: {len(news)} for the next message"
        return self._send(kept, news, events, decisions, now)

    def figures(self) -> dict[str, object]:
        """For the metrics."""
        kept = self._load() or _Kept()
        return {"notified": kept.sent, "notify_failed": kept.failed}

    def _send(self, kept: _Kept, news: Sequence[News], events: int, decisions: int, now: datetime) -> str:
        told = message(news, alias=self._settings.alias, page=self._page, runbook=self._settings.notify.runbook)
        to = [outlet for outlet in self._outlets if not kept.tries or outlet.name in kept.open_to]
        why: dict[str, str] = {}
        failed = deliver(told, to, why.__setitem__)
        kept.sent += len(to) - len(failed)
        kept.tries += 1
        kept.open_to = failed
        if failed and kept.tries < MOST_TRIES:
            kept.upto_events, kept.upto_decisions = events, decisions
            self._save(kept)
            return f"{len(failed)} of {len(to)} addresses did not take it: tried again"
        kept.failed += len(failed)
        for name in failed:
            said = f"a message of {len(news)} lines could not be sent to {name} ({why[name]})"
            self._store.record("notify", said, now, address=name)
        self._save(_moved(kept, events, decisions))
        return f"{len(news)} lines sent to {len(to) - len(failed)} addresses, {len(failed)} failed"

    def _news(self, kept: _Kept) -> tuple[list[News], int, int]:
        """What is worth telling behind the cursors, and where they will be afterwards; a second try tells the same."""
        about = self._settings.notify.about
        events = self._store.events(after=kept.events, limit=MOST_ROWS)
        query = select(DecisionRow).where(
            col(DecisionRow.rowid) > kept.decisions, DecisionRow.alias == self._settings.alias
        )
        with self._store.transaction() as session:
            decisions = list(session.exec(query.order_by(col(DecisionRow.rowid)).limit(MOST_ROWS)).all())
        if kept.tries:
            events = [row for row in events if (row.rowid or 0) <= kept.upto_events]
            decisions = [row for row in decisions if (row.rowid or 0) <= kept.upto_decisions]
        found = [of_event(row.kind, row.text, row.at) for row in events]
        found += [of_decision(convert.decision(row)) for row in decisions]
        news = sorted((item for item in found if item and item.about in about), key=lambda item: item.at)
        last_event = max((row.rowid or 0 for row in events), default=kept.events)
        return news, last_event, max((row.rowid or 0 for row in decisions), default=kept.decisions)

    def _newest(self, table: type[EventRow | DecisionRow]) -> int:
        with self._store.transaction() as session:
            return session.exec(select(func.max(table.rowid))).one() or 0

    def _load(self) -> _Kept | None:
        _, state = self._store.load_state(STATE)
        kept: dict[str, Any] | None = json.loads(state) if state else None
        return None if kept is None else _Kept(**kept)

    def _save(self, kept: _Kept) -> None:
        with self._store.transaction() as session:
            self._store.save_state(session, STATE, kept.events, json.dumps(asdict(kept)).encode())


def _moved(kept: _Kept, events: int, decisions: int) -> _Kept:
    return _Kept(events=events, decisions=decisions, sent=kept.sent, failed=kept.failed)
