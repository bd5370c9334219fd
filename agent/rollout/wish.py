"""A rollback as a wish in the store, between who decides it and who performs it.

Lives here: the one wish of an alias: which version is to go, why, since when.
Comes in: the rollout's row, a reason, the session of the decision. Goes out: the wish that stands.
Must never know: who decides, what moves.

It is written in the transaction of the decision and cleared in that of the move, so a crash between the two leaves a
wish that is still to be granted, and none is granted twice.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlmodel import Session

from agent.store import Store
from agent.store.tables import RolloutRow

ON_TRIAL = ("probe", "shift")
"""Phases in which the challenger is the one to take back; in the others it is the champion."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wish:
    """`version` is to answer nobody any more, and who was before it everybody."""

    version: str
    reason: str
    at: datetime


def key(alias: str) -> str:
    """Where the store keeps it."""
    return f"rollback:{alias}"


def write(session: Session, store: Store, row: RolloutRow, reason: str, now: datetime) -> Wish:
    """Wish for the newest version of a stand to go, inside the caller's transaction."""
    newest = row.challenger if row.challenger and row.phase in ON_TRIAL else row.champion
    wish = Wish(version=newest, reason=reason, at=now)
    document = asdict(wish) | {"at": now.isoformat()}
    store.save_state(session, key(row.alias), 0, json.dumps(document).encode())
    return wish


def standing(store: Store, alias: str) -> Wish | None:
    """The wish that nobody has granted or dropped yet."""
    _, state = store.load_state(key(alias))
    if not state:
        return None
    kept = json.loads(state)
    return Wish(version=kept["version"], reason=kept["reason"], at=datetime.fromisoformat(kept["at"]))


def clear(session: Session, store: Store, alias: str) -> None:
    """It is granted or dropped, inside the caller's transaction."""
    store.save_state(session, key(alias), 0, b"")
