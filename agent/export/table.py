"""The metrics, declared once (pure).

Lives here: one table that says of each metric its type, name, unit, labels, meaning, and how many series it may have.
Comes in: nothing. Goes out: `METRICS`, and the same as Markdown for the README.
Must never know: where a value is found (`reads.py`), how it is written (`metrics.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table. `most` bounds its series: what exceeds it is never exported under its own labels.

    Of a counter the rest is added up under the value `other`; of a gauge it is left out and counted.
    """

    kind: Literal["counter", "gauge"]
    name: str
    unit: str
    labels: tuple[str, ...]
    most: int
    help: str


def _m(what: str, says: str, labels: str = "", most: int = 1) -> Metric:
    kind, name, *unit = what.split(" ")
    assert kind in ("counter", "gauge")  # noqa: S101  # a misprint in the table below
    return Metric("counter" if kind == "counter" else "gauge", name, " ".join(unit), tuple(labels.split()), most, says)


# fmt: off
CAPTURE = (
    _m("counter trimtab_exchanges_total exchanges",
       "Exchanges in the store, by the version that answered and how they ended.", "alias version outcome", 400),
    _m("counter trimtab_capture_assigned_total exchanges", "Exchanges that the taps inside vLLM have numbered."),
    _m("counter trimtab_capture_stored_total exchanges", "Exchanges that are durable in the store."),
    _m("counter trimtab_capture_dropped_total exchanges",
       "Exchanges that a tap dropped because its buffer was full."),
    _m("counter trimtab_capture_unreadable_total exchanges",
       "Exchanges that were stored without text because their bytes could not be read."),
    _m("gauge trimtab_capture_lost exchanges", "Numbered by a tap but not in the store: dropped, or not landed yet."),
    _m("gauge trimtab_capture_last_seen_timestamp_seconds unix seconds", "When a tap last spoke."),
    _m("gauge trimtab_capture_taps connections", "Taps that are connected now."),
    _m("gauge trimtab_intake_queue_exchanges exchanges", "Exchanges that have arrived and are not stored yet."),
    _m("gauge trimtab_intake_queue_bytes bytes", "Their size as they came; at 16 MiB the taps are made to wait."),
    _m("counter trimtab_intake_corrupt_total frames",
       "Frames from a tap that were damaged, since the sidecar started."),
    _m("counter trimtab_intake_given_up_total exchanges",
       "Exchanges that the store refused ten times, since the sidecar started: lost."),
    _m("counter trimtab_store_faults_total faults",
       "Writes of the intake that the store refused, since the sidecar started; they are tried again."),
    _m("gauge trimtab_store_answers bool",
       "1 when the store answered this scrape; with 0 only what the process knows without it is exported."),
    _m("gauge trimtab_text_paused bool",
       "1 while exchanges are stored without their texts, because the disk has no room."),
    _m("counter trimtab_text_dropped_total exchanges",
       "Exchanges stored without their texts, because the disk had no room, since the sidecar started."),
    _m("gauge trimtab_database_bytes bytes", "Size of the database file, without its write-ahead log."),
    _m("gauge trimtab_database_limit_bytes bytes", "Size that the settings allow it (capture.keep_bytes)."),
)
DRIFT = (
    _m("gauge trimtab_drift_evidence_log10 log10",
       "Evidence of the sequential detector that the traffic has changed.", "alias version", 20),
    _m("gauge trimtab_drift_evidence_peak_log10 log10",
       "Highest evidence of the last five minutes: a peak between two scrapes, such as that of an alarm, is in it.",
       "alias version", 20),
    _m("gauge trimtab_drift_threshold_log10 log10",
       "Evidence at which the detector raises an alarm.", "alias version", 20),
    _m("gauge trimtab_drift_reference_rows exchanges",
       "Exchanges that the detector has for its reference.", "alias version", 20),
    _m("counter trimtab_drift_alarms_total alarms", "Drift alarms raised.", "alias", 20),
    _m("gauge trimtab_drift_last_alarm_timestamp_seconds unix seconds",
       "When the newest drift alarm was raised.", "alias", 20),
    _m("gauge trimtab_drift_alarm_shift_sd standard deviations",
       "How far each feature had moved at the newest alarm, strongest first.", "alias feature", 10),
    _m("gauge trimtab_drift_distance distance",
       "How far a feature of the newest window is from the reference, in the measure's own units (0 is equal).",
       "alias version feature measure", 1000),
)
QUALITY = (
    _m("gauge trimtab_quality_estimate ratio",
       "Share of good answers, estimated from judge scores and truth labels.", "alias version", 50),
    _m("gauge trimtab_quality_low ratio", "Lower end of the interval of the estimate.", "alias version", 50),
    _m("gauge trimtab_quality_high ratio", "Upper end of the interval of the estimate.", "alias version", 50),
    _m("gauge trimtab_quality_truth_labels labels", "Truth labels that the estimate rests on.", "alias version", 50),
    _m("gauge trimtab_quality_judged_answers answers",
       "Judge scores that narrow the estimate.", "alias version", 50),
    _m("gauge trimtab_quality_floor ratio", "Quality that must be kept, from the settings."),
    _m("gauge trimtab_quality_objective ratio", "Share of good answers promised over 30 days, from the settings."),
    _m("gauge trimtab_judge_enabled bool", "1 when the settings name a judge."),
    _m("counter trimtab_judge_calls_total calls", "Answers that the judge has scored."),
    _m("counter trimtab_judge_tokens_total tokens", "Tokens that the judge has cost."),
    _m("counter trimtab_judge_chosen_total exchanges", "Exchanges that the sample chose for the judge."),
    _m("counter trimtab_judge_over_budget_total exchanges",
       "Chosen exchanges that stayed unjudged because the budget was spent."),
    _m("counter trimtab_judge_failed_total calls", "Chosen exchanges that the judge did not score, though asked."),
    _m("gauge trimtab_judge_budget_left calls", "Calls that the judge's budget allows at this moment."),
    _m("gauge trimtab_judge_last_grade_timestamp_seconds unix seconds", "When the judge last scored an answer."),
    _m("counter trimtab_feedback_total labels", "Truth labels received, by who gave them.", "source", 50),
)
COURSE = (
    _m("gauge trimtab_decision bool", "1 for the action that the policy last decided on.", "alias action", 40),
    _m("gauge trimtab_decision_fact bool",
       "1 for each fact that the last decision rests on; agent/policy/README.md lists them.", "alias fact", 400),
    _m("gauge trimtab_policy_budget_used_ratio ratio",
       "Share of a budget that is used, for those that are set: gpu_hours, judge_money.", "budget", 10),
    _m("gauge trimtab_policy_frozen_timestamp_seconds unix seconds",
       "When a person froze the automation, while it is frozen.", "alias", 20),
    _m("gauge trimtab_decision_timestamp_seconds unix seconds", "When it decided so.", "alias", 20),
    _m("gauge trimtab_orders orders", "Retraining orders by status.", "alias status", 40),
    _m("gauge trimtab_order_status bool",
       "1 for the status of the newest retraining order.", "alias status", 40),
    _m("gauge trimtab_order_verdict bool",
       "1 for what the gate said of the newest retraining order.", "alias verdict", 40),
    _m("gauge trimtab_order_progress_ratio ratio", "How far the newest retraining order is.", "alias", 20),
    _m("gauge trimtab_order_opened_timestamp_seconds unix seconds",
       "When the newest retraining order was opened.", "alias", 20),
    _m("gauge trimtab_order_finished_timestamp_seconds unix seconds",
       "When the newest retraining order ended.", "alias", 20),
    _m("gauge trimtab_order_heartbeat_timestamp_seconds unix seconds",
       "When the job of the newest retraining order last gave a sign of life.", "alias", 20),
    _m("gauge trimtab_rollout_weight ratio",
       "Share of users that the alias gives to a version.", "alias version", 50),
    _m("gauge trimtab_rollout_phase bool", "1 for the phase that the rollout is in.", "alias phase", 40),
    _m("gauge trimtab_rollout_promoted_timestamp_seconds unix seconds",
       "When the present champion took over.", "alias", 20),
    _m("counter trimtab_rollout_rolled_back_total rollouts", "Rollouts that were undone.", "alias", 20),
    _m("gauge trimtab_rollout_last_rolled_back_timestamp_seconds unix seconds",
       "When a rollout was last undone.", "alias", 20),
    _m("gauge trimtab_adapter_mismatch_timestamp_seconds unix seconds",
       "When an adapter, as loaded or as it answered, was last found to be not what was evaluated.", "alias", 20),
    _m("gauge trimtab_adapter_info bool",
       "1 for each adapter version, with its place in life and its digest.",
       "alias version status digest parent", 100),
)
SIDECAR = (
    _m("gauge trimtab_build_info bool", "1, with the version of Trimtab.", "version"),
    _m("gauge trimtab_start_time_seconds unix seconds", "When the sidecar started."),
    _m("gauge trimtab_office_held bool",
       "1 for each office that this process holds: decides, moves.", "alias office", 10),
    _m("gauge trimtab_resident_memory_bytes bytes", "Memory that the sidecar holds."),
    _m("gauge trimtab_event_loop_lag_seconds seconds",
       "Longest time in the last minute that the event loop, which reads from the taps, was kept waiting."),
    _m("gauge trimtab_loop_lag_seconds seconds",
       "How long ago a loop last finished a round without a fault.", "loop", 30),
    _m("gauge trimtab_loop_round_seconds seconds", "How long its last round took.", "loop", 30),
    _m("counter trimtab_loop_faults_total faults", "Faults that the outer ring of a loop caught.", "loop", 30),
    _m("counter trimtab_alerts_total alerts", "Alerts that asked for something, by what they asked.", "action", 10),
    _m("gauge trimtab_alerts_standing alerts", "Alerts whose wish the policy has not answered yet.", "action", 10),
    _m("counter trimtab_notifications_sent_total messages", "Messages that reached an address."),
    _m("counter trimtab_notifications_failed_total messages", "Messages that an address was not given."),
    _m("gauge trimtab_export_left_out series", "Series that were not exported, because their metric has so many."),
)
# fmt: on

METRICS: tuple[Metric, ...] = (*CAPTURE, *DRIFT, *QUALITY, *COURSE, *SIDECAR)
OF_EACH = frozenset(
    {
        "trimtab_capture_taps",
        "trimtab_intake_queue_exchanges",
        "trimtab_intake_queue_bytes",
        "trimtab_intake_corrupt_total",
        "trimtab_intake_given_up_total",
        "trimtab_store_faults_total",
        "trimtab_store_answers",
        "trimtab_text_paused",
        "trimtab_text_dropped_total",
        "trimtab_build_info",
        "trimtab_start_time_seconds",
        "trimtab_office_held",
        "trimtab_resident_memory_bytes",
        "trimtab_event_loop_lag_seconds",
        "trimtab_loop_lag_seconds",
        "trimtab_loop_round_seconds",
        "trimtab_loop_faults_total",
        "trimtab_notifications_sent_total",
        "trimtab_notifications_failed_total",
        "trimtab_export_left_out",
    }
)
"""What each sidecar exports of itself. All else is the fleet's: of several sidecars on one database the leader alone
exports it, so that sums over pods count nothing twice."""
KEPT_IN_STORE = frozenset({"trimtab_notifications_sent_total", "trimtab_notifications_failed_total"})
"""Those among them that cannot be told while the store does not answer. All others are: who watches must hear of it."""


def reference() -> str:
    """The table as Markdown, for the README of this room."""
    lines = ["| metric | type | unit | labels | of | most series | meaning |", "|---|---|---|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        of = "each sidecar" if metric.name in OF_EACH else "the fleet"
        cells = (f"`{metric.name}`", metric.kind, metric.unit, labels, of, str(metric.most), metric.help)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
