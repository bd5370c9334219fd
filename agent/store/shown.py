"""What people and monitors are shown, as frozen records (pure).

Lives here: `Snapshot` and the records in it; how they become JSON.
Comes in: nothing. Goes out: plain data for the status page, the metrics, `trimtab status` and the demo.
Must never know: the store, HTML, Prometheus, settings, the engine.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from agent.types import Alarm, Decision, Estimate


@dataclass(frozen=True, kw_only=True, slots=True)
class Capture:
    """Exact accounting over all taps, in exchanges; see `Store.capture_counts`."""

    assigned: int
    stored: int
    dropped: int
    unreadable: int
    lost: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """One vLLM API process that a tap runs in, and what it last said of itself."""

    worker: str
    pid: int
    seen_at: datetime
    assigned: int
    dropped: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """How many exchanges one version answered with one outcome (complete, client_gone, error, unreadable)."""

    version: str
    outcome: str
    n: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Drift:
    """Where the detector stands. Evidence and threshold are log10; None before the first reading.

    `peak` is the highest evidence of the last five minutes, and never below where it stands. `notes`: what this
    reference cannot show, and what would, a sentence each.
    """

    evidence: float | None
    peak: float | None
    threshold: float | None
    version: str | None
    reference_rows: int
    reference_wanted: int | None
    at: datetime | None
    alarms: int
    notes: tuple[str, ...] = ()

    @property
    def phase(self) -> str:
        """`idle`, `learning 120/300` or `watching`."""
        wanted = self.reference_wanted
        if self.at is None:
            return "idle"
        if wanted is not None and self.reference_rows < wanted:
            return f"learning {self.reference_rows}/{wanted}"
        if wanted is None and self.evidence is None:
            return f"learning {self.reference_rows}"
        return "watching"


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One exchange that an alarm points at; texts are redacted, empty when it is not in the store."""

    exchange_id: str
    prompt: str
    answer: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AlarmSeen:
    """The newest alarm, where in the stream it fired, and texts typical of what is new and of what comes less.

    `settled` says who found the traffic normal since, and why.
    """

    alarm: Alarm
    exchange_rowid: int
    report: str | None
    settled: str | None
    examples: tuple[Example, ...]
    vanished: tuple[Example, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grades:
    """Opinions of one source: judge, feedback or a person's name for it."""

    source: str
    truth: bool
    n: int
    cost_tokens: int
    last_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderSeen:
    """A retraining order on its way. `progress` is a share in [0, 1]; `verdict` is the gate's JSON."""

    id: str
    status: str
    reason: str
    stage: str | None
    progress: float
    attempts: int
    opened_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    verdict: dict[str, Any] | None
    error: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterSeen:
    """An adapter version and its place in life (accepted, rejected, live, retired)."""

    name: str
    status: str
    digest: str
    parent: str | None
    order_id: str | None
    created_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutSeen:
    """Who should answer, how far the move is, the shares of users, and how often a move was undone."""

    champion: str
    challenger: str | None
    phase: str
    step: int
    note: str
    updated_at: datetime
    weights: dict[str, float]
    rolled_back: int
    rolled_back_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One line of the record."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EvidencePoint:
    """The detector after exchange `rowid`; log10."""

    rowid: int
    version: str
    evidence: float
    threshold: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class QualityPoint:
    """The estimate after exchange `rowid`; shares in [0, 1]."""

    rowid: int
    version: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Snapshot:
    """Everything that is shown, at one moment. `orders` are the newest, `order_counts` counts all."""

    alias: str
    at: datetime
    capture: Capture
    workers: tuple[Worker, ...]
    exchanges: tuple[Tally, ...]
    drift: Drift
    alarm: AlarmSeen | None
    estimates: tuple[Estimate, ...]
    grades: tuple[Grades, ...]
    decision: Decision | None
    orders: tuple[OrderSeen, ...]
    order_counts: dict[str, int]
    adapters: tuple[AdapterSeen, ...]
    rollout: RolloutSeen | None
    events: tuple[Event, ...]
    evidence_series: tuple[EvidencePoint, ...]
    quality_series: tuple[QualityPoint, ...]
    alarm_rowids: tuple[int, ...]

    @classmethod
    def empty(cls, alias: str, at: datetime) -> Snapshot:
        """What is seen while the store does not answer: nothing."""
        drift = Drift(
            evidence=None, peak=None, threshold=None, version=None, reference_rows=0, reference_wanted=None, at=None,
            alarms=0,
        )  # fmt: skip
        return cls(
            alias=alias, at=at, capture=Capture(assigned=0, stored=0, dropped=0, unreadable=0, lost=0), workers=(),
            exchanges=(), drift=drift, alarm=None, estimates=(), grades=(), decision=None, orders=(), order_counts={},
            adapters=(), rollout=None, events=(), evidence_series=(), quality_series=(), alarm_rowids=(),
        )  # fmt: skip

    def answered(self) -> dict[str, int]:
        """Exchanges per version, whatever their outcome."""
        total: dict[str, int] = {}
        for tally in self.exchanges:
            total[tally.version] = total.get(tally.version, 0) + tally.n
        return total

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types; times as ISO 8601 with their zone. Adds `drift.phase`."""
        document: dict[str, Any] = plain(asdict(self))
        document["drift"]["phase"] = self.drift.phase
        return document


def plain(value: Any) -> Any:
    """A value as strict JSON has it: times in ISO 8601, tuples as lists, numbers that are none as null."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value
