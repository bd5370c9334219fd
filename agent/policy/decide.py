"""What was seen -> hold, watch, canary, retrain, roll back or frozen (pure).

Lives here: the state table of the policy, and the facts its rows ask for.
Comes in: `Seen` and the settings. Goes out: a `Decision` with every reason.
Must never know: the clock, the store, who performs the decision, how drift or quality are measured.

The table is read from the top; the first row whose facts all hold decides. Reading it is reading the policy.
What the policy must remember, since when quality is low, stands in the decision and comes back in as `Seen.low_since`:
a change of that is a change of facts, and so is written down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from agent.policy.hours import quiet
from agent.policy.seen import Seen, worse
from agent.policy.words import until, words_for
from agent.settings import Settings
from agent.types import Action, Decision, Estimate

ON_TRIAL = ("accepted", "probe", "shift")
"""Phases in which a new version waits for its canary or is in it; in `drain` an old one leaves."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row of the table: the facts that must be true (`when`) and false (`unless`), and what follows."""

    name: str
    action: Action
    when: frozenset[str]
    unless: frozenset[str] = frozenset()
    says: str


def _row(name: str, action: Action, when: str, says: str, unless: str = "") -> Row:
    return Row(name=name, action=action, when=frozenset(when.split()), unless=frozenset(unless.split()), says=says)


FACTS = (
    "frozen",
    "worse",
    "low",
    "breach",
    "drift",
    "cause",
    "running",
    "trial",
    "moving",
    "cooling",
    "fresh",
    "quiet",
    "spent",
    "unpaid",
    "blind",
    "back",
    "asked",
)
"""frozen: a person stopped the automation. worse: the newest version is worse than what it replaced, or fails.
low: measured quality is too low, and once it was, not yet clearly better. breach: it is, for long enough, on enough
labels. drift: an alarm stands. cause: reason enough to retrain. running: an order is in flight. trial: a new version
waits for its canary or is in it. moving: versions are being moved. cooling: the last order ended too recently.
fresh: enough exchanges to learn from. quiet: these are quiet hours. spent: one more order would exceed the GPU-hours.
unpaid: the money for the judge is spent. blind: there is no estimate. back: an alert asks to roll back. asked: an
alert asks for anything."""

# fmt: off
TABLE: tuple[Row, ...] = (
    _row("worse",   Action.ROLL_BACK, "worse",         "the newest version is worse than the one it replaces"),
    _row("back",    Action.ROLL_BACK, "back",          "an alert asks to go back to the version before"),
    _row("frozen",  Action.FROZEN,    "frozen trial",  "stopped by a person: the version on trial stays where it is"),
    _row("frozen",  Action.FROZEN,    "frozen cause",  "stopped by a person: no order in spite of a cause"),
    _row("frozen",  Action.FROZEN,    "frozen drift",  "stopped by a person: drift is only looked at"),
    _row("frozen",  Action.FROZEN,    "frozen",        "stopped by a person: nothing new begins by itself"),
    _row("canary",  Action.CANARY,    "trial",         "a new version is on trial"),
    _row("running", Action.WATCH,     "cause running", "waits for the order that is in flight"),
    _row("moving",  Action.WATCH,     "cause moving",  "waits for the end of the rollout"),
    _row("cooling", Action.WATCH,     "cause cooling", "waits for the end of the cooldown"),
    _row("thin",    Action.WATCH,     "cause",         "waits for exchanges to learn from", unless="fresh"),
    _row("quiet",   Action.WATCH,     "cause quiet",   "waits for the end of the quiet hours"),
    _row("spent",   Action.WATCH,     "cause spent",   "waits for GPU-hours: the budget has none left for an order"),
    _row("retrain", Action.RETRAIN,   "cause fresh",   "retraining has a cause and the data it needs"),
    _row("low",     Action.WATCH,     "low",           "quality is low: waits for more evidence before it acts"),
    _row("blind",   Action.WATCH,     "drift blind",   "traffic drifted, quality unknown: waits for labels"),
    _row("drift",   Action.WATCH,     "drift",         "traffic drifted and measured quality holds"),
    _row("asked",   Action.WATCH,     "asked",         "an alert asks to watch"),
    _row("unpaid",  Action.WATCH,     "unpaid",        "the money for the judge is spent: people's labels alone count"),
    _row("hold",    Action.HOLD,      "",              "nothing calls for action"),
)
# fmt: on


def decide(seen: Seen, settings: Settings) -> Decision:
    """The decision with its reasons: the row's first, then each fact in words, with its figures."""
    facts = facts_of(seen, settings)
    row = row_for(facts)
    return Decision(
        at=seen.at,
        alias=seen.alias,
        action=row.action,
        reasons=(row.says, *words_for(seen, settings, facts)),
        seen={
            "row": row.name,
            "facts": [name for name in FACTS if facts[name]],
            "version": seen.version,
            "estimate": _figures(seen.estimate),
            "reference": _figures(seen.reference),
            "former": _figures(seen.former),
            "alarm_kind": seen.alarm_kind,
            "fresh_exchanges": seen.fresh_exchanges,
            "phase": seen.phase,
            "order_outcome": seen.order_outcome,
            "asked": [words for _, words in seen.asked],
            "wishes": [action.value for action, _ in seen.asked],
            "frozen": seen.frozen,
            "low_since": seen.low_from.isoformat() if facts["low"] else None,
            "gpu_hours": seen.spent.gpu_hours,
            "judge_money": seen.spent.judge_money,
        },
    )


def is_news(decision: Decision, last_action: str | None, last_seen: Mapping[str, object]) -> bool:
    """True when a decision differs from the last one in action, row, facts or version, not only in figures."""
    if last_action != decision.action.value:
        return True
    return any(last_seen.get(key) != decision.seen[key] for key in ("row", "facts", "version"))


def would_be_no_news(seen: Seen, settings: Settings, last: Decision) -> bool:
    """What `is_news` would say of the decision, without finding words for it."""
    facts = facts_of(seen, settings)
    same = {"row": row_for(facts).name, "facts": [name for name in FACTS if facts[name]], "version": seen.version}
    return all(last.seen[key] == value for key, value in same.items())


def row_for(facts: Mapping[str, bool]) -> Row:
    """The first row of the table that fits; the last one always does."""
    return next(
        row for row in TABLE if all(facts[name] for name in row.when) and not any(facts[name] for name in row.unless)
    )


def low_since(last_seen: Mapping[str, object] | None, version: str) -> datetime | None:
    """What `Seen.low_since` must be, from what the last decision saw."""
    if last_seen is None or last_seen.get("version") != version:
        return None
    kept = last_seen.get("low_since")
    return datetime.fromisoformat(kept) if isinstance(kept, str) else None


def held(settings: Settings, frozen: str | None, at: datetime) -> str | None:
    """Why no version may get more users now, neither a first share nor a larger one; None when it may."""
    if frozen is not None:
        return f"frozen {frozen}"
    if quiet(settings.policy.quiet_hours, settings.policy.time_zone, at):
        return f"quiet hours{until(settings, at)}"
    return None


def facts_of(seen: Seen, settings: Settings) -> dict[str, bool]:
    """Each of `FACTS` as true or false."""
    policy = settings.policy
    drift = seen.alarm_kind is not None
    evident = seen.estimate is not None and seen.estimate.n_truth >= policy.truth_labels
    low = _low(seen, settings)
    breach = low and evident and (seen.at - seen.low_from).total_seconds() >= policy.confirm_s
    age_s = seen.order_finished_age_s
    wishes = {action for action, _ in seen.asked}
    spent = seen.spent
    return {
        "frozen": seen.frozen is not None,
        "worse": seen.challenger_failing is not None or (evident and worse(seen.estimate, seen.former)),
        "low": low,
        "breach": breach,
        "drift": drift,
        "cause": breach or (drift and policy.retrain_on_drift_alone) or Action.RETRAIN in wishes,
        "running": seen.order_running,
        "trial": seen.phase in ON_TRIAL,
        "moving": seen.phase != "steady",
        "cooling": age_s is not None and age_s < policy.cooldown_s,
        "fresh": seen.fresh_exchanges >= policy.fresh_exchanges,
        "quiet": quiet(policy.quiet_hours, policy.time_zone, seen.at),
        "spent": policy.gpu_hours is not None and spent.gpu_hours + spent.next_gpu_hours > policy.gpu_hours,
        "unpaid": policy.judge_money is not None and (spent.judge_money or 0.0) >= policy.judge_money,
        "blind": seen.estimate is None,
        "back": Action.ROLL_BACK in wishes,
        "asked": bool(wishes),
    }


def _low(seen: Seen, settings: Settings) -> bool:
    """Below the floor or below the reference with the whole interval; once it was, until it is clearly above."""
    more = 0.0 if seen.low_since is None else settings.policy.recovery
    if seen.estimate is None:
        return False
    below = seen.estimate.high < settings.quality.floor + more
    return below or (seen.reference is not None and seen.estimate.high < seen.reference.low + more)


def _figures(estimate: Estimate | None) -> dict[str, object] | None:
    if estimate is None:
        return None
    names = ("version", "value", "low", "high", "level", "n_truth", "n_judged", "method")
    return {name: getattr(estimate, name) for name in names}
