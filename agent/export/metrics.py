"""The metrics, declared once (pure).

Lives here: one table that says for each metric its type, name, unit, labels and meaning; and its rendering.
Comes in: a `Snapshot` of the store and what the process knows of itself. Goes out: Prometheus text.
Must never know: the store, HTTP, the clock. Counters are read from the store, so they survive a restart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from agent.export import reads
from agent.export.reads import ProcessInfo, Read
from agent.store.snapshot import Snapshot

__all__ = ["METRICS", "Metric", "ProcessInfo", "reference", "render"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One line of the table; `read` yields no sample where nothing is known."""

    kind: Literal["counter", "gauge"]
    name: str
    unit: str
    labels: tuple[str, ...]
    help: str
    read: Read


_A = ("alias",)
_AV = ("alias", "version")

METRICS: tuple[Metric, ...] = (
    # -- capture
    Metric(
        "counter",
        "trimtab_exchanges_total",
        "exchanges",
        ("alias", "version", "outcome"),
        "Exchanges in the store, by the version that answered and how they ended.",
        reads.exchanges,
    ),
    Metric(
        "counter",
        "trimtab_capture_assigned_total",
        "exchanges",
        (),
        "Exchanges that the taps inside vLLM have numbered.",
        reads.single(lambda s, _: s.capture.assigned),
    ),
    Metric(
        "counter",
        "trimtab_capture_stored_total",
        "exchanges",
        (),
        "Exchanges that are durable in the store.",
        reads.single(lambda s, _: s.capture.stored),
    ),
    Metric(
        "counter",
        "trimtab_capture_dropped_total",
        "exchanges",
        (),
        "Exchanges that a tap dropped because its buffer was full.",
        reads.single(lambda s, _: s.capture.dropped),
    ),
    Metric(
        "counter",
        "trimtab_capture_unreadable_total",
        "exchanges",
        (),
        "Exchanges that were stored without text because their bytes could not be read.",
        reads.single(lambda s, _: s.capture.unreadable),
    ),
    Metric(
        "gauge",
        "trimtab_capture_lost",
        "exchanges",
        (),
        "Numbered by a tap but not in the store: dropped, or not landed yet.",
        reads.single(lambda s, _: s.capture.lost),
    ),
    Metric(
        "gauge",
        "trimtab_capture_last_seen_timestamp_seconds",
        "unix seconds",
        (),
        "When a tap last spoke.",
        reads.single(reads.last_seen),
    ),
    Metric(
        "gauge",
        "trimtab_text_paused",
        "bool",
        (),
        "1 while exchanges are stored without their texts, because the disk has no room.",
        reads.single(lambda _, p: p.text_paused),
    ),
    Metric(
        "counter",
        "trimtab_text_dropped_total",
        "exchanges",
        (),
        "Exchanges stored without their texts, because the disk had no room, since the sidecar started.",
        reads.single(lambda _, p: p.text_dropped),
    ),
    Metric(
        "gauge",
        "trimtab_database_bytes",
        "bytes",
        (),
        "Size of the database file, without its write-ahead log.",
        reads.single(lambda _, p: p.database_bytes),
    ),
    # -- drift
    Metric(
        "gauge",
        "trimtab_drift_evidence_log10",
        "log10",
        _AV,
        "Evidence of the sequential detector that the traffic has changed.",
        reads.of_drift("evidence"),
    ),
    Metric(
        "gauge",
        "trimtab_drift_threshold_log10",
        "log10",
        _AV,
        "Evidence at which the detector raises an alarm.",
        reads.of_drift("threshold"),
    ),
    Metric(
        "gauge",
        "trimtab_drift_reference_rows",
        "exchanges",
        _AV,
        "Exchanges that the detector has for its reference.",
        reads.of_drift("reference_rows"),
    ),
    Metric(
        "counter",
        "trimtab_drift_alarms_total",
        "alarms",
        _A,
        "Drift alarms raised.",
        reads.of_alias(lambda s: s.drift.alarms),
    ),
    Metric(
        "gauge",
        "trimtab_drift_last_alarm_timestamp_seconds",
        "unix seconds",
        _A,
        "When the newest drift alarm fired.",
        reads.of_alias(lambda s: s.alarm.alarm.at.timestamp() if s.alarm else None),
    ),
    # -- quality
    Metric(
        "gauge",
        "trimtab_quality_estimate",
        "ratio",
        _AV,
        "Share of good answers, estimated from judge scores and truth labels.",
        reads.of_estimate("value"),
    ),
    Metric(
        "gauge",
        "trimtab_quality_low",
        "ratio",
        _AV,
        "Lower end of the interval of the estimate.",
        reads.of_estimate("low"),
    ),
    Metric(
        "gauge",
        "trimtab_quality_high",
        "ratio",
        _AV,
        "Upper end of the interval of the estimate.",
        reads.of_estimate("high"),
    ),
    Metric(
        "gauge",
        "trimtab_quality_truth_labels",
        "labels",
        _AV,
        "Truth labels that the estimate rests on.",
        reads.of_estimate("n_truth"),
    ),
    Metric(
        "gauge",
        "trimtab_quality_judged_answers",
        "answers",
        _AV,
        "Judge scores that narrow the estimate.",
        reads.of_estimate("n_judged"),
    ),
    Metric(
        "gauge",
        "trimtab_quality_floor",
        "ratio",
        (),
        "Quality that must be kept, from the settings.",
        reads.single(lambda _, p: p.quality_floor),
    ),
    Metric(
        "gauge",
        "trimtab_judge_enabled",
        "bool",
        (),
        "1 when the settings name a judge.",
        reads.single(lambda _, p: p.judge_enabled),
    ),
    Metric(
        "counter",
        "trimtab_judge_calls_total",
        "calls",
        (),
        "Answers that the judge has scored.",
        reads.single(lambda s, _: sum(g.n for g in s.grades if not g.truth)),
    ),
    Metric(
        "counter",
        "trimtab_judge_tokens_total",
        "tokens",
        (),
        "Tokens that the judge has cost.",
        reads.single(lambda s, _: sum(g.cost_tokens for g in s.grades if not g.truth)),
    ),
    Metric(
        "gauge",
        "trimtab_judge_last_grade_timestamp_seconds",
        "unix seconds",
        (),
        "When the judge last scored an answer.",
        reads.single(reads.judge_last),
    ),
    Metric(
        "counter",
        "trimtab_feedback_total",
        "labels",
        ("source",),
        "Truth labels received, by who gave them.",
        reads.feedback,
    ),
    # -- policy, orders, rollout
    Metric(
        "gauge",
        "trimtab_decision",
        "bool",
        ("alias", "action"),
        "1 for the action that the policy last decided on.",
        reads.decision,
    ),
    Metric("gauge", "trimtab_orders", "orders", ("alias", "status"), "Retraining orders by status.", reads.orders),
    Metric(
        "gauge",
        "trimtab_order_status",
        "bool",
        ("alias", "status"),
        "1 for the status of the newest retraining order.",
        reads.order_status,
    ),
    Metric(
        "gauge",
        "trimtab_order_progress_ratio",
        "ratio",
        _A,
        "How far the newest retraining order is.",
        reads.of_alias(lambda s: s.orders[0].progress if s.orders else None),
    ),
    Metric(
        "gauge",
        "trimtab_rollout_weight",
        "ratio",
        _AV,
        "Share of users that the alias gives to a version.",
        reads.weights,
    ),
    Metric(
        "gauge",
        "trimtab_rollout_phase",
        "bool",
        ("alias", "phase"),
        "1 for the phase that the rollout is in.",
        reads.phase,
    ),
    Metric(
        "counter",
        "trimtab_rollout_rolled_back_total",
        "rollouts",
        _A,
        "Rollouts that were undone.",
        reads.of_alias(lambda s: s.rollout.rolled_back if s.rollout else 0),
    ),
    Metric(
        "gauge",
        "trimtab_rollout_last_rolled_back_timestamp_seconds",
        "unix seconds",
        _A,
        "When a rollout was last undone.",
        reads.of_alias(
            lambda s: s.rollout.rolled_back_at.timestamp() if s.rollout and s.rollout.rolled_back_at else None
        ),
    ),
    Metric(
        "gauge",
        "trimtab_adapter_info",
        "bool",
        ("alias", "version", "status", "digest", "parent"),
        "1 for each adapter version, with its place in life and its digest.",
        reads.adapters,
    ),
    # -- the sidecar itself
    Metric(
        "gauge",
        "trimtab_build_info",
        "bool",
        ("version",),
        "1, with the version of Trimtab.",
        lambda _, p: [((p.version,), 1.0)],
    ),
    Metric(
        "gauge",
        "trimtab_start_time_seconds",
        "unix seconds",
        (),
        "When the sidecar started.",
        reads.single(lambda _, p: p.started_at.timestamp()),
    ),
    Metric(
        "gauge",
        "trimtab_resident_memory_bytes",
        "bytes",
        (),
        "Memory that the sidecar holds.",
        reads.single(lambda _, p: p.resident_bytes),
    ),
    Metric(
        "gauge",
        "trimtab_loop_lag_seconds",
        "seconds",
        ("loop",),
        "How long ago a loop last finished a round.",
        lambda _, p: [((loop,), lag) for loop, lag in p.loop_lag_s.items()],
    ),
    Metric(
        "counter",
        "trimtab_loop_faults_total",
        "faults",
        ("loop",),
        "Faults that the outer ring of a loop caught.",
        lambda _, p: [((loop,), n) for loop, n in p.loop_faults.items()],
    ),
)


class _Once(Collector):
    def __init__(self, seen: Snapshot, process: ProcessInfo) -> None:
        self._known = (seen, process)

    def collect(self) -> Iterator[Family]:
        """All families of the table."""
        for metric in METRICS:
            build = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = build(metric.name, metric.help, labels=metric.labels)
            for labels, value in metric.read(*self._known):
                family.add_metric(labels, value)
            yield family

    def describe(self) -> Iterator[Family]:
        """Nothing beforehand: the table has no duplicates, a test sees to it."""
        return iter(())


def render(seen: Snapshot, process: ProcessInfo) -> bytes:
    """The metrics in the Prometheus text format 0.0.4, UTF-8."""
    registry = CollectorRegistry()
    registry.register(_Once(seen, process))
    return generate_latest(registry)


def reference() -> str:
    """The table as Markdown, for the README of this room."""
    lines = ["| metric | type | unit | labels | meaning |", "|---|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        lines.append(f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |")
    return "\n".join(lines) + "\n"
