"""What was seen -> hold, watch, canary, retrain, roll back or frozen (pure).

Lives here: the state table of the policy, the facts its rows ask for, and the words for both.
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

from agent.policy.budget import Spent
from agent.policy.hours import changes_at, quiet
from agent.settings import Settings
from agent.types import Action, Decision, Estimate

NOTHING_SPENT = Spent()
ON_TRIAL = ("accepted", "probe", "shift")
"""Phases in which a new version waits for its canary or is in it; in `drain` an old one leaves."""


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
            "wishes": [action.value for action, _ in seen.asked],
            "frozen": seen.frozen,
            "low_since": _low_since(seen).isoformat() if facts["low"] else None,
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
        return f"quiet hours{_until(settings, at)}"
    return None


def facts_of(seen: Seen, settings: Settings) -> dict[str, bool]:
    """Each of `FACTS` as true or false."""
    policy = settings.policy
    drift = seen.alarm_kind is not None
    evident = seen.estimate is not None and seen.estimate.n_truth >= policy.truth_labels
    low = _low(seen, settings)
    breach = low and evident and (seen.at - _low_since(seen)).total_seconds() >= policy.confirm_s
    age_s = seen.order_finished_age_s
    wishes = {action for action, _ in seen.asked}
    spent = seen.spent
    return {
        "frozen": seen.frozen is not None,
        "worse": seen.challenger_failing is not None or (evident and _worse(seen.estimate, seen.former)),
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


def _low_since(seen: Seen) -> datetime:
    return seen.low_since or seen.at


def _worse(estimate: Estimate | None, than: Estimate | None) -> bool:
    """True when the whole interval lies below another one."""
    return estimate is not None and than is not None and estimate.high < than.low


def _words(seen: Seen, settings: Settings, facts: Mapping[str, bool]) -> list[str]:
    words = [_quality(seen, settings.quality.floor)]
    if seen.frozen is not None:
        words.insert(0, f"frozen {seen.frozen}")
    if _worse(seen.estimate, seen.reference) and seen.reference is not None:
        words.append(f"quality is clearly below its reference {_share(seen.reference)}")
    if _worse(seen.estimate, seen.former) and seen.former is not None:
        words.append(f"quality is clearly below that of {seen.former.version}: {_share(seen.former)}")
    if facts["low"] and not facts["breach"]:
        words += _evidence(seen, settings)
    if seen.challenger_failing is not None:
        words.append(f"the version on trial fails: {seen.challenger_failing}")
    if facts["drift"]:
        since = "" if seen.alarm_age_s is None else f" {span(seen.alarm_age_s)} ago"
        words.append(f"drift alarm ({seen.alarm_kind}){since}: {seen.alarm_reason}".rstrip(": "))
    words += [said for _, said in seen.asked[:MOST_WISHES_SAID]]
    return [*words, *_conditions(seen, settings, facts), *_limits(seen, settings, facts)]


def _conditions(seen: Seen, settings: Settings, facts: Mapping[str, bool]) -> list[str]:
    """What an order waits for, but for hours and budgets."""
    words = []
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
        words.append(f"an order ended {span(seen.order_finished_age_s)} ago{outcome}: {span(left_s)} to wait")
    return words


def _evidence(seen: Seen, settings: Settings) -> list[str]:
    """What a low quality lacks before it is a breach."""
    policy, words = settings.policy, []
    if seen.estimate is not None and seen.estimate.n_truth < policy.truth_labels:
        words.append(f"{seen.estimate.n_truth} truth labels of the {policy.truth_labels} that count as evidence")
    low_s = (seen.at - _low_since(seen)).total_seconds()
    if low_s < policy.confirm_s:
        words.append(f"quality has been low for {span(low_s)} of the {span(policy.confirm_s)} that are waited for")
    return words


def _limits(seen: Seen, settings: Settings, facts: Mapping[str, bool]) -> list[str]:
    """Quiet hours and budgets, where they bear on the matter."""
    policy, words = settings.policy, []
    if facts["quiet"] and (facts["cause"] or facts["trial"]):
        hours = f"quiet hours ({', '.join(policy.quiet_hours)}, {policy.time_zone})"
        words.append(f"{hours}{_until(settings, seen.at)}")
    if policy.gpu_hours is not None and facts["cause"]:
        used = f"{seen.spent.gpu_hours:.2f} of {policy.gpu_hours:g} GPU-hours of {policy.budget_days:g} days are used"
        words.append(f"{used}, and an order takes about {seen.spent.next_gpu_hours:.2f}")
    if policy.judge_money is not None and facts["unpaid"]:
        spent = seen.spent.judge_money or 0.0
        words.append(f"the judge has cost {spent:.2f} of {policy.judge_money:g} within {policy.budget_days:g} days")
    return words


def span(seconds: float) -> str:
    """A stretch of time as people say it: 40 s, 12 min, 3 h 5 min, 2 d 4 h."""
    whole = round(seconds)
    for unit, name, part, less in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min")):
        if whole >= unit:
            rest = whole % unit // part
            return f"{whole // unit} {name}" + (f" {rest} {less}" if rest else "")
    return f"{whole // 60} min" if whole >= 60 else f"{whole} s"


def _until(settings: Settings, at: datetime) -> str:
    """When the quiet hours end that are now."""
    ends = changes_at(settings.policy.quiet_hours, settings.policy.time_zone, at)
    return "" if ends is None else f" until {ends:%Y-%m-%d %H:%M} UTC"


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
