"""Settings of the policy that contradict each other (pure).

Lives here: every pair of settings that cannot both be meant, and the sentence that says so.
Comes in: the settings. Goes out: nothing, or InvalidInput that names both.
Must never know: the store, the clock.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.policy.hours import always, spans, zone
from agent.settings import Settings
from agent.types import InvalidInput


def check(settings: Settings) -> None:
    """Raise InvalidInput for the first contradiction, in one sentence that says what to write instead."""
    for sentence in contradictions(settings):
        raise InvalidInput(sentence)


def contradictions(settings: Settings) -> Iterator[str]:
    """Every contradiction, a sentence each. Raises InvalidInput for hours or a time zone that are none."""
    policy, quality = settings.policy, settings.quality
    if policy.quiet_hours:
        if policy.time_zone is None:
            yield "policy.quiet_hours needs policy.time_zone: name the zone whose clock is meant, such as Europe/Berlin"
            return
        spans(policy.quiet_hours)
    if policy.time_zone is not None:
        zone(policy.time_zone)
    if always(policy.quiet_hours):
        yield (
            "policy.quiet_hours leaves no minute of the week, so policy.fresh_exchanges would be waited for in vain: "
            "leave hours out, or stop the automation by `trimtab policy freeze`"
        )
    if policy.truth_labels > quality.window_exchanges:
        yield (
            f"policy.truth_labels {policy.truth_labels} can never be reached, because an estimate rests on "
            f"quality.window_exchanges {quality.window_exchanges} exchanges at most: lower the one or raise the other"
        )
    if quality.floor + policy.recovery > 1:
        yield (
            f"quality.floor {quality.floor:g} and policy.recovery {policy.recovery:g} add up to more than 1, so that "
            "quality that was low once would be so for ever: lower one of them"
        )
    yield from _money(settings)


def _money(settings: Settings) -> Iterator[str]:
    policy, capture = settings.policy, settings.capture
    if policy.judge_money is None:
        return
    if policy.judge_price is None:
        yield "policy.judge_money needs policy.judge_price: say what a million tokens of the judge cost"
    if settings.quality.judge_model is None:
        yield "policy.judge_money is for a judge, and quality.judge_model names none: set this or leave that out"
    if policy.budget_days > capture.keep_days:
        yield (
            f"policy.budget_days {policy.budget_days:g} is longer than capture.keep_days {capture.keep_days:g}, and "
            "with policy.judge_money spent tokens are counted from what is kept: shorten the one or lengthen the other"
        )
