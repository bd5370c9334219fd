"""Drift: has the traffic changed, since when, and in what (pure).

Lives here: one dashboard, as rows of panels over the metrics of `agent.export.table`.
Comes in: nothing. Goes out: the dashboard as JSON.
Must never know: Grafana's layout (`panels.py`), variables and marks (`frame.py`).
"""

from __future__ import annotations

from dashboards.frame import AV, A, framed
from dashboards.panels import Json, Panel, dashed, variable

DISTANCE = f'trimtab_drift_distance{{{AV},measure="$measure"}}'
NOW = f"max by (feature) ({DISTANCE})"
LAST = f"max by (feature) ({DISTANCE} @ end())"
EVIDENCE = Panel(
    title="Drift evidence (log10) against its threshold",
    says="The sequential detector's statistic: one line, whatever moved, at its highest of five minutes, so that no "
    "peak falls between two scrapes. It begins anew after an alarm and after a swap; the red mark is the alarm.",
    queries=(
        (f"max by (version) (trimtab_drift_evidence_peak_log10{{{AV}}})", "{{version}}"),
        (f"max(trimtab_drift_threshold_log10{{{AV}}})", "alarm above this"),
    ),
    width=18,
    none="no reference yet",
    overrides=(("alarm above this", dashed("red")),),
)
NEWEST_ALARM = Panel(
    title="Newest drift alarm, ago",
    says="How long ago the traffic was last found to have changed: orange for an hour.",
    queries=((f"min(time() - trimtab_drift_last_alarm_timestamp_seconds{{{A}}})", "ago"),),
    unit="s",
    kind="stat",
    width=6,
    height=4,
    none="never",
    steps=((None, "orange"), (3600, "text")),
)
DETECTOR = (
    EVIDENCE,
    NEWEST_ALARM,
    Panel(
        title="Drift alarms, all time",
        says="Alarms raised so far.",
        queries=((f"sum(trimtab_drift_alarms_total{{{A}}})", "alarms"),),
        kind="stat",
        width=6,
        height=4,
    ),
)
FEATURES = (
    Panel(
        title="What had moved at the newest alarm",
        says="How far the mean of each leading feature had moved, in standard deviations of the reference; which way, "
        "and typical texts, are on the status page.",
        queries=((f"sort_desc(max by (feature) (abs(trimtab_drift_alarm_shift_sd{{{A}}})))", "{{feature}}"),),
        unit="suffix: sd",
        kind="bargauge",
        low=0,
        none="no alarm so far",
    ),
    Panel(
        title="Exchanges in the reference",
        says="Exchanges that the detector compares with. It learns them first, at the start and after a swap; until it "
        "has them all it cannot raise an alarm.",
        queries=((f"max by (version) (trimtab_drift_reference_rows{{{AV}}})", "{{version}}"),),
        low=0,
        none="no reference yet",
    ),
)
DISTANCES = (
    Panel(
        title="Farthest features of the newest window ($measure)",
        says="Distance of each feature from the reference, in the measure picked above; 0 is equal, and stands "
        "while a new version's reference is learnt. Never a verdict: that is the detector's.",
        queries=((f"topk(15, {NOW})", "{{feature}}"),),
        kind="bargauge",
        height=12,
        low=0,
        none="no window yet",
    ),
    Panel(
        title="Distances over time ($measure)",
        says="The same, window after window, for the ten that are farthest at the end of the time shown.",
        queries=((f"{NOW} and topk(10, {LAST})", "{{feature}}"),),
        low=0,
        height=12,
        none="no window yet",
        lines={"fill_opacity": 0},
        sums=("lastNotNull", "max"),
    ),
)


def drift() -> Json:
    """The dashboard. Its measure begins with psi, which is told of every feature."""
    return framed(
        "trimtab-drift",
        "Trimtab: drift",
        "Has the traffic changed, since when, and in what.",
        (("Detector", DETECTOR), ("Features", FEATURES), ("Distances", DISTANCES)),
        variable("measure", "Measure", f"label_values(trimtab_drift_distance{{{A}}}, measure)", begins="psi"),
    )
