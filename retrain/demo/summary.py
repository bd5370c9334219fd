"""What the story came to: one JSON document, two tables, and whether the loop really closed.

Lives here: counting over what the clients saw, the store's own records, and the last status.
Comes in: a finished loop. Goes out: `summary.json`, rich tables, and the list of promises that were not kept.
Must never know: how to wait or to start anything.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from sqlmodel import select

from agent.store import Store
from agent.store.tables import ExchangeRow
from retrain.demo.loop import Loop
from retrain.demo.story import ALIAS
from retrain.demo.traffic import Answered

RECOVERY_POINTS = 0.05
"""Exact accuracy after the swap may lie at most this far below that of the reference traffic."""


def summarise(loop: Loop, seconds: dict[str, float], prepare_s: float) -> dict[str, Any]:
    """The whole document. Shares in [0, 1], times in seconds, memory in MB."""
    story, traffic = loop.story, loop.traffic
    status = story.status
    first, last = f"{ALIAS}-v1", status["rollout"]["champion"]
    before = [a for a in traffic.answered if a.kind == "reference"]
    drifted = [a for a in traffic.answered if a.kind == "drifted" and a.version == first]
    after = [a for a in traffic.answered if a.kind == "drifted" and a.version == last]
    alarm = story.first_alarm or {}
    unattributed = unattributable(traffic.answered, loop.home)
    return {
        "seconds": {"prepare": round(prepare_s, 1), **seconds, "loop": round(sum(seconds.values()), 1)},
        "exchanges": {
            "sent": traffic.sent,
            "captured": status["capture"]["stored"],
            "lost": status["capture"]["lost"],
            "dropped": status["capture"]["dropped"],
        },
        "failed_requests": traffic.failed,
        "alarm_after_exchanges": alarm["exchange_rowid"] - story.change_rowid if alarm else None,
        "false_alarms": story.false_alarms,
        "alarm": alarm.get("alarm"),
        "quality_reference": _quality(story.reference_quality, before),
        "quality_drifted": _quality(story.drifted_quality, drifted),
        "quality_recovered": _quality(story.recovered_quality, after),
        "judge_auc": loop.estate.judge_auc,
        "heldout_accuracy": loop.estate.heldout_accuracy,
        "labels": {"sent": traffic.feedback_sent, "lost": traffic.feedback_lost},
        "gate": (story.order or {}).get("verdict"),
        "adapters": [{k: a[k] for k in ("name", "status", "digest", "parent")} for a in status["adapters"]],
        "versions_mixed": len(unattributed),
        "unattributed": unattributed,
        "peak_memory_mb": {name: round(mb) for name, mb in sorted(loop.family.peak_mb.items())},
        "agent_idle_mb": story.agent_idle_mb,
    }


def unattributable(answered: Sequence[Answered], home: Path) -> list[dict[str, Any]]:
    """Answers whose version differs between the body, the header and the store, or that no store row explains."""
    store = Store.at(home)
    with store.transaction() as session:
        stored = dict(session.exec(select(ExchangeRow.id, ExchangeRow.version)).all())
    store.close()
    return [
        {"id": a.id, "body": a.version, "header": a.header, "stored": stored.get(a.id), "at_s": round(a.at_s, 2)}
        for a in answered
        if not a.error and not a.version == a.header == stored.get(a.id)
    ]


def broken_promises(summary: dict[str, Any], points: float = RECOVERY_POINTS) -> list[str]:
    """In words, whatever keeps the loop from having closed. Empty: it did. `points`: see RECOVERY_POINTS."""
    said = []
    reference, drifted, recovered = (summary[f"quality_{k}"] for k in ("reference", "drifted", "recovered"))
    if summary["failed_requests"]:
        said.append(f"{summary['failed_requests']} requests failed")
    if summary["exchanges"]["lost"]:
        said.append(f"{summary['exchanges']['lost']} exchanges were lost")
    if summary["alarm_after_exchanges"] is None:
        said.append("no drift alarm")
    if summary["false_alarms"]:
        said.append(f"{summary['false_alarms']} false alarms before the change")
    if (summary["gate"] or {}).get("kind") != "accepted":
        said.append("the gate did not accept the challenger")
    if summary["versions_mixed"]:
        first = summary["unattributed"][0]
        said.append(f"{summary['versions_mixed']} answers cannot be attributed to one version, first {first}")
    if None in (reference["value"], drifted["value"], recovered["value"]):
        said.append("quality was not measured everywhere")
    elif not drifted["high"] < reference["value"]:
        said.append("measured quality did not fall with the drift")
    if recovered["exact_accuracy"] < reference["exact_accuracy"] - points:
        fell = reference["exact_accuracy"] - recovered["exact_accuracy"]
        said.append(f"exact accuracy stayed {fell:.2f} below the reference")
    return said


def write(path: Path, document: dict[str, Any]) -> None:
    """Write JSON so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    scratch.replace(path)


def tables(summary: dict[str, Any]) -> Group:
    """The last thing on the terminal: quality in the three parts of the story, and the rest as a list."""
    quality = Table(header_style="bold")
    for column in ("", "reference", "drifted", "recovered"):
        quality.add_column(column, justify="right" if column else "left")
    phases = [summary[f"quality_{k}"] for k in ("reference", "drifted", "recovered")]
    quality.add_row("measured quality", *(_interval(p) for p in phases))
    quality.add_row("exact accuracy", *(_share(p["exact_accuracy"]) for p in phases))
    quality.add_row("answers", *(str(p["answers"]) for p in phases))
    quality.add_row("labels / judged", *(f"{p['n_truth']} / {p['n_judged']}" for p in phases))
    exchanges = summary["exchanges"]
    rest = Table.grid(padding=(0, 2))
    for name, value in (
        ("sent / captured / lost", f"{exchanges['sent']} / {exchanges['captured']} / {exchanges['lost']}"),
        ("failed requests", summary["failed_requests"]),
        ("alarm after", f"{summary['alarm_after_exchanges']} drifted exchanges"),
        ("false alarms before", summary["false_alarms"]),
        ("gate", (summary["gate"] or {}).get("kind", "-")),
        ("versions mixed", summary["versions_mixed"]),
        ("judge AUC", _share(summary["judge_auc"])),
        ("loop", f"{summary['seconds']['loop'] / 60:.1f} min"),
        ("peak memory", ", ".join(f"{k} {v} MB" for k, v in summary["peak_memory_mb"].items())),
    ):
        rest.add_row(name, str(value))
    return Group(quality, rest)


def _quality(estimate: dict[str, Any] | None, answered: Sequence[Answered]) -> dict[str, Any]:
    good = [a for a in answered if not a.error]
    exact = sum(a.right for a in good) / len(good) if good else 0.0
    keys = ("value", "low", "high", "level", "n_truth", "n_judged", "method")
    measured = {key: (estimate or {}).get(key) for key in keys}
    n = max(measured["n_truth"] or 0, measured["n_judged"] or 0)
    return {**measured, "n": n, "exact_accuracy": round(exact, 4), "answers": len(good)}


def _interval(phase: dict[str, Any]) -> str:
    if phase["value"] is None:
        return "-"
    return f"{phase['value']:.2f} [{phase['low']:.2f}, {phase['high']:.2f}]"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
