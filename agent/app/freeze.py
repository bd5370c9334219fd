"""A person's stop of the automation: `trimtab policy freeze` and `thaw`, and the same by HTTP.

Lives here: the one row that says who froze it, why, and until when, and its lines in the record.
Comes in: the store, names, times. Goes out: what was done, in words; whether it is frozen now.
Must never know: what the policy then does not do.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from agent.store import Store
from agent.store.tables import EventRow
from agent.types import InvalidInput

STATE = "freeze"
KIND = "policy"
MOST_CHARS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Freeze:
    """Who stopped the automation, when, why; `until` is when it ends by itself, if ever."""

    by: str
    reason: str
    at: datetime
    until: datetime | None = None

    @property
    def words(self) -> str:
        """For reasons: `frozen <words>`."""
        ends = "" if self.until is None else f", until {self.until:%Y-%m-%d %H:%M} UTC"
        return f"by {self.by} on {self.at:%Y-%m-%d %H:%M} UTC{ends}: {self.reason}"

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        until = None if self.until is None else self.until.isoformat()
        return asdict(self) | {"at": self.at.isoformat(), "until": until}


def frozen(store: Store, now: datetime) -> Freeze | None:
    """The freeze that holds now."""
    _, state = store.load_state(STATE)
    kept: dict[str, Any] | None = json.loads(state) if state else None
    if not kept:
        return None
    until = datetime.fromisoformat(kept["until"]) if kept["until"] else None
    found = Freeze(by=kept["by"], reason=kept["reason"], at=datetime.fromisoformat(kept["at"]), until=until)
    return found if until is None or now < until else None


def freeze(store: Store, *, by: str, reason: str, now: datetime, until: datetime | None = None) -> str:
    """Stop the automation; a second freeze replaces the first. Raises InvalidInput without a reason or a future."""
    by, reason = short(by), short(reason)
    if not by or not reason:
        raise InvalidInput("a freeze needs who froze and why, for those who read the record later: --reason TEXT")
    if until is not None and until <= now:
        raise InvalidInput(f"a freeze until {until:%Y-%m-%d %H:%M} UTC would be over already: give a later time")
    made = Freeze(by=by, reason=reason, at=now, until=until)
    said = f"the automation is frozen {made.words}"
    _save(store, made.to_json(), said, now)
    return said


def thaw(store: Store, *, by: str, now: datetime) -> str:
    """Let the automation go on. Raises InvalidInput when it is not frozen."""
    held = frozen(store, now)
    if held is None:
        raise InvalidInput("the automation is not frozen, so there is nothing to thaw")
    if not short(by):
        raise InvalidInput("a thaw needs who thaws, for those who read the record later: --by NAME")
    said = f"the automation goes on: thawed by {short(by)}; it was frozen {held.words}"
    _save(store, {}, said, now)
    return said


def _save(store: Store, kept: dict[str, Any], said: str, now: datetime) -> None:
    with store.transaction() as session:
        store.save_state(session, STATE, 0, json.dumps(kept).encode())
        session.add(EventRow(at=now, kind=KIND, text=said, data={"freeze": kept}))


def short(text: str) -> str:
    """What a person said, on one line and not too long for the record."""
    return " ".join(text.split())[:MOST_CHARS]
