"""Rollout: who answers now, on the way to whom, and how well that goes (pure).

Lives here: one dashboard, as rows of panels over the metrics of `agent.export.table`.
Comes in: nothing. Goes out: the dashboard as JSON.
Must never know: Grafana's layout (`panels.py`), variables and marks (`frame.py`).
"""

from __future__ import annotations

from dashboards.frame import AV, A, framed
from dashboards.panels import ON, STACKED, Json, Panel

ANSWERED = f"sum by (version) (rate(trimtab_exchanges_total{{{AV}}}[$__rate_interval]))"
FAILED = f'sum by (version) (rate(trimtab_exchanges_total{{{AV},outcome!="complete"}}[$__rate_interval]))'

WHO_ANSWERS = Panel(
    title="Who answers",
    says="Share of users that the alias gives to each version.",
    queries=((f"avg by (version) (trimtab_rollout_weight{{{AV}}})", "{{version}}"),),
    unit="percentunit",
    low=0,
    high=1,
    none="no champion is named: Trimtab only observes",
    lines=STACKED,
)
EXCHANGES = Panel(
    title="Exchanges by version",
    says="What each version really answered. The diamonds are exchanges; their height means nothing.",
    queries=((ANSWERED, "{{version}}"),),
    unit="reqps",
    low=0,
    none="no exchange so far",
    diamonds=True,
)
ROLLOUT = (
    WHO_ANSWERS,
    Panel(
        title="Phase of the rollout",
        says="Steady, or how far a move from one version to the next is.",
        queries=((f"max by (phase) (trimtab_rollout_phase{{{A}}})", "{{phase}}"),),
        kind="state-timeline",
        none="no rollout so far",
        words=ON,
    ),
    EXCHANGES,
    Panel(
        title="Failed share by version",
        says="Share of exchanges of each version that ended otherwise than complete.",
        queries=((f"({FAILED} or 0 * {ANSWERED}) / ({ANSWERED} > 0)", "{{version}}"),),
        unit="percentunit",
        low=0,
        none="no exchange so far",
        lines={"axis_soft_max": 0.1},
    ),
)
SHORT = f'label_replace(trimtab_adapter_info{{{A}}}, "digest", "$1", "digest", "(.{{0,12}}).*")'
ADAPTERS = (
    Panel(
        title="Adapters",
        says="Every adapter version, its place in life, the version it came from, and the beginning of its digest.",
        queries=(
            (
                f"max by (version, status, parent, digest) ({SHORT})",
                "",
            ),
        ),
        kind="table",
        width=18,
        none="none is known",
        columns={"version": "version", "status": "status", "parent": "came from", "digest": "digest"},
    ),
    Panel(
        title="Rolled back, all time",
        says="Rollouts that were undone; the marks say when.",
        queries=((f"sum(trimtab_rollout_rolled_back_total{{{A}}})", "rollouts"),),
        kind="stat",
        width=6,
        height=4,
    ),
    Panel(
        title="Served is not what was evaluated, ago",
        says="How long ago an adapter was last found to differ: red for a day.",
        queries=((f"min(time() - trimtab_adapter_mismatch_timestamp_seconds{{{A}}})", "ago"),),
        unit="s",
        kind="stat",
        width=6,
        height=4,
        none="never",
        steps=((None, "red"), (86400, "text")),
    ),
)


def rollout() -> Json:
    """The dashboard."""
    return framed(
        "trimtab-rollout",
        "Trimtab: rollout",
        "Who answers now, on the way to whom, and how well that goes.",
        (("Rollout", ROLLOUT), ("Adapters", ADAPTERS)),
    )
