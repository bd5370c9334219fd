"""The overview: is the model on course, and if not, what is being done (pure).

Lives here: one dashboard, as rows of panels over the metrics of `agent.export.metrics`.
Comes in: nothing. Goes out: the dashboard as JSON.
Must never know: Grafana's layout (`panels.py`).
"""

from __future__ import annotations

from dashboards.panels import Json, Panel, dashboard, dashed, marks, variable

A = 'alias="$alias"'
AV = 'alias="$alias",version=~"$version"'

COURSE = (
    Panel(
        title="Quality",
        says="Share of good answers by version, estimated from judge scores and truth labels.",
        queries=((f"trimtab_quality_estimate{{{AV}}}", "{{version}}"),),
        unit="percentunit",
        kind="stat",
        width=6,
        height=4,
    ),
    Panel(
        title="Drift evidence",
        says="Evidence that the traffic has changed, as a share of what raises an alarm.",
        queries=((f"trimtab_drift_evidence_log10{{{A}}} / trimtab_drift_threshold_log10{{{A}}}", "{{version}}"),),
        unit="percentunit",
        kind="stat",
        width=6,
        height=4,
        steps=((None, "green"), (0.6, "orange"), (1, "red")),
    ),
    Panel(
        title="Drift alarms",
        says="Alarms raised so far.",
        queries=((f"trimtab_drift_alarms_total{{{A}}}", "alarms"),),
        unit="short",
        kind="stat",
        width=4,
        height=4,
    ),
    Panel(
        title="Exchanges lost",
        says="Numbered by a tap but not in the store: dropped, or not landed yet.",
        queries=(("trimtab_capture_lost", "lost"),),
        unit="short",
        kind="stat",
        width=4,
        height=4,
        steps=((None, "green"), (100, "orange")),
    ),
    Panel(
        title="Newest order",
        says="The status of the newest retraining order.",
        queries=((f"trimtab_order_status{{{A}}} == 1", "{{status}}"),),
        unit="short",
        kind="stat",
        width=4,
        height=4,
    ),
)
DRIFT = (
    Panel(
        title="Drift evidence against its threshold",
        says="log10 of the sequential detector's statistic. It falls to the start after an alarm and after a swap.",
        queries=(
            (f"trimtab_drift_evidence_log10{{{AV}}}", "{{version}}"),
            (f"max(trimtab_drift_threshold_log10{{{AV}}})", "alarm above this"),
        ),
        unit="short",
        width=24,
        overrides=(("alarm above this", dashed("red")),),
    ),
)
QUALITY = (
    Panel(
        title="Quality by version",
        says="Estimates of all versions over the floor that the settings ask for.",
        queries=(
            (f"trimtab_quality_estimate{{{AV}}}", "{{version}}"),
            ("max(trimtab_quality_floor)", "floor"),
        ),
        unit="percentunit",
        high=1,
        width=24,
        overrides=(("floor", dashed("red")),),
    ),
    Panel(
        title="Quality of $version, with its interval",
        says="The band is the interval; it narrows with labels and judged answers.",
        queries=(
            (f'trimtab_quality_high{{{A},version="$version"}}', "high"),
            (f'trimtab_quality_estimate{{{A},version="$version"}}', "estimate"),
            (f'trimtab_quality_low{{{A},version="$version"}}', "low"),
        ),
        unit="percentunit",
        high=1,
        custom={"fillOpacity": 0},
        overrides=(
            ("high", {"custom.fillBelowTo": "low", "custom.lineWidth": 0, "custom.fillOpacity": 20}),
            ("low", {"custom.lineWidth": 0}),
        ),
        repeat="version",
    ),
)
ROLLOUT = (
    Panel(
        title="Who answers",
        says="Share of users that the alias gives to each version.",
        queries=((f"trimtab_rollout_weight{{{AV}}}", "{{version}}"),),
        unit="percentunit",
        low=0,
        high=1,
        custom={"stacking": {"mode": "normal", "group": "A"}, "fillOpacity": 40, "lineInterpolation": "stepAfter"},
    ),
    Panel(
        title="Exchanges by version",
        says="What each version really answered.",
        queries=((f"sum by (version) (rate(trimtab_exchanges_total{{{AV}}}[$__rate_interval]))", "{{version}}"),),
        unit="reqps",
        low=0,
    ),
)
CAPTURE = (
    Panel(
        title="Capture",
        says="Exchanges numbered by the taps, stored, dropped and unreadable; the first two should be one line.",
        queries=tuple(
            (f"rate(trimtab_capture_{name}_total[$__rate_interval])", name)
            for name in ("assigned", "stored", "dropped", "unreadable")
        ),
        unit="reqps",
        low=0,
    ),
    Panel(
        title="Failed and abandoned",
        says="Exchanges that ended otherwise than complete.",
        queries=(
            (
                f'sum by (outcome) (rate(trimtab_exchanges_total{{{AV},outcome!="complete"}}[$__rate_interval]))',
                "{{outcome}}",
            ),
        ),
        unit="reqps",
        low=0,
    ),
)
WORK = (
    Panel(
        title="Retraining orders",
        says="Orders by status, over all time.",
        queries=((f"trimtab_orders{{{A}}}", "{{status}}"),),
        unit="short",
        low=0,
        width=8,
    ),
    Panel(
        title="Progress of the newest order",
        says="From opened to published.",
        queries=((f"trimtab_order_progress_ratio{{{A}}}", "progress"),),
        unit="percentunit",
        low=0,
        high=1,
        width=8,
    ),
    Panel(
        title="Judge and labels",
        says="Answers judged and truth labels received.",
        queries=(
            ("rate(trimtab_judge_calls_total[$__rate_interval]) * 60", "judged"),
            ("sum by (source) (rate(trimtab_feedback_total[$__rate_interval])) * 60", "labels: {{source}}"),
        ),
        unit="opm",
        low=0,
        width=8,
    ),
)
SIDECAR = (
    Panel(
        title="Memory of the sidecar",
        says="Resident memory; idle it should stay under 150 MB.",
        queries=(("trimtab_resident_memory_bytes", "resident"),),
        unit="bytes",
        low=0,
        width=8,
    ),
    Panel(
        title="Loops",
        says="How long ago each loop last finished a round.",
        queries=(("trimtab_loop_lag_seconds", "{{loop}}"),),
        unit="s",
        low=0,
        width=8,
    ),
    Panel(
        title="Faults of loops",
        says="What the outer ring of each loop caught, a minute.",
        queries=(("rate(trimtab_loop_faults_total[$__rate_interval]) * 60", "{{loop}}"),),
        unit="opm",
        low=0,
        width=8,
    ),
)


def overview() -> Json:
    """The dashboard."""
    made = dashboard(
        "trimtab-overview",
        "Trimtab: overview",
        "Is the model on course, and if not, what is being done.",
        (
            ("Course", COURSE),
            ("Drift", DRIFT),
            ("Quality", QUALITY),
            ("Rollout", ROLLOUT),
            ("Capture", CAPTURE),
            ("Retraining and judging", WORK),
            ("The sidecar", SIDECAR),
        ),
        (
            variable("alias", "label_values(trimtab_drift_alarms_total, alias)"),
            variable("version", f"label_values(trimtab_exchanges_total{{{A}}}, version)", many=True),
        ),
    )
    made["annotations"]["list"] = [
        marks("drift alarm", f"trimtab_drift_last_alarm_timestamp_seconds{{{A}}} * 1000"),
        marks("rolled back", f"trimtab_rollout_last_rolled_back_timestamp_seconds{{{A}}} * 1000"),
    ]
    return made
