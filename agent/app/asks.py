"""What alerts ask for, kept in the store between the webhook and the policy.

Lives here: the one row that holds all wishes, changed by the webhook's thread and by the policy's, one at a time.
Comes in: webhook payloads; answers of the policy. Goes out: the wishes that stand.
Must never know: HTTP, how the policy decides.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import Any

from sqlmodel import Session

from agent.policy.asks import Ask, answered, hear, standing
from agent.store import Store
from agent.store.tables import EventRow, RolloutRow
from agent.types import Action

STATE = "alerts"
ON_TRIAL = ("probe", "shift")


class Asks:
    """The wishes of one alias."""

    def __init__(self, store: Store, alias: str) -> None:
        self._store, self._alias = store, alias
        self._lock = Lock()

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction in which `answer` may be called: nobody else changes the wishes until it has ended."""
        with self._lock, self._store.exclusive() as session:
            yield session

    def take(self, payload: object, at: datetime) -> dict[str, Any]:
        """Take a webhook payload in; says of each alert what became of it. Raises InvalidInput."""
        with self._lock, self._store.exclusive() as session:
            known, counts = self._load()
            rollout = self._store.rollout(self._alias)
            versions = [v.name for v in self._store.adapters(self._alias)]
            newest = "" if rollout is None else _on_trial(rollout) or rollout.champion
            heard = hear(payload, known, alias=self._alias, version=newest, versions=versions, now=at)
            counts.update(ask.action.value for ask in heard.fresh)
            for ask in heard.fresh:
                data = {"fingerprint": ask.fingerprint, "action": ask.action.value}
                session.add(EventRow(at=at, kind="alert", text=ask.words, data=data))
            self._save(session, heard.asks, counts)
        return {"alerts": [dict(line) for line in heard.lines]}

    def standing(self, rollout: RolloutRow, now: datetime) -> tuple[Ask, ...]:
        """The wishes that the policy has to weigh."""
        known, _ = self._load()
        return standing(known, champion=rollout.champion, on_trial=_on_trial(rollout), now=now)

    def answer(self, session: Session, weighed: Sequence[Ask], action: Action, said: str, now: datetime) -> None:
        """Mark those among `weighed` that asked for `action` as answered, with the decision, in one `transaction`."""
        granted = [ask for ask in weighed if ask.action is action]
        if not granted:
            return
        known, counts = self._load()
        self._save(session, answered(known, action, said, [ask.key for ask in granted]), counts)
        names = ", ".join(sorted({ask.name for ask in granted}))
        session.add(EventRow(at=now, kind="alert", text=f"alert {names} was answered: {said}", data={}))

    def figures(self) -> dict[str, object]:
        """For the metrics: how many ever asked, and how many wishes stand, by action."""
        known, counts = self._load()
        open_ = Counter(ask.action.value for ask in known if ask.state == "standing")
        return {"alerts": counts, "alerts_standing": open_}

    def _load(self) -> tuple[list[Ask], Counter[str]]:
        _, state = self._store.load_state(STATE)
        kept = json.loads(state) if state else {}
        return [Ask.of_json(item) for item in kept.get("asks", [])], Counter(kept.get("counts", {}))

    def _save(self, session: Session, asks: Sequence[Ask], counts: Mapping[str, int]) -> None:
        document = {"asks": [ask.to_json() for ask in asks], "counts": dict(counts)}
        self._store.save_state(session, STATE, 0, json.dumps(document).encode())


def _on_trial(rollout: RolloutRow) -> str | None:
    return rollout.challenger if rollout.phase in ON_TRIAL else None
