"""How fast the demo's story goes, and what happened in it: two records.

In: numbers, statuses. Out: `Pace`, `Story`. Must never know: processes, who tells the story.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ALIAS = "home"


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How much traffic each part of the story gets, and how long it may take."""

    reference: int = 180
    """Exchanges before the change point."""
    fresh: int = 360
    """Exchanges since the onset that an order waits for."""
    recovery: int = 200
    """Exchanges answered by the new version before the story ends."""
    concurrency: int = 8
    busy_per_s: float = 30.0
    """Requests a second that are tried when nothing else needs the machine (in flight: `concurrency`)."""
    calm_per_s: float = 0.5
    """Requests a second while training runs on the same cores."""
    feedback_share: float = 0.2
    """Share of answers that get a truth label from the recogniser, standing in for a person."""
    floor: float = 0.7
    order_max_s: float = 2400.0
    stage_max_s: float = 900.0
    """Patience, not an expectation: on a busy machine all of it takes several times as long."""
    reference_rows: int = 150
    """Exchanges from which the detector learns a new version's reference."""
    step_exchanges: int = 12
    holdout_rows: int = 60
    max_loss: float = 0.15
    """What the gate lets pass on the old slice; so few rows cannot prove less with confidence."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the agent that differ, section by section."""


@dataclass
class Story:
    """What happened, for the summary."""

    status: dict[str, Any] = field(default_factory=dict)
    change_rowid: int = 0
    reference_quality: dict[str, Any] | None = None
    drifted_quality: dict[str, Any] | None = None
    recovered_quality: dict[str, Any] | None = None
    first_alarm: dict[str, Any] | None = None
    false_alarms: int = 0
    order: dict[str, Any] | None = None
    agent_idle_mb: float = 0.0
    evidence: list[dict[str, Any]] = field(default_factory=list)
    quality: list[dict[str, Any]] = field(default_factory=list)
