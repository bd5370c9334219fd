"""Where the value of each metric is found (pure).

Lives here: small readers, each from what is known to samples, and `READS`, which gives every metric its reader.
Comes in: `Known`: a snapshot, the figures beside it, the process's facts. Goes out: label values and numbers.
Must never know: types, units and bounds of metrics (`table.py`), the store, the clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agent.store.figures import Figures
from agent.store.snapshot import Snapshot
from agent.types import Action

Sample = tuple[tuple[str, ...], float]
"""Label values in the order of the metric's labels, and the value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessInfo:
    """What the sidecar knows of itself and of its settings; everything else comes from the store.

    `store_answers` is false when nothing but this could be learnt. `leads` is false for a follower among the processes
    of one database; `offices` says which of the two it holds.
    `loop_lag_s` is how long ago each loop finished a round, `loop_round_s` how long that took, in seconds;
    `loop_faults` counts what its outer ring caught; `event_loop_lag_s` is the longest wait of the last minute.
    `text_paused` and `text_dropped` say that texts are not stored for want of room, and of how many exchanges.
    `quality_floor`, `quality_objective`, `database_limit_bytes` and `judge_enabled` repeat the settings, so that alert
    rules need no second copy of them. `judge` has the judge's counts: chosen, over_budget, failed. `budgets` has the
    share of each of the policy's budgets that is used, `frozen_at` is when a person stopped the automation.
    """

    version: str
    started_at: datetime
    resident_bytes: int
    store_answers: bool = True
    leads: bool = True
    offices: Mapping[str, bool] = field(default_factory=dict)
    judge_enabled: bool = False
    quality_floor: float | None = None
    quality_objective: float | None = None
    loop_lag_s: Mapping[str, float] = field(default_factory=dict)
    loop_round_s: Mapping[str, float] = field(default_factory=dict)
    loop_faults: Mapping[str, int] = field(default_factory=dict)
    event_loop_lag_s: float = 0.0
    text_paused: bool = False
    text_dropped: int = 0
    database_bytes: int = 0
    database_limit_bytes: int | None = None
    taps: int = 0
    queue_exchanges: int = 0
    queue_bytes: int = 0
    corrupt: int = 0
    given_up: int = 0
    store_faults: int = 0
    judge: Mapping[str, int] = field(default_factory=dict)
    judge_budget_left: float | None = None
    alerts: Mapping[str, int] = field(default_factory=dict)
    alerts_standing: Mapping[str, int] = field(default_factory=dict)
    notified: int = 0
    notify_failed: int = 0
    budgets: Mapping[str, float] = field(default_factory=dict)
    frozen_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """Everything that is known at a scrape."""

    seen: Snapshot
    figures: Figures
    process: ProcessInfo


Read = Callable[[Known], Iterable[Sample]]
"""From what is known to the samples of one metric, those to be kept first; none where nothing is known."""

ORDER_STATUSES = ("open", "running", "done", "failed")
ACTIONS = tuple(action.value for action in Action)
OFFICES = ("decides", "moves")
VERDICTS = ("accepted", "rejected", "needs_more_data")
PHASES = ("steady", "probe", "shift", "drain")
ASKS = ("retrain", "roll_back", "watch")


def alone(value: Callable[[Known], float | None]) -> Read:
    """One sample without labels, when there is a value."""

    def read(known: Known) -> Iterator[Sample]:
        found = value(known)
        if found is not None:
            yield (), float(found)

    return read


def process(name: str) -> Read:
    """A field of `ProcessInfo`, when it is known."""
    return alone(lambda known: getattr(known.process, name))


def of_alias(value: Callable[[Known], float | None]) -> Read:
    """One sample for the alias, when there is a value."""

    def read(known: Known) -> Iterator[Sample]:
        found = value(known)
        if found is not None:
            yield (known.seen.alias,), float(found)

    return read


def moment(at: Callable[[Known], datetime | None]) -> Read:
    """When something happened to the alias, in unix seconds, if it did."""

    def when(known: Known) -> float | None:
        found = at(known)
        return None if found is None else found.timestamp()

    return of_alias(when)


def of_estimate(name: str) -> Read:
    """The newest estimate's field for each version, newest versions first."""

    def read(known: Known) -> Iterator[Sample]:
        for estimate in reversed(known.seen.estimates):
            yield (known.seen.alias, estimate.version), float(getattr(estimate, name))

    return read


def of_drift(name: str) -> Read:
    """The detector's field for the version that it watches."""

    def read(known: Known) -> Iterator[Sample]:
        drift = known.seen.drift
        value = getattr(drift, name)
        if drift.version is not None and value is not None:
            yield (known.seen.alias, drift.version), float(value)

    return read


def by_key(name: str, keys: tuple[str, ...] = ()) -> Read:
    """A mapping of `ProcessInfo`, one sample a key; `keys` are there from the beginning, with 0."""

    def read(known: Known) -> Iterator[Sample]:
        found: Mapping[str, float] = dict.fromkeys(keys, 0) | dict(getattr(known.process, name))
        for key, value in found.items():
            yield (key,), float(value)

    return read


def offices(known: Known) -> Iterator[Sample]:
    """Which offices of the alias this process holds, the others with 0."""
    for office in OFFICES:
        yield (known.seen.alias, office), float(known.process.offices.get(office, False))


def exchanges(known: Known) -> Iterator[Sample]:
    """Exchanges by version and outcome; the newest adapters first, so that the oldest are added up."""
    age = {adapter.name: -place for place, adapter in enumerate(known.seen.adapters)}
    for tally in sorted(known.seen.exchanges, key=lambda t: (age.get(t.version, 1), t.version, t.outcome)):
        yield (known.seen.alias, tally.version, tally.outcome), tally.n


def distances(known: Known) -> Iterator[Sample]:
    """Distances of the newest window, the greatest first."""
    for far in known.figures.distances:
        yield (known.seen.alias, far.version, far.feature, far.measure), far.value


def shifts(known: Known) -> Iterator[Sample]:
    """Features of the newest alarm, strongest first."""
    if known.seen.alarm is not None:
        found = {name: sd for name, _, sd in reversed(known.seen.alarm.alarm.features)}
        for name in reversed(found):
            yield (known.seen.alias, name), float(found[name])


def last_seen(known: Known) -> float | None:
    """When a tap last spoke."""
    return max((worker.seen_at.timestamp() for worker in known.seen.workers), default=None)


def feedback(known: Known) -> Iterator[Sample]:
    """Truth labels by source, those who gave most first."""
    for grades in sorted((g for g in known.seen.grades if g.truth), key=lambda g: (-g.n, g.source)):
        yield (grades.source,), grades.n


def judge_last(known: Known) -> float | None:
    """When the judge last scored."""
    return max((g.last_at.timestamp() for g in known.seen.grades if not g.truth), default=None)


def one_of(choices: tuple[str, ...], value: Callable[[Known], str | None]) -> Read:
    """A state of the alias as 0/1 samples over all its values, so that a rule never waits for a series to appear."""

    def read(known: Known) -> Iterator[Sample]:
        found = value(known)
        if found is not None:
            for choice in (*choices, *(() if found in choices else (found,))):
                yield (known.seen.alias, choice), float(choice == found)

    return read


def orders(known: Known) -> Iterator[Sample]:
    """Orders by status."""
    for status in ORDER_STATUSES:
        yield (known.seen.alias, status), known.seen.order_counts.get(status, 0)


def verdict(known: Known) -> str | None:
    """What the gate said of the newest order; nothing while it runs."""
    newest = known.seen.orders[0] if known.seen.orders else None
    if newest is None:
        return None
    return str(newest.verdict["kind"]) if newest.verdict and "kind" in newest.verdict else "none"


def weights(known: Known) -> Iterator[Sample]:
    """Shares of users, 0 for a version that could serve but does not; who answers most comes first."""
    if known.seen.rollout is not None:
        able = (a.name for a in reversed(known.seen.adapters) if a.status not in {"retired", "rejected"})
        shares = dict.fromkeys(able, 0.0) | known.seen.rollout.weights
        for version, share in sorted(shares.items(), key=lambda item: -item[1]):
            yield (known.seen.alias, version), share


def adapters(known: Known) -> Iterator[Sample]:
    """One sample for each adapter version, the newest first."""
    for adapter in reversed(known.seen.adapters):
        yield (known.seen.alias, adapter.name, adapter.status, adapter.digest, adapter.parent or ""), 1.0


def facts(known: Known) -> Iterator[Sample]:
    """What the newest decision rests on."""
    seen = known.seen.decision.seen if known.seen.decision else {}
    found = seen.get("facts")
    for fact in found if isinstance(found, list) else ():
        yield (known.seen.alias, str(fact)), 1.0


READS: Mapping[str, Read] = {
    "trimtab_exchanges_total": exchanges,
    "trimtab_capture_assigned_total": alone(lambda k: k.seen.capture.assigned),
    "trimtab_capture_stored_total": alone(lambda k: k.seen.capture.stored),
    "trimtab_capture_dropped_total": alone(lambda k: k.seen.capture.dropped),
    "trimtab_capture_unreadable_total": alone(lambda k: k.seen.capture.unreadable),
    "trimtab_capture_lost": alone(lambda k: k.seen.capture.lost),
    "trimtab_capture_last_seen_timestamp_seconds": alone(last_seen),
    "trimtab_capture_taps": process("taps"),
    "trimtab_intake_queue_exchanges": process("queue_exchanges"),
    "trimtab_intake_queue_bytes": process("queue_bytes"),
    "trimtab_intake_corrupt_total": process("corrupt"),
    "trimtab_intake_given_up_total": process("given_up"),
    "trimtab_store_faults_total": process("store_faults"),
    "trimtab_store_answers": process("store_answers"),
    "trimtab_text_paused": process("text_paused"),
    "trimtab_text_dropped_total": process("text_dropped"),
    "trimtab_database_bytes": process("database_bytes"),
    "trimtab_database_limit_bytes": process("database_limit_bytes"),
    "trimtab_drift_evidence_log10": of_drift("evidence"),
    "trimtab_drift_evidence_peak_log10": of_drift("peak"),
    "trimtab_drift_threshold_log10": of_drift("threshold"),
    "trimtab_drift_reference_rows": of_drift("reference_rows"),
    "trimtab_drift_alarms_total": of_alias(lambda k: k.seen.drift.alarms),
    "trimtab_drift_last_alarm_timestamp_seconds": moment(lambda k: k.figures.alarm_at),
    "trimtab_drift_alarm_shift_sd": shifts,
    "trimtab_drift_distance": distances,
    "trimtab_quality_estimate": of_estimate("value"),
    "trimtab_quality_low": of_estimate("low"),
    "trimtab_quality_high": of_estimate("high"),
    "trimtab_quality_truth_labels": of_estimate("n_truth"),
    "trimtab_quality_judged_answers": of_estimate("n_judged"),
    "trimtab_quality_floor": process("quality_floor"),
    "trimtab_quality_objective": process("quality_objective"),
    "trimtab_judge_enabled": process("judge_enabled"),
    "trimtab_judge_calls_total": alone(lambda k: sum(g.n for g in k.seen.grades if not g.truth)),
    "trimtab_judge_tokens_total": alone(lambda k: sum(g.cost_tokens for g in k.seen.grades if not g.truth)),
    "trimtab_judge_chosen_total": alone(lambda k: k.process.judge.get("chosen", 0)),
    "trimtab_judge_over_budget_total": alone(lambda k: k.process.judge.get("over_budget", 0)),
    "trimtab_judge_failed_total": alone(lambda k: k.process.judge.get("failed", 0)),
    "trimtab_judge_budget_left": process("judge_budget_left"),
    "trimtab_judge_last_grade_timestamp_seconds": alone(judge_last),
    "trimtab_feedback_total": feedback,
    "trimtab_decision": one_of(ACTIONS, lambda k: k.seen.decision.action.value if k.seen.decision else None),
    "trimtab_decision_fact": facts,
    "trimtab_policy_budget_used_ratio": by_key("budgets"),
    "trimtab_policy_frozen_timestamp_seconds": moment(lambda k: k.process.frozen_at),
    "trimtab_decision_timestamp_seconds": moment(lambda k: k.seen.decision.at if k.seen.decision else None),
    "trimtab_orders": orders,
    "trimtab_order_status": one_of(ORDER_STATUSES, lambda k: k.seen.orders[0].status if k.seen.orders else None),
    "trimtab_order_verdict": one_of(VERDICTS, verdict),
    "trimtab_order_progress_ratio": of_alias(lambda k: k.seen.orders[0].progress if k.seen.orders else None),
    "trimtab_order_opened_timestamp_seconds": moment(lambda k: k.seen.orders[0].opened_at if k.seen.orders else None),
    "trimtab_order_finished_timestamp_seconds": moment(
        lambda k: k.seen.orders[0].finished_at if k.seen.orders else None
    ),
    "trimtab_order_heartbeat_timestamp_seconds": moment(lambda k: k.figures.heartbeat_at),
    "trimtab_rollout_weight": weights,
    "trimtab_rollout_phase": one_of(PHASES, lambda k: k.seen.rollout.phase if k.seen.rollout else None),
    "trimtab_rollout_promoted_timestamp_seconds": moment(lambda k: k.figures.promoted_at),
    "trimtab_rollout_rolled_back_total": of_alias(lambda k: k.seen.rollout.rolled_back if k.seen.rollout else 0),
    "trimtab_rollout_last_rolled_back_timestamp_seconds": moment(
        lambda k: k.seen.rollout.rolled_back_at if k.seen.rollout else None
    ),
    "trimtab_adapter_mismatch_timestamp_seconds": moment(lambda k: k.figures.mismatch_at),
    "trimtab_adapter_info": adapters,
    "trimtab_build_info": lambda k: [((k.process.version,), 1.0)],
    "trimtab_office_held": offices,
    "trimtab_start_time_seconds": alone(lambda k: k.process.started_at.timestamp()),
    "trimtab_resident_memory_bytes": process("resident_bytes"),
    "trimtab_event_loop_lag_seconds": process("event_loop_lag_s"),
    "trimtab_loop_lag_seconds": by_key("loop_lag_s"),
    "trimtab_loop_round_seconds": by_key("loop_round_s"),
    "trimtab_loop_faults_total": by_key("loop_faults"),
    "trimtab_alerts_total": by_key("alerts", ASKS),
    "trimtab_alerts_standing": by_key("alerts_standing", ASKS),
    "trimtab_notifications_sent_total": process("notified"),
    "trimtab_notifications_failed_total": process("notify_failed"),
}
"""A reader for every metric of the table but `trimtab_export_left_out`, which the rendering counts itself."""
