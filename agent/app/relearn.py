"""`trimtab relearn`: a person looked at the drift and found the traffic good as it is.

Lives here: whom that is said of, and that it has a reason.
Comes in: the store, an alias, names, the time. Goes out: what was done, in words.
Must never know: how the watch learns anew (`watch.py`), or the policy forgets the alarm (`steer.py`).
"""

from __future__ import annotations

from datetime import datetime

from agent.app.freeze import short
from agent.store import Store
from agent.store.settled import settle
from agent.types import InvalidInput


def relearn(store: Store, alias: str, version: str | None, *, by: str, reason: str, now: datetime) -> str:
    """Settle the alarms of a version, of the champion by default, and have its normal learnt from what comes.

    Raises InvalidInput without a reason, or when it cannot be told which version is meant.
    """
    by, reason = short(by), short(reason)
    if not by or not reason:
        raise InvalidInput("this needs who says so and why, for those who read the record later: --reason TEXT")
    known = sorted(adapter.name for adapter in store.adapters(alias))
    rollout = store.rollout(alias)
    meant = version or (rollout.champion if rollout else known[0] if len(known) == 1 else None)
    if not known:
        raise InvalidInput(f"no version of {alias!r} is known yet: there is no normal that could be learnt anew")
    if meant is None or meant not in known:
        what = "several versions are watched" if meant is None else f"{meant} is no version of {alias!r}"
        raise InvalidInput(f"{what}: name one with --version ({', '.join(known)})")
    return settle(store, meant, by=by, reason=reason, now=now)
