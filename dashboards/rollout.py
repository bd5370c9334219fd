"""Retraining and rollout: what was decided, what became of it, and who answers now (pure).

Lives here: one dashboard, as rows of panels over the metrics of `agent.export.table`.
Comes in: nothing. Goes out: the dashboard as JSON.
Must never know: Grafana's layout (`panels.py`), variables and marks (`frame.py`).
"""

from __future__ import annotations

from dashboards.frame import AV, A, N, framed
from dashboards.panels import STACKED, STEPPED, Json, Panel

ANSWERED = f"sum by (version) (rate(trimtab_exchanges_total{{{AV}}}[$__rate_interval]))"
FAILED = f'sum by (version) (rate(trimtab_exchanges_total{{{AV},outcome!="complete"}}[$__rate_interval]))'

POLICY = (
    Panel(
        title="Decisions",
        says="The action that the policy last decided on; its reasons are on the status page.",
        queries=((f"max by (action) (trimtab_decision{{{A}}})", "{{action}}"),),
        kind="state-timeline",
    ),
    Panel(
        title="What the decision rests on",
        says="Facts that are true of the last decision; agent/policy/README.md says what each means.",
        queries=((f"max by (fact) (trimtab_decision_fact{{{A}}})", "{{fact}}"),),
        kind="state-timeline",
    ),
    Panel(
        title="Last decision",
        says="How long ago the policy last decided otherwise than before.",
        queries=((f"time() - max(trimtab_decision_timestamp_seconds{{{A}}})", "ago"),),
        unit="s",
        kind="stat",
        width=6,
        height=8,
    ),
    Panel(
        title="Frozen for",
        says="How long ago a person stopped the automation; empty while nobody has.",
        queries=((f"time() - max(trimtab_policy_frozen_timestamp_seconds{{{A}}})", "frozen"),),
        unit="s",
        kind="stat",
        width=6,
        height=8,
    ),
    Panel(
        title="Budgets of the policy",
        says="Share that is used of the GPU-hours and of the judge's money, for those that are set.",
        queries=((f"max by (budget) (trimtab_policy_budget_used_ratio{{{N}}})", "{{budget}}"),),
        unit="percentunit",
        low=0,
        lines=STEPPED,
    ),
    Panel(
        title="Alerts in, messages out",
        says="Wishes that came in by POST /v1/alerts, those that the policy has not answered yet, and what was told.",
        queries=(
            (f"sum by (action) (trimtab_alerts_total{{{N}}})", "asked: {{action}}"),
            (f"sum by (action) (trimtab_alerts_standing{{{N}}})", "standing: {{action}}"),
            (f"sum(trimtab_notifications_sent_total{{{N}}})", "messages sent"),
        ),
        low=0,
        lines=STEPPED,
    ),
)
RETRAINING = (
    Panel(
        title="Newest order",
        says="The status of the newest retraining order.",
        queries=((f"max by (status) (trimtab_order_status{{{A}}}) == 1", "{{status}}"),),
        kind="stat",
        width=6,
        height=4,
    ),
    Panel(
        title="The gate's word",
        says="What the gate said of the newest order's adapter.",
        queries=((f"max by (verdict) (trimtab_order_verdict{{{A}}}) == 1", "{{verdict}}"),),
        kind="stat",
        width=6,
        height=4,
    ),
    Panel(
        title="Progress of the newest order",
        says="From opened to published.",
        queries=((f"max(trimtab_order_progress_ratio{{{A}}})", "progress"),),
        unit="percentunit",
        kind="stat",
        width=6,
        height=4,
    ),
    Panel(
        title="Sign of life",
        says="How long ago the job of the newest order last gave one.",
        queries=((f"min(time() - trimtab_order_heartbeat_timestamp_seconds{{{A}}})", "ago"),),
        unit="s",
        kind="stat",
        width=6,
        height=4,
    ),
    Panel(
        title="Orders",
        says="Retraining orders by status, over all time.",
        queries=((f"sum by (status) (trimtab_orders{{{A}}})", "{{status}}"),),
        low=0,
        width=24,
        lines=STEPPED,
    ),
)
ROLLOUT = (
    Panel(
        title="Who answers",
        says="Share of users that the alias gives to each version.",
        queries=((f"avg by (version) (trimtab_rollout_weight{{{AV}}})", "{{version}}"),),
        unit="percentunit",
        low=0,
        high=1,
        lines=STACKED,
    ),
    Panel(
        title="Phase of the rollout",
        says="Steady, or how far a move from one version to the next is.",
        queries=((f"max by (phase) (trimtab_rollout_phase{{{A}}})", "{{phase}}"),),
        kind="state-timeline",
    ),
    Panel(
        title="Exchanges by version",
        says="What each version really answered; the diamonds are exchanges.",
        queries=((ANSWERED, "{{version}}"),),
        unit="reqps",
        low=0,
    ),
    Panel(
        title="Failed share by version",
        says="Share of exchanges of each version that ended otherwise than complete.",
        queries=((f"{FAILED} / {ANSWERED}", "{{version}}"),),
        unit="percentunit",
        low=0,
    ),
)
ADAPTERS = (
    Panel(
        title="Adapters",
        says="Every adapter version, its place in life, its digest and the version it came from.",
        queries=((f"trimtab_adapter_info{{{A}}}", ""),),
        kind="table",
        width=18,
        hidden=("Time", "Value", "__name__", "job", "instance", "namespace", "pod", "container", "endpoint", "service"),
    ),
    Panel(
        title="Rolled back",
        says="Rollouts that were undone.",
        queries=((f"sum(trimtab_rollout_rolled_back_total{{{A}}})", "rollouts"),),
        kind="stat",
        width=6,
        height=4,
        steps=((None, "green"), (1, "orange")),
    ),
    Panel(
        title="Served is not what was evaluated",
        says="How long ago an adapter was last found to differ; empty when never.",
        queries=((f"min(time() - trimtab_adapter_mismatch_timestamp_seconds{{{A}}})", "ago"),),
        unit="s",
        kind="stat",
        width=6,
        height=4,
        steps=((None, "red"), (86400, "green")),
    ),
)


def rollout() -> Json:
    """The dashboard."""
    return framed(
        "trimtab-rollout",
        "Trimtab: retraining and rollout",
        "What was decided, what became of it, and who answers now.",
        (("Policy", POLICY), ("Retraining", RETRAINING), ("Rollout", ROLLOUT), ("Adapters", ADAPTERS)),
    )
