"""Quality: how good are the answers, how sure is that, and what does knowing it cost (pure).

Lives here: one dashboard, as rows of panels over the metrics of `agent.export.table` and the recordings of `alerts/`.
Comes in: nothing. Goes out: the dashboard as JSON.
Must never know: Grafana's layout (`panels.py`), variables and marks (`frame.py`).
"""

from __future__ import annotations

from dashboards.frame import AV, GONE, A, N, framed
from dashboards.panels import FEW, Json, Panel, dashed, fixed

ONE = f'{A},version="$version"'
NO_ESTIMATE = "no labels and no judge scores yet"
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
        none=NO_ESTIMATE,
        lines={"axis_soft_min": 0.5},
        overrides=(("floor", dashed("red")), ("objective", dashed("text"))),
    ),
    Panel(
        title="Quality of $version, with its interval",
        says="The band is the interval (95 % by default); it narrows with labels and judged answers.",
        queries=(
            (f"avg(trimtab_quality_high{{{ONE}}})", "high"),
            (f"avg(trimtab_quality_estimate{{{ONE}}})", "estimate"),
            (f"avg(trimtab_quality_low{{{ONE}}})", "low"),
        ),
        unit="percentunit",
        high=1,
        none=NO_ESTIMATE,
        lines={"fill_opacity": 0, "axis_soft_min": 0.5},
        overrides=(
            ("high", {"custom.fillBelowTo": "low", "custom.lineWidth": 0, "custom.fillOpacity": 20, **fixed("blue")}),
            ("estimate", fixed("blue")),
            ("low", {"custom.lineWidth": 0, **fixed("blue")}),
        ),
        width=24,
        repeat="version",
    ),
)
BUDGET = (
    Panel(
        title="Error budget: how many times as fast as allowed it burns",
        says="1 (orange) uses up 30 days' budget of bad answers in 30 days; at 3 (red) over six hours an alert fires. "
        "In the first days the long windows hold little and say the same as the short one.",
        queries=tuple(
            (f"max(trimtab:quality_budget_burn:{window}{{{A}}})", f"over {window}") for window in ("30m", "6h", "3d")
        ),
        low=0,
        width=18,
        none="no quality yet, or the recording rules of alerts/ are not loaded",
        lines={"axis_soft_max": 1.2, "fill_opacity": 0},
        steps=((None, "green"), (1, "orange"), (3, "red")),
    ),
    Panel(
        title="Width of the interval",
        says="How sure the estimate is: the whole interval from its lower to its upper end. Wide: send labels.",
        queries=(
            (f"max by (version) (trimtab_quality_high{{{AV}}} - trimtab_quality_low{{{AV}}}) {GONE}", "{{version}}"),
        ),
        unit="percentunit",
        kind="stat",
        width=6,
        decimals=0,
        none="none yet",
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
        none=NO_ESTIMATE,
    ),
    Panel(
        title="Labels a minute by source",
        says="Truth labels received, by who gave them. The diamonds are exchanges; their height means nothing.",
        queries=((f"sum by (source) (rate(trimtab_feedback_total{{{N}}}[$__rate_interval])) * 60", "{{source}}"),),
        low=0,
        none="no label so far: POST /v1/feedback",
        diamonds=True,
        lines=FEW,
    ),
)
JUDGE = (
    Panel(
        title="Answers a minute for the judge",
        says="Answers chosen for the judge, scored by it, left out for want of budget, and failed.",
        queries=tuple(
            (f"sum(rate(trimtab_judge_{name}_total{{{N}}}[$__rate_interval])) * 60", legend)
            for name, legend in (
                ("chosen", "chosen"), ("calls", "scored"), ("over_budget", "over budget"), ("failed", "failed"),
            )
        ),
        low=0,
        lines=FEW,
    ),
    Panel(
        title="Judge's calls left",
        none="no judge is set",
        says="Calls that the judge's budget allows at this moment; at 0 the next answers stay unjudged.",
        queries=((f"min(trimtab_judge_budget_left{{{N}}})", "calls"),),
        low=0,
        decimals=0,
        width=6,
        lines=FEW,
    ),
    Panel(
        title="Judge's tokens a second",
        says="Tokens that the judge costs.",
        queries=((f"sum(rate(trimtab_judge_tokens_total{{{N}}}[$__rate_interval]))", "tokens"),),
        low=0,
        width=6,
        lines=FEW,
    ),
    Panel(
        title="Judge",
        says="Whether the settings name one (quality.judge_model).",
        queries=((f"max(trimtab_judge_enabled{{{N}}})", "enabled"),),
        kind="stat",
        width=12,
        height=4,
        words={"0": ("none is set", "text"), "1": ("set", "green")},
    ),
    Panel(
        title="Newest score, ago",
        says="How long ago the judge last scored an answer.",
        queries=((f"min(time() - trimtab_judge_last_grade_timestamp_seconds{{{N}}})", "ago"),),
        unit="s",
        kind="stat",
        width=12,
        height=4,
        none="never",
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
