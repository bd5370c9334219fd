"""Retraining: what was decided and why, and what became of the orders (pure).

Lives here: one dashboard, as rows of panels over the metrics of `agent.export.table`.
Comes in: nothing. Goes out: the dashboard as JSON.
Must never know: Grafana's layout (`panels.py`), variables and marks (`frame.py`).
"""

from __future__ import annotations

from dashboards.frame import A, N, framed
from dashboards.panels import FEW, ON, STEPPED, Json, Panel

RUNS = f'trimtab_order_status{{{A},status="running"}}'
NEWEST_ORDER = Panel(
    title="Newest order",
    says="The status of the newest retraining order.",
    queries=((f"max by (status) (trimtab_order_status{{{A}}}) == 1", "{{status}}"),),
    kind="stat",
    width=6,
    height=4,
    none="none yet",
)
POLICY = (
    Panel(
        title="Decisions",
        says="The action that the policy last decided on; its reasons are on the status page.",
        queries=((f"max by (action) (trimtab_decision{{{A}}})", "{{action}}"),),
        kind="state-timeline",
        none="none yet",
        words=ON,
    ),
    Panel(
        title="What the decision rests on",
        says="Facts that are true of the last decision; agent/policy/README.md says what each means.",
        queries=((f"max by (fact) (trimtab_decision_fact{{{A}}})", "{{fact}}"),),
        kind="state-timeline",
        none="on nothing special",
        words=ON,
    ),
    Panel(
        title="Newest decision, ago",
        says="How long ago the policy last decided otherwise than before.",
        queries=((f"time() - max(trimtab_decision_timestamp_seconds{{{A}}})", "ago"),),
        unit="s",
        kind="stat",
        width=6,
        height=4,
        none="none yet",
    ),
    Panel(
        title="Budgets of the policy",
        says="Share that is used of the GPU-hours and of the judge's money, for those that are set; at 100 % no order "
        "is opened, or the judge rests.",
        queries=((f"max by (budget) (trimtab_policy_budget_used_ratio{{{N}}})", "{{budget}}"),),
        unit="percentunit",
        low=0,
        width=9,
        none="no budget is set",
        lines={**STEPPED, **FEW},
        steps=((None, "green"), (1, "red")),
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
        width=9,
        decimals=0,
        lines={**STEPPED, **FEW},
        sums=("lastNotNull",),
    ),
    Panel(
        title="Frozen for",
        says="How long ago a person stopped the automation (`trimtab policy thaw` lets it go on).",
        queries=((f"time() - max(trimtab_policy_frozen_timestamp_seconds{{{A}}})", "frozen"),),
        unit="s",
        kind="stat",
        width=6,
        height=4,
        none="not frozen",
        steps=((None, "text"), (86400, "orange")),
    ),
)
ORDERS = (
    NEWEST_ORDER,
    Panel(
        title="Progress of the newest order",
        says="From opened to published.",
        queries=((f"max(trimtab_order_progress_ratio{{{A}}})", "progress"),),
        unit="percentunit",
        kind="stat",
        width=6,
        height=4,
        decimals=0,
        none="none yet",
    ),
    Panel(
        title="Sign of life of its job, ago",
        says="How long ago the job that runs now last gave a sign of life.",
        queries=(
            (
                f"min(time() - trimtab_order_heartbeat_timestamp_seconds{{{A}}}) * max({RUNS})",
                "ago",
            ),
        ),
        unit="s",
        kind="stat",
        width=6,
        height=4,
        none="no job runs",
        words={"0": ("no job runs", "text")},
    ),
    Panel(
        title="The gate's word",
        says="What the gate said of the newest order's adapter; check by check: `trimtab eval show`.",
        queries=((f"max by (verdict) (trimtab_order_verdict{{{A}}}) == 1", "{{verdict}}"),),
        kind="stat",
        width=6,
        height=4,
        none="none yet",
    ),
    Panel(
        title="Orders by status, all time",
        says="Retraining orders by where they stand.",
        queries=((f"sum by (status) (trimtab_orders{{{A}}})", "{{status}}"),),
        low=0,
        width=24,
        decimals=0,
        lines={**STEPPED, **FEW},
    ),
)


def retraining() -> Json:
    """The dashboard."""
    return framed(
        "trimtab-retraining",
        "Trimtab: retraining",
        "What was decided and why, and what became of it.",
        (("Policy", POLICY), ("Orders", ORDERS)),
    )
