"""The facts of a decision in words, with their figures (pure).

Lives here: `words_for`, and how spans of time and the end of quiet hours are said.
Comes in: `Seen`, the settings, the facts. Goes out: sentences for people. Must never know: what is decided.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from agent.policy.hours import changes_at
from agent.policy.seen import Seen, worse
from agent.settings import Settings
from agent.types import Estimate

MOST_WISHES_SAID = 5
"""Alerts that a decision names among its reasons."""


def words_for(seen: Seen, settings: Settings, facts: Mapping[str, bool]) -> list[str]:
    """Each fact in words, with its figures."""
    words = [_quality(seen, settings.quality.floor)]
    if seen.frozen is not None:
        words.insert(0, f"frozen {seen.frozen}")
    if worse(seen.estimate, seen.reference) and seen.reference is not None:
        words.append(f"quality is clearly below its reference {_share(seen.reference)}")
    if worse(seen.estimate, seen.former) and seen.former is not None:
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
    low_s = (seen.at - seen.low_from).total_seconds()
    if low_s < policy.confirm_s:
        words.append(f"quality has been low for {span(low_s)} of the {span(policy.confirm_s)} that are waited for")
    return words


def _limits(seen: Seen, settings: Settings, facts: Mapping[str, bool]) -> list[str]:
    """Quiet hours and budgets, where they bear on the matter."""
    policy, words = settings.policy, []
    if facts["quiet"] and (facts["cause"] or facts["trial"]):
        hours = f"quiet hours ({', '.join(policy.quiet_hours)}, {policy.time_zone})"
        words.append(f"{hours}{until(settings, seen.at)}")
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


def until(settings: Settings, at: datetime) -> str:
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
