"""The overview: is the model on course, and if not, what is being done (pure).

Lives here: one dashboard, as rows of panels over the metrics of `agent.export.table` and the alerts of `alerts/`.
Comes in: nothing. Goes out: the dashboard as JSON.
Must never know: Grafana's layout (`panels.py`), variables and marks (`frame.py`).
"""

from __future__ import annotations

from dataclasses import replace

from dashboards.drift import EVIDENCE, NEWEST_ALARM
from dashboards.frame import AV, GONE, A, N, firing, framed
from dashboards.panels import FEW, Json, Panel, coloured, dashed, worded
from dashboards.retraining import NEWEST_ORDER
from dashboards.rollout import EXCHANGES, WHO_ANSWERS

SHARE = f"trimtab_drift_evidence_log10{{{AV}}} / trimtab_drift_threshold_log10{{{AV}}}"
SEVERITIES = {"critical": ("critical", "red"), "warning": ("warning", "orange")}
FAILED = f'trimtab_exchanges_total{{{AV},outcome!="complete"}}'
BEGIN = """
- **An alert fires**: its name is a heading of the [runbook](${runbook}), which says what it means and what to do.
- **Drift or quality**: the [status page](${status_page}) says what moved, shows texts, and gives the reasons of
  the decision. Retraining and rollback go by themselves unless the decision says what it waits for.
- **Nothing is red or orange**: nothing to do.
"""

NOW = (
    Panel(
        title="Alerts firing",
        says="Trimtab's own alerts. Also 0 where the rules of alerts/ are not loaded.",
        queries=tuple((f"count({firing(severity)}) or vector(0)", severity) for severity in ("critical", "warning")),
        kind="stat",
        width=4,
        height=4,
        steps=((None, "green"), (1, "red")),
        overrides=(("warning", {"thresholds": coloured(((None, "green"), (1, "orange"))).build()}),),
    ),
    Panel(
        title="Quality",
        says="Share of good answers of each version that is not retired, estimated from judge scores and truth labels.",
        queries=((f"avg by (version) (trimtab_quality_estimate{{{AV}}}) {GONE}", "{{version}}"),),
        unit="percentunit",
        kind="stat",
        width=5,
        height=4,
        none="not yet known",
    ),
    Panel(
        title="Evidence of drift",
        says="100 % raises an alarm; the detector then begins anew at 0, so look at the newest alarm too. It learns "
        "its reference first, at the start and after a swap.",
        queries=(
            (
                f"max by (version) ({SHARE}) {GONE}",
                "{{version}}",
            ),
        ),
        unit="percentunit",
        kind="stat",
        width=5,
        height=4,
        decimals=0,
        none="learning",
        steps=((None, "green"), (0.6, "orange"), (1, "red")),
    ),
    replace(NEWEST_ALARM, width=5),
    Panel(
        title="Decision",
        says="What the policy last decided; its reasons are on the status page.",
        queries=((f"max by (action) (trimtab_decision{{{A}}}) == 1", "{{action}}"),),
        kind="stat",
        width=5,
        height=4,
        none="none yet",
    ),
    Panel(title="Where to begin", says=BEGIN, kind="text", width=9, height=6),
    Panel(
        title="Which alerts",
        says="What fires, how bad it is, and since when. Each name is a heading of the runbook.",
        queries=((f"1000 * (max by (alertname, severity) (ALERTS_FOR_STATE{{{N}}}) and {firing()})", ""),),
        kind="table",
        width=9,
        height=6,
        none="none fires",
        columns={"alertname": "alert", "severity": "severity", "Value": "since"},
        overrides=(
            ("alert", {"links": [{"title": "What to do", "url": "${runbook}", "targetBlank": True}]}),
            ("severity", {"mappings": [worded(SEVERITIES)], "custom.cellOptions": {"type": "color-text"}}),
            ("since", {"unit": "dateTimeFromNow"}),
        ),
    ),
    replace(NEWEST_ORDER, width=3, height=6),
    Panel(
        title="Taps heard, ago",
        says="A tap that is connected speaks every ten seconds, traffic or not; never where exchanges come "
        "in by POST alone.",
        queries=((f"min(time() - trimtab_capture_last_seen_timestamp_seconds{{{N}}})", "ago"),),
        unit="s",
        kind="stat",
        width=3,
        height=3,
        decimals=0,
        none="never",
        steps=((None, "green"), (60, "orange"), (300, "red")),
    ),
    Panel(
        title="Exchanges lost",
        says="Numbered by a tap but not in the store: dropped, or not landed yet.",
        queries=((f"sum(trimtab_capture_lost{{{N}}})", "lost"),),
        kind="stat",
        width=3,
        height=3,
        steps=((None, "green"), (100, "orange")),
    ),
)
TRENDS = (
    Panel(
        title="Quality by version",
        says="Estimates over the floor that the settings ask for. How sure they are: the quality dashboard.",
        queries=(
            (f"avg by (version) (trimtab_quality_estimate{{{AV}}})", "{{version}}"),
            (f"max(trimtab_quality_floor{{{N}}})", "floor"),
        ),
        unit="percentunit",
        high=1,
        none="no labels and no judge scores yet",
        lines={"axis_soft_min": 0.5},
        overrides=(("floor", dashed("red")),),
    ),
    replace(EVIDENCE, width=12),
    WHO_ANSWERS,
    EXCHANGES,
)
CAPTURE = (
    Panel(
        title="Exchanges captured",
        says="Exchanges numbered by the taps, stored, dropped, unreadable, and stored without text for want of room; "
        "the first two should be one line, the others 0.",
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
        lines=FEW,
    ),
    Panel(
        title="Exchanges failed or abandoned",
        says="Exchanges that ended otherwise than complete: all of them, and by how they ended. The diamonds are "
        "exchanges; their height means nothing.",
        queries=(
            (
                f"sum(rate({FAILED}[$__rate_interval])) or 0 * count(trimtab_build_info{{{N}}})",
                "all",
            ),
            (f"sum by (outcome) (rate({FAILED}[$__rate_interval]))", "{{outcome}}"),
        ),
        unit="reqps",
        low=0,
        width=8,
        diamonds=True,
        lines=FEW,
    ),
    Panel(
        title="Taps connected, exchanges waiting",
        says="A tap sits in each vLLM. Waiting are exchanges that have arrived and are not stored yet.",
        queries=(
            (f"sum(trimtab_capture_taps{{{N}}})", "taps"),
            (f"sum(trimtab_intake_queue_exchanges{{{N}}})", "waiting"),
        ),
        low=0,
        width=8,
        decimals=0,
        lines=FEW,
    ),
)
SIDECAR = (
    Panel(
        title="Memory",
        says="Resident memory (idle it should stay under 150 MB), and what has arrived and is not stored yet (at "
        "16 MiB the taps are made to wait).",
        queries=(
            (f"max(trimtab_resident_memory_bytes{{{N}}})", "memory"),
            (f"sum(trimtab_intake_queue_bytes{{{N}}})", "waiting"),
        ),
        unit="bytes",
        low=0,
        width=8,
    ),
    Panel(
        title="Database",
        says="Its size, and what the settings allow it (capture.keep_bytes).",
        queries=(
            (f"max(trimtab_database_bytes{{{N}}})", "size"),
            (f"max(trimtab_database_limit_bytes{{{N}}})", "at most"),
        ),
        unit="bytes",
        low=0,
        width=8,
        overrides=(("at most", dashed("red")),),
    ),
    Panel(
        title="Sidecars by version",
        says="How many sidecars answer the scrape, and what they run.",
        queries=((f"count by (version) (trimtab_build_info{{{N}}})", "{{version}}"),),
        kind="stat",
        width=4,
        height=4,
        none="none answers",
    ),
    Panel(
        title="Texts of exchanges",
        says="Paused while no texts are stored, because the disk has no room.",
        queries=((f"max(trimtab_text_paused{{{N}}})", "paused"),),
        kind="stat",
        width=4,
        height=4,
        words={"0": ("stored", "green"), "1": ("paused", "red")},
    ),
    Panel(
        title="Series left out of /metrics",
        says="Series that were not exported, because their metric has so many.",
        queries=((f"max(trimtab_export_left_out{{{N}}})", "series"),),
        kind="stat",
        width=8,
        height=4,
    ),
    Panel(
        title="Faults a minute",
        says="What loops caught, writes that the store refused, damaged frames, messages not delivered.",
        queries=(
            (f"sum by (loop) (rate(trimtab_loop_faults_total{{{N}}}[$__rate_interval])) * 60", "{{loop}}"),
            (f"sum(rate(trimtab_store_faults_total{{{N}}}[$__rate_interval])) * 60", "store"),
            (f"sum(rate(trimtab_intake_corrupt_total{{{N}}}[$__rate_interval])) * 60", "frames"),
            (f"sum(rate(trimtab_notifications_failed_total{{{N}}}[$__rate_interval])) * 60", "messages"),
        ),
        low=0,
        width=8,
        lines=FEW,
        sums=("max",),
    ),
    Panel(
        title="Loops: since the last round",
        says="How long ago each loop last finished a round: a saw as high as its period. One that only rises hangs, or "
        "fails each time.",
        queries=((f"max by (loop) (trimtab_loop_lag_seconds{{{N}}})", "{{loop}}"),),
        unit="s",
        low=0,
        width=8,
        sums=("lastNotNull", "max"),
    ),
    Panel(
        title="Loops: how long a round takes",
        says="The last round of each loop, and the longest that the event loop, which reads from the taps, was kept "
        "waiting in the last minute.",
        queries=(
            (f"max by (loop) (trimtab_loop_round_seconds{{{N}}})", "{{loop}}"),
            (f"max(trimtab_event_loop_lag_seconds{{{N}}})", "event loop"),
        ),
        unit="s",
        low=0,
        width=8,
        sums=("max", "lastNotNull"),
    ),
)


def overview() -> Json:
    """The dashboard."""
    return framed(
        "trimtab-overview",
        "Trimtab: overview",
        "Is the model on course, and if not, what is being done.",
        (("Now", NOW), ("Course", TRENDS), ("Capture", CAPTURE), ("The sidecar", SIDECAR)),
    )
