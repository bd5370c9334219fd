"""What the budgets have been spent on (pure).

Lives here: GPU-hours of orders and money for the judge within a span of days that ends now.
Comes in: when jobs ran, tokens, settings. Goes out: `Spent`.
Must never know: the store, the clock, whether anything is forbidden because of it (`decide.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from agent.settings import PolicySettings

MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """When an order's job ran; `ended` is None while it does."""

    started: datetime
    ended: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What was spent within the span.

    `next_gpu_hours` is what one more order would take: as many as the last one, 0 before any. `judge_money` is None
    without a price.
    """

    gpu_hours: float = 0.0
    next_gpu_hours: float = 0.0
    judge_money: float | None = None


def spent(policy: PolicySettings, jobs: Iterable[Job], judge_tokens: int, now: datetime) -> Spent:
    """Count back `policy.budget_days` from now. A job that runs counts as far as it has come."""
    since = now - timedelta(days=policy.budget_days)
    hours, last = 0.0, None
    for job in jobs:
        end = now if job.ended is None else min(job.ended, now)
        hours += max(0.0, (end - max(job.started, since)).total_seconds()) / 3600
        if job.ended is not None and (last is None or last.ended is None or job.ended > last.ended):
            last = job
    took = 0.0 if last is None or last.ended is None else max(0.0, (last.ended - last.started).total_seconds()) / 3600
    price = policy.judge_price
    return Spent(
        gpu_hours=hours * policy.order_gpus,
        next_gpu_hours=took * policy.order_gpus,
        judge_money=None if price is None else judge_tokens / MILLION * price,
    )
