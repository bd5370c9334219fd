"""Drift: has the traffic changed, since when, and in what (pure).

Lives here: one dashboard, as rows of panels over the metrics of `agent.export.table`.
Comes in: nothing. Goes out: the dashboard as JSON.
Must never know: Grafana's layout (`panels.py`), variables and marks (`frame.py`).
"""

from __future__ import annotations

from dashboards.frame import AV, A, framed
from dashboards.panels import Json, Panel, dashed, variable

DETECTOR = (
    Panel(
        title="Drift evidence against its threshold",
        says="log10 of the sequential detector's statistic: one line, whatever moved. It starts anew after an alarm.",
        queries=(
            (f"max by (version) (trimtab_drift_evidence_log10{{{AV}}})", "{{version}}"),
            (f"max(trimtab_drift_threshold_log10{{{AV}}})", "alarm above this"),
        ),
        width=18,
        overrides=(("alarm above this", dashed("red")),),
    ),
    Panel(
        title="Drift alarms",
        says="Alarms raised so far.",
        queries=((f"sum(trimtab_drift_alarms_total{{{A}}})", "alarms"),),
        kind="stat",
        width=6,
        height=4,
    ),
    Panel(
        title="Since the newest alarm",
        says="How long ago the newest alarm fired.",
        queries=((f"min(time() - trimtab_drift_last_alarm_timestamp_seconds{{{A}}})", "ago"),),
        unit="s",
        kind="stat",
        width=6,
        height=4,
    ),
)
FEATURES = (
    Panel(
        title="What had moved at the newest alarm",
        says="Mean shift of the leading features, in standard deviations of the reference.",
        queries=((f"sort_desc(max by (feature) (trimtab_drift_alarm_shift_sd{{{A}}}))", "{{feature}}"),),
        kind="bargauge",
    ),
    Panel(
        title="Reference",
        says="Exchanges that the detector compares with; after a swap it learns first.",
        queries=((f"max by (version) (trimtab_drift_reference_rows{{{AV}}})", "{{version}}"),),
        low=0,
    ),
)
DISTANCES = (
    Panel(
        title="Farthest features of the newest window",
        says="Distance of each feature from the reference, in the measure picked above; 0 is equal. Never a verdict.",
        queries=((f'topk(15, max by (feature) (trimtab_drift_distance{{{AV},measure="$measure"}}))', "{{feature}}"),),
        kind="bargauge",
        height=12,
    ),
    Panel(
        title="Distances over time",
        says="The same, window after window, for the ten farthest features.",
        queries=((f'topk(10, max by (feature) (trimtab_drift_distance{{{AV},measure="$measure"}}))', "{{feature}}"),),
        low=0,
        height=12,
    ),
)


def drift() -> Json:
    """The dashboard."""
    return framed(
        "trimtab-drift",
        "Trimtab: drift",
        "Has the traffic changed, since when, and in what.",
        (("Detector", DETECTOR), ("Features", FEATURES), ("Distances", DISTANCES)),
        variable("measure", "Measure", f"label_values(trimtab_drift_distance{{{A}}}, measure)"),
    )
