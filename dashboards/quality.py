"""Quality: how good are the answers, how sure is that, and what does knowing it cost (pure).

Lives here: one dashboard, as rows of panels over the metrics of `agent.export.table` and the recordings of `alerts/`.
Comes in: nothing. Goes out: the dashboard as JSON.
Must never know: Grafana's layout (`panels.py`), variables and marks (`frame.py`).
"""

from __future__ import annotations

from dashboards.frame import AV, A, N, framed
from dashboards.panels import Json, Panel, dashed

ONE = f'{A},version="$version"'
ESTIMATE = (
    Panel(
        title="Quality by version",
        says="Estimates of all versions over the floor and the objective of the settings.",
        queries=(
            (f"avg by (version) (trimtab_quality_estimate{{{AV}}})", "{{version}}"),
            (f"max(trimtab_quality_floor{{{N}}})", "floor"),
            (f"max(trimtab_quality_objective{{{N}}})", "objective"),
        ),
        unit="percentunit",
        high=1,
        width=24,
        overrides=(("floor", dashed("red")), ("objective", dashed("green"))),
    ),
    Panel(
        title="Quality of $version, with its interval",
        says="The band is the interval; it narrows with labels and judged answers.",
        queries=(
            (f"avg(trimtab_quality_high{{{ONE}}})", "high"),
            (f"avg(trimtab_quality_estimate{{{ONE}}})", "estimate"),
            (f"avg(trimtab_quality_low{{{ONE}}})", "low"),
        ),
        unit="percentunit",
        high=1,
        lines={"fill_opacity": 0},
        overrides=(
            ("high", {"custom.fillBelowTo": "low", "custom.lineWidth": 0, "custom.fillOpacity": 20}),
            ("low", {"custom.lineWidth": 0}),
        ),
        repeat="version",
    ),
)
BUDGET = (
    Panel(
        title="Error budget: how fast it burns",
        says="1 uses up 30 days' budget of bad answers in 30 days. Needs the recording rules of alerts/.",
        queries=tuple(
            (f"max(trimtab:quality_budget_burn:{window}{{{A}}})", f"over {window}") for window in ("30m", "6h", "3d")
        ),
        low=0,
        width=18,
        steps=((None, "green"), (1, "orange"), (3, "red")),
    ),
    Panel(
        title="Width of the interval",
        says="How sure the estimate is: the whole interval from its lower to its upper end.",
        queries=((f"max by (version) (trimtab_quality_high{{{AV}}} - trimtab_quality_low{{{AV}}})", "{{version}}"),),
        unit="percentunit",
        kind="stat",
        width=6,
    ),
)
EVIDENCE = (
    Panel(
        title="What the estimates rest on",
        says="Truth labels that anchor each estimate, and judge scores that narrow it.",
        queries=(
            (f"max by (version) (trimtab_quality_truth_labels{{{AV}}})", "labels: {{version}}"),
            (f"max by (version) (trimtab_quality_judged_answers{{{AV}}})", "judged: {{version}}"),
        ),
        low=0,
    ),
    Panel(
        title="Labels by source",
        says="Truth labels received a minute, by who gave them; the diamonds are exchanges.",
        queries=((f"sum by (source) (rate(trimtab_feedback_total{{{N}}}[$__rate_interval])) * 60", "{{source}}"),),
        unit="opm",
        low=0,
    ),
)
JUDGE = (
    Panel(
        title="Judge",
        says="Answers chosen for the judge, scored by it, left out for want of budget, and failed; a minute.",
        queries=tuple(
            (f"sum(rate(trimtab_judge_{name}_total{{{N}}}[$__rate_interval])) * 60", legend)
            for name, legend in (
                ("chosen", "chosen"), ("calls", "scored"), ("over_budget", "over budget"), ("failed", "failed"),
            )
        ),
        unit="opm",
        low=0,
    ),
    Panel(
        title="Budget left",
        says="Calls that the judge's budget allows at this moment; at 0 the next answers stay unjudged.",
        queries=((f"min(trimtab_judge_budget_left{{{N}}})", "calls"),),
        low=0,
        width=6,
    ),
    Panel(
        title="Tokens",
        says="Tokens that the judge costs, a second.",
        queries=((f"sum(rate(trimtab_judge_tokens_total{{{N}}}[$__rate_interval]))", "tokens a second"),),
        low=0,
        width=6,
    ),
    Panel(
        title="Judge is set",
        says="1 when the settings name a judge.",
        queries=((f"max(trimtab_judge_enabled{{{N}}})", "enabled"),),
        kind="stat",
        width=12,
        height=4,
    ),
    Panel(
        title="Last score",
        says="How long ago the judge last scored an answer.",
        queries=((f"min(time() - trimtab_judge_last_grade_timestamp_seconds{{{N}}})", "ago"),),
        unit="s",
        kind="stat",
        width=12,
        height=4,
    ),
)  # fmt: skip


def quality() -> Json:
    """The dashboard."""
    return framed(
        "trimtab-quality",
        "Trimtab: quality",
        "How good the answers are, how sure that is, and what knowing it costs.",
        (("Estimate", ESTIMATE), ("Error budget", BUDGET), ("Evidence", EVIDENCE), ("Judge", JUDGE)),
    )
