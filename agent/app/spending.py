"""What the policy's budgets have been spent on, from the store.

Lives here: when jobs of orders ran, tokens of the judge; looked up no more than once a minute.
Comes in: the store, settings, the time. Goes out: `Spent`; whether the judge's money is spent.
Must never know: what follows from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import func
from sqlmodel import col, select

from agent.policy.budget import Job, Spent, spent
from agent.settings import Settings
from agent.store import Store
from agent.store.tables import GradeRow, OrderRow

AGAIN_S = 60.0


class Spending:
    """Of one alias; the judge's tokens are those of the whole store, as its judge is."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._tokens = 0
        self._looked: datetime | None = None

    def look(self, orders: Sequence[OrderRow], now: datetime) -> Spent:
        """What has been spent. `orders` are those of the alias."""
        return spent(self._settings.policy, jobs(orders), self._judge_tokens(now), now)

    def unpaid(self, now: datetime) -> bool:
        """True when the judge must rest, because its money is spent."""
        policy = self._settings.policy
        if policy.judge_money is None:
            return False
        return (spent(policy, (), self._judge_tokens(now), now).judge_money or 0.0) >= policy.judge_money

    def _judge_tokens(self, now: datetime) -> int:
        if self._settings.policy.judge_price is None:
            return 0
        if self._looked is None or abs((now - self._looked).total_seconds()) >= AGAIN_S:
            since = now - timedelta(days=self._settings.policy.budget_days)
            query = select(func.sum(col(GradeRow.cost_tokens))).where(col(GradeRow.at) >= since)
            with self._store.transaction() as session:
                self._tokens = int(session.exec(query).one() or 0)
            self._looked = now
        return self._tokens


def jobs(orders: Sequence[OrderRow]) -> list[Job]:
    """When their jobs ran, those that have begun."""
    return [Job(started=order.started_at, ended=order.finished_at) for order in orders if order.started_at is not None]
