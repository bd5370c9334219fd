"""The overview: is the model on course, and if not, what is being done (pure).

Lives here: one dashboard, as rows of panels over the metrics of `agent.export.table`.
Comes in: nothing. Goes out: the dashboard as JSON.
Must never know: Grafana's layout (`panels.py`), variables and marks (`frame.py`).
"""

from __future__ import annotations

from dashboards.frame import AV, A, N, framed
from dashboards.panels import STACKED, Json, Panel, dashed

COURSE = (
    Panel(
        title="Quality",
        says="Share of good answers by version, estimated from judge scores and truth labels.",
        queries=((f"avg by (version) (trimtab_quality_estimate{{{AV}}})", "{{version}}"),),
        unit="percentunit",
        kind="stat",
        width=6,
        height=4,
    ),
    Panel(
        title="Drift evidence",
        says="Evidence that the traffic has changed, as a share of what raises an alarm.",
        queries=(
            (
                f"max by (version) (trimtab_drift_evidence_log10{{{A}}} / trimtab_drift_threshold_log10{{{A}}})",
                "{{version}}",
            ),
        ),
        unit="percentunit",
        kind="stat",
        width=6,
        height=4,
        steps=((None, "green"), (0.6, "orange"), (1, "red")),
    ),
    Panel(
        title="Decision",
        says="What the policy last decided; its reasons are on the status page.",
        queries=((f"max by (action) (trimtab_decision{{{A}}}) == 1", "{{action}}"),),
        kind="stat",
        width=4,
        height=4,
    ),
    Panel(
        title="Exchanges lost",
        says="Numbered by a tap but not in the store: dropped, or not landed yet.",
        queries=((f"sum(trimtab_capture_lost{{{N}}})", "lost"),),
        kind="stat",
        width=4,
        height=4,
        steps=((None, "green"), (100, "orange")),
    ),
    Panel(
        title="Newest order",
        says="The status of the newest retraining order.",
        queries=((f"max by (status) (trimtab_order_status{{{A}}}) == 1", "{{status}}"),),
        kind="stat",
        width=4,
        height=4,
    ),
)
TRENDS = (
    Panel(
        title="Quality by version",
        says="Estimates over the floor that the settings ask for.",
        queries=(
            (f"avg by (version) (trimtab_quality_estimate{{{AV}}})", "{{version}}"),
            (f"max(trimtab_quality_floor{{{N}}})", "floor"),
        ),
        unit="percentunit",
        high=1,
        overrides=(("floor", dashed("red")),),
    ),
    Panel(
        title="Drift evidence against its threshold",
        says="log10 of the sequential detector's statistic. It falls to the start after an alarm and after a swap.",
        queries=(
            (f"max by (version) (trimtab_drift_evidence_log10{{{AV}}})", "{{version}}"),
            (f"max(trimtab_drift_threshold_log10{{{AV}}})", "alarm above this"),
        ),
        overrides=(("alarm above this", dashed("red")),),
    ),
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
        title="Exchanges by version",
        says="What each version really answered; the diamonds are exchanges.",
        queries=((f"sum by (version) (rate(trimtab_exchanges_total{{{AV}}}[$__rate_interval]))", "{{version}}"),),
        unit="reqps",
        low=0,
    ),
)
CAPTURE = (
    Panel(
        title="Capture",
        says="Exchanges numbered by the taps, stored, dropped, unreadable, and stored without text for want of room; "
        "the first two should be one line.",
        queries=(
            *(
                (f"sum(rate(trimtab_capture_{name}_total{{{N}}}[$__rate_interval]))", name)
                for name in ("assigned", "stored", "dropped", "unreadable")
            ),
            (f"sum(rate(trimtab_text_dropped_total{{{N}}}[$__rate_interval]))", "without text"),
        ),
        unit="reqps",
        low=0,
        width=8,
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
        width=8,
    ),
    Panel(
        title="Taps and queue",
        says="Taps connected, and exchanges that have arrived and are not stored yet.",
        queries=(
            (f"sum(trimtab_capture_taps{{{N}}})", "taps"),
            (f"sum(trimtab_intake_queue_exchanges{{{N}}})", "waiting"),
        ),
        low=0,
        width=8,
    ),
)
SIDECAR = (
    Panel(
        title="Memory and database",
        says="Resident memory (idle it should stay under 150 MB), the database and what the settings allow it, and "
        "what has arrived and is not stored yet (at 16 MiB the taps are made to wait).",
        queries=(
            (f"max(trimtab_resident_memory_bytes{{{N}}})", "memory"),
            (f"max(trimtab_database_bytes{{{N}}})", "database"),
            (f"max(trimtab_database_limit_bytes{{{N}}})", "database, at most"),
            (f"sum(trimtab_intake_queue_bytes{{{N}}})", "waiting"),
        ),
        unit="bytes",
        low=0,
        width=8,
        overrides=(("database, at most", dashed("red")),),
    ),
    Panel(
        title="Loops",
        says="How long ago each loop last finished a round, how long that took, and how long the event loop waited.",
        queries=(
            (f"max by (loop) (trimtab_loop_lag_seconds{{{N}}})", "{{loop}}"),
            (f"max by (loop) (trimtab_loop_round_seconds{{{N}}})", "{{loop}}: its round"),
            (f"max(trimtab_event_loop_lag_seconds{{{N}}})", "event loop"),
        ),
        unit="s",
        low=0,
        width=8,
    ),
    Panel(
        title="Faults",
        says="What loops caught, writes that the store refused, damaged frames, messages not delivered; a minute.",
        queries=(
            (f"sum by (loop) (rate(trimtab_loop_faults_total{{{N}}}[$__rate_interval])) * 60", "{{loop}}"),
            (f"sum(rate(trimtab_store_faults_total{{{N}}}[$__rate_interval])) * 60", "store"),
            (f"sum(rate(trimtab_intake_corrupt_total{{{N}}}[$__rate_interval])) * 60", "frames"),
            (f"sum(rate(trimtab_notifications_failed_total{{{N}}}[$__rate_interval])) * 60", "messages"),
        ),
        unit="opm",
        low=0,
        width=8,
    ),
    Panel(
        title="Texts",
        says="1 while no texts are stored, because the disk has no room.",
        queries=((f"max(trimtab_text_paused{{{N}}})", "paused"),),
        kind="stat",
        width=8,
        height=4,
        steps=((None, "green"), (1, "red")),
    ),
    Panel(
        title="Series left out",
        says="Series that were not exported, because their metric has so many.",
        queries=((f"max(trimtab_export_left_out{{{N}}})", "series"),),
        kind="stat",
        width=8,
        height=4,
    ),
    Panel(
        title="Version of Trimtab",
        says="What the sidecars run.",
        queries=((f"count by (version) (trimtab_build_info{{{N}}})", "{{version}}"),),
        kind="stat",
        width=8,
        height=4,
    ),
)


def overview() -> Json:
    """The dashboard."""
    return framed(
        "trimtab-overview",
        "Trimtab: overview",
        "Is the model on course, and if not, what is being done.",
        (("Course", COURSE), ("Trends", TRENDS), ("Capture", CAPTURE), ("The sidecar", SIDECAR)),
    )
