"""Which exchange stands behind a counter (pure).

Lives here: for the counters where it helps, the newest exchange of each series: what a spike in a graph leads to.
Comes in: `Known`. Goes out: label values -> an exchange's id and time.
Must never know: how an exemplar is written (`metrics.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from agent.export.reads import Known
from agent.store.figures import Mark

Marks = Mapping[tuple[str, ...], Mark]


def _alarms(known: Known) -> Marks:
    """The first of the alarm's typical texts."""
    alarm = known.seen.alarm.alarm if known.seen.alarm else None
    return {(known.seen.alias,): Mark(alarm.examples[0], alarm.at)} if alarm and alarm.examples else {}


def _exchanges(known: Known) -> Marks:
    return {(known.seen.alias, *key): mark for key, mark in known.figures.exchanges.items()}


def _unreadable(known: Known) -> Marks:
    return _newest([mark for (_, outcome), mark in known.figures.exchanges.items() if outcome == "unreadable"])


def _judged(known: Known) -> Marks:
    return _newest([mark for (_, truth), mark in known.figures.grades.items() if not truth])


def _labelled(known: Known) -> Marks:
    return {(source,): mark for (source, truth), mark in known.figures.grades.items() if truth}


def _newest(marks: list[Mark]) -> Marks:
    return {(): max(marks, key=lambda mark: mark.at)} if marks else {}


EXEMPLARS: Mapping[str, Callable[[Known], Marks]] = {
    "trimtab_exchanges_total": _exchanges,
    "trimtab_capture_unreadable_total": _unreadable,
    "trimtab_drift_alarms_total": _alarms,
    "trimtab_judge_calls_total": _judged,
    "trimtab_feedback_total": _labelled,
}
