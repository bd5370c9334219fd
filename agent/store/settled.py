"""A person's word that the traffic of a version, as it comes now, is normal.

Lives here: the row that says up to which exchange that settles alarms, `settled` and `settle`.
Comes in: a session, or a store with names and a time. Goes out: `Settled` by version.
Must never know: what an alarm would have led to, or how anything is learnt anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from agent.store.store import Store
from agent.store.tables import EventRow, StateRow

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
    found = {}
    for row in rows:
        said = json.loads(row.state)
        said["at"] = datetime.fromisoformat(said["at"])
        found[row.key.removeprefix(_PREFIX)] = Settled(upto=row.cursor, **said)
    return found


def settle(store: Store, version: str, *, by: str, reason: str, now: datetime) -> str:
    """Say it, on all that is stored now; returns what was said, in words."""
    said = Settled(upto=store.last_rowid(), by=by, reason=reason, at=now)
    kept = {key: value for key, value in asdict(said).items() if key != "upto"} | {"at": now.isoformat()}
    text = f"the traffic of {version} is normal as it is, and is learnt anew: {said.words}"
    with store.transaction() as session:
        store.save_state(session, _PREFIX + version, said.upto, json.dumps(kept).encode())
        session.add(EventRow(at=now, kind=KIND, text=text, data={"version": version}))
    return text
