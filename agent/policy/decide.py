"""What was seen -> hold, watch, retrain or roll back (pure).

Lives here: the state table of the policy, the facts its rows ask for, and the words for both.
Comes in: `Seen` and the settings. Goes out: a `Decision` with every reason.
Must never know: the clock, the store, who performs the decision, how drift or quality are measured.

The table is read from the top; the first row whose facts all hold decides. Reading it is reading the policy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from agent.settings import Settings
from agent.types import Action, Decision, Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """Everything a decision rests on. Ages are in seconds before `at`; None means "there is none".

    `reference` is quality as it was when this version was new. `former` is the estimate of the version that
    the present one just replaced, on traffic like today's; leave it None once the promotion is old.
    `fresh_exchanges` counts from the onset of the drift, or of the breach when nothing drifted.
    `phase` is the rollout's phase; anything but `steady` means that versions are being moved.
    `challenger_failing` says why the version on trial must go, when the rollout found a reason.
    `asked` are the wishes of alerts, each with its words: a cause like others, under the same conditions.
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
    frozen: bool = False
    asked: tuple[tuple[Action, str], ...] = ()


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


MOST_WISHES_SAID = 5
"""Alerts that a decision names among its reasons."""
FACTS = (
    "frozen",
    "worse",
    "breach",
    "drift",
    "cause",
    "running",
    "moving",
    "cooling",
    "fresh",
    "blind",
    "back",
    "asked",
)
"""frozen: a person stopped the automation. worse: the newest version is worse than what it replaced, or fails.
breach: measured quality is too low. drift: an alarm stands. cause: reason enough to retrain. running: an order
is in flight. moving: versions are being moved. cooling: the last order ended too recently. fresh: enough
exchanges to learn from. blind: there is no estimate. back: an alert asks to roll back. asked: an alert asks for
anything."""

LEARNABLE = frozenset({"input", "output", "relation"})
"""Kinds of drift that new weights can answer; a slow engine or another prompt template is a matter for people."""

# fmt: off
TABLE: tuple[Row, ...] = (
    _row("frozen",  Action.WATCH,     "frozen worse",  "frozen by a person: a failing version stays"),
    _row("frozen",  Action.WATCH,     "frozen back",   "frozen by a person: an alert asks in vain to roll back"),
    _row("frozen",  Action.WATCH,     "frozen cause",  "frozen by a person: no order in spite of a cause"),
    _row("frozen",  Action.WATCH,     "frozen drift",  "frozen by a person: drift is only looked at"),
    _row("worse",   Action.ROLL_BACK, "worse",         "the newest version is worse than the one it replaces"),
    _row("back",    Action.ROLL_BACK, "back",          "an alert asks to go back to the version before"),
    _row("running", Action.WATCH,     "cause running", "waits for the order that is in flight"),
    _row("moving",  Action.WATCH,     "cause moving",  "waits for the end of the rollout"),
    _row("cooling", Action.WATCH,     "cause cooling", "waits for the end of the cooldown"),
    _row("thin",    Action.WATCH,     "cause",         "waits for exchanges to learn from", unless="fresh"),
    _row("retrain", Action.RETRAIN,   "cause fresh",   "retraining has a cause and the data it needs"),
    _row("blind",   Action.WATCH,     "drift blind",   "traffic drifted, quality unknown: waits for labels"),
    _row("drift",   Action.WATCH,     "drift",         "traffic drifted and measured quality holds"),
    _row("asked",   Action.WATCH,     "asked",         "an alert asks to watch"),
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
        reasons=(row.says, *_words(seen, settings, facts)),
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
        },
    )


def is_news(decision: Decision, last_action: str | None, last_seen: Mapping[str, object]) -> bool:
    """True when a decision differs from the last one in action, row, facts or version, not only in figures."""
    if last_action != decision.action.value:
        return True
    return any(last_seen.get(key) != decision.seen[key] for key in ("row", "facts", "version"))


def row_for(facts: Mapping[str, bool]) -> Row:
    """The first row of the table that fits; the last one always does."""
    return next(
        row for row in TABLE if all(facts[name] for name in row.when) and not any(facts[name] for name in row.unless)
    )


def facts_of(seen: Seen, settings: Settings) -> dict[str, bool]:
    """Each of `FACTS` as true or false."""
    policy = settings.policy
    drift = seen.alarm_kind is not None
    breach = _below(seen.estimate, settings.quality.floor) or _worse(seen.estimate, seen.reference)
    age_s = seen.order_finished_age_s
    wishes = {action for action, _ in seen.asked}
    return {
        "frozen": seen.frozen,
        "worse": seen.challenger_failing is not None or _worse(seen.estimate, seen.former),
        "breach": breach,
        "drift": drift,
        "cause": breach or (drift and policy.retrain_on_drift_alone) or Action.RETRAIN in wishes,
        "running": seen.order_running,
        "moving": seen.phase != "steady",
        "cooling": age_s is not None and age_s < policy.cooldown_s,
        "fresh": seen.fresh_exchanges >= policy.fresh_exchanges,
        "blind": seen.estimate is None,
        "back": Action.ROLL_BACK in wishes,
        "asked": bool(wishes),
    }


def _below(estimate: Estimate | None, floor: float) -> bool:
    """True when the whole interval lies below the floor."""
    return estimate is not None and estimate.high < floor


def _worse(estimate: Estimate | None, than: Estimate | None) -> bool:
    """True when the whole interval lies below another one."""
    return estimate is not None and than is not None and estimate.high < than.low


def _words(seen: Seen, settings: Settings, facts: Mapping[str, bool]) -> list[str]:
    words = [_quality(seen, settings.quality.floor)]
    if _worse(seen.estimate, seen.reference) and seen.reference is not None:
        words.append(f"quality is clearly below its reference {_share(seen.reference)}")
    if _worse(seen.estimate, seen.former) and seen.former is not None:
        words.append(f"quality is clearly below that of {seen.former.version}: {_share(seen.former)}")
    if seen.challenger_failing is not None:
        words.append(f"the version on trial fails: {seen.challenger_failing}")
    if facts["drift"]:
        since = "" if seen.alarm_age_s is None else f" {seen.alarm_age_s:.0f} s ago"
        words.append(f"drift alarm ({seen.alarm_kind}){since}: {seen.alarm_reason}".rstrip(": "))
    words += [said for _, said in seen.asked[:MOST_WISHES_SAID]]
    if facts["cause"]:
        need = settings.policy.fresh_exchanges
        words.append(f"{seen.fresh_exchanges} fresh exchanges of the {need} that an order needs")
    if facts["running"]:
        words.append("a retraining order is in flight")
    if facts["moving"]:
        words.append(f"the rollout is in phase {seen.phase}")
    if facts["cooling"] and seen.order_finished_age_s is not None:
        outcome = f" ({seen.order_outcome})" if seen.order_outcome else ""
        left_s = settings.policy.cooldown_s - seen.order_finished_age_s
        words.append(f"an order ended {seen.order_finished_age_s:.0f} s ago{outcome}: {left_s:.0f} s to wait")
    return words


def _quality(seen: Seen, floor: float) -> str:
    if seen.estimate is None:
        return "quality is not known: too few truth labels"
    rests = f"{seen.estimate.n_truth} labels and {seen.estimate.n_judged} judged answers"
    side = "below" if seen.estimate.high < floor else "not clearly below"
    return f"quality {_share(seen.estimate)} from {rests} is {side} the floor {floor:.2f}"


def _share(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f} at {estimate.level:.0%})"


def _figures(estimate: Estimate | None) -> dict[str, object] | None:
    if estimate is None:
        return None
    names = ("version", "value", "low", "high", "level", "n_truth", "n_judged", "method")
    return {name: getattr(estimate, name) for name in names}
