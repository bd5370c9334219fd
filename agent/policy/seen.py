"""What a decision of the policy rests on (pure).

Lives here: `Seen`, and when one estimate is worse than another.
Comes in: what the app found. Goes out: the same, frozen. Must never know: what follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from agent.policy.budget import Spent
from agent.types import Action, Estimate

NOTHING_SPENT = Spent()


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Everything a decision rests on. Ages are in seconds before `at`; None means "there is none".

    `reference` is quality as it was when this version was new. `former` is the estimate of the version that
    the present one just replaced, on traffic like today's; leave it None once the promotion is old.
    `fresh_exchanges` counts from the onset of the drift, or of the breach when nothing drifted.
    `phase` is the rollout's phase; anything but `steady` means that versions are being moved.
    `challenger_failing` says why the version on trial must go, when the rollout found a reason.
    `asked` are the wishes of alerts, each with its words: a cause like others, under the same conditions.
    `frozen` says who stopped the automation, when and why. `low_since`: since when quality has been low without a
    break, as the last decision on this version says. `spent` is what the budgets have been spent on.
    """

    at: datetime
    alias: str
    version: str
    alarm_kind: str | None = None
    alarm_age_s: float | None = None
    alarm_reason: str = ""
    estimate: Estimate | None = None
    reference: Estimate | None = None
    former: Estimate | None = None
    fresh_exchanges: int = 0
    order_running: bool = False
    order_finished_age_s: float | None = None
    order_outcome: str | None = None
    phase: str = "steady"
    challenger_failing: str | None = None
    frozen: str | None = None
    asked: tuple[tuple[Action, str], ...] = ()
    low_since: datetime | None = None
    spent: Spent = NOTHING_SPENT

    @property
    def low_from(self) -> datetime:
        """Since when quality is low, if it is: from now on, when it was not before."""
        return self.low_since or self.at


def worse(estimate: Estimate | None, than: Estimate | None) -> bool:
    """True when the whole interval lies below another one."""
    return estimate is not None and than is not None and estimate.high < than.low
