"""A person's word that the traffic of a version, as it comes now, is normal.

Lives here: the row that says up to which exchange that settles alarms, `settled`, `standing` and `settle`.
Comes in: a session, or a store with names and a time. Goes out: `Settled` by version.
Must never know: what an alarm would have led to, or how anything is learnt anew.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from agent.store.store import Store
from agent.store.tables import AlarmRow, EventRow, StateRow

KIND = "settled"
_PREFIX = "settled/"


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """Alarms up to row `upto` are settled, and what is normal is learnt from the exchanges after it."""

    upto: int
    by: str
    reason: str
    at: datetime

    @property
    def words(self) -> str:
        """For whoever looks at a settled alarm."""
        return f"settled by {self.by} on {self.at:%Y-%m-%d %H:%M} UTC: {self.reason}"


def settled(session: Session) -> dict[str, Settled]:
    """The newest word on each version that there was one on."""
    rows = session.exec(select(StateRow).where(col(StateRow.key).startswith(_PREFIX))).all()
    return {row.key.removeprefix(_PREFIX): _word(row.cursor, json.loads(row.state)) for row in rows}


def _word(upto: int, said: dict[str, str]) -> Settled:
    return Settled(upto=upto, by=said["by"], reason=said["reason"], at=datetime.fromisoformat(said["at"]))


def standing(session: Session, alarms: SelectOfScalar[AlarmRow]) -> SelectOfScalar[AlarmRow]:
    """Those of the alarms that nobody has settled."""
    for version, word in settled(session).items():
        alarms = alarms.where((col(AlarmRow.version) != version) | (col(AlarmRow.exchange_rowid) > word.upto))
    return alarms


def settle(store: Store, version: str, *, by: str, reason: str, now: datetime) -> str:
    """Say it, on all that is stored now; returns what was said, in words."""
    said = Settled(upto=store.last_rowid(), by=by, reason=reason, at=now)
    kept = {"by": by, "reason": reason, "at": now.isoformat()}
    text = f"the traffic of {version} is normal as it is, and is learnt anew: {said.words}"
    with store.transaction() as session:
        store.save_state(session, _PREFIX + version, said.upto, json.dumps(kept).encode())
        session.add(EventRow(at=now, kind=KIND, text=text, data={"version": version}))
    return text
