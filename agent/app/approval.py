"""A person's word on a version that the gate accepted: `trimtab approve` and `trimtab reject`.

Lives here: the one step from waiting to accepted or rejected, with its line in the record.
Comes in: the store, a name, who says it, the time. Goes out: what was done, in words.
Must never know: the engine. The rollout sees the new status at its next tick.
"""

from __future__ import annotations

from datetime import datetime

from agent.store import Store
from agent.store.tables import AdapterRow, EventRow
from agent.types import InvalidInput

WAITING = "waiting"


def approve(store: Store, name: str, by: str, now: datetime) -> str:
    """Let a waiting version be rolled out. Raises InvalidInput when no such version waits."""
    said = f"{name} was approved by {by}: it is rolled out next"
    return _settle(store, name, "accepted", said, now, by=by)


def reject(store: Store, name: str, reason: str, by: str, now: datetime) -> str:
    """Refuse a waiting version for good. Raises InvalidInput when no such version waits."""
    if not reason.strip():
        raise InvalidInput("a rejection needs its reason, for those who read the record later: --reason TEXT")
    said = f"{name} was rejected by {by}: {reason.strip()}"
    return _settle(store, name, "rejected", said, now, by=by, reason=reason.strip())


def _settle(store: Store, name: str, status: str, said: str, now: datetime, **data: str) -> str:
    with store.exclusive() as session:
        row = session.get(AdapterRow, name)
        if row is None or row.status != WAITING:
            known = sorted(v.name for v in store.adapters() if v.status == WAITING)
            found = f"is {row.status}" if row else "is no version in this store"
            waiting = f"waiting: {', '.join(known)}" if known else "no version waits"
            raise InvalidInput(f"{name} {found} and cannot be decided on; {waiting}")
        row.status = status
        session.add(row)
        session.add(EventRow(kind="approval", text=said, at=now, data={"version": name, "status": status, **data}))
    return said
