"""One look at everything that people and monitors are shown.

Lives here: the frozen `Snapshot` and the few cheap queries that fill it.
Comes in: the store, an alias, the present time. Goes out: plain data for the status page, the metrics,
`trimtab status` and the demo; `to_json()` is what `/v1/status` answers.
Must never know: HTML, Prometheus, settings, the engine.

The detector speaks through readings of the feature `detector`: measures `log10_evidence`, `log10_threshold`,
`reference_rows` (learnt so far) and `reference_wanted`. `convert.detector_rows` writes all four.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlalchemy import select as columns
from sqlmodel import Session, col, select

from agent.store import convert
from agent.store.store import Store
from agent.store.tables import (
    AdapterRow,
    AlarmRow,
    DecisionRow,
    EstimateRow,
    EventRow,
    ExchangeRow,
    GradeRow,
    OrderRow,
    ReadingRow,
    RolloutRow,
    WorkerRow,
)
from agent.types import Alarm, Decision, Estimate, Exchange

CHART_POINTS = 500
"""Most points of one chart series; older points share buckets, and a bucket keeps its peak."""
DETECTOR_SAYS = ("log10_evidence", "log10_threshold", "reference_rows", "reference_wanted")
NEWEST_EVENTS = 50
NEWEST_ORDERS = 20


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
    """Where the detector stands. Evidence and threshold are log10; None before the first reading."""

    evidence: float | None
    threshold: float | None
    version: str | None
    reference_rows: int
    reference_wanted: int | None
    at: datetime | None
    alarms: int

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
    """The newest alarm, where in the stream it fired, and the texts that are typical of what is new."""

    alarm: Alarm
    exchange_rowid: int
    report: str | None
    examples: tuple[Example, ...]


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


def snapshot(store: Store, alias: str, now: datetime, weights: Mapping[str, float] | None = None) -> Snapshot:
    """Look once at an alias. `weights`: shares of users that the rollout loop last pushed, if known."""
    capture = Capture(**store.capture_counts())
    with store.transaction() as session:
        adapters = session.exec(
            select(AdapterRow).where(AdapterRow.alias == alias).order_by(col(AdapterRow.created_at))
        ).all()
        tallies = _tallies(session, alias)
        versions = sorted({t.version for t in tallies} | {a.name for a in adapters})
        width = max(1, -(-(session.exec(select(func.max(ExchangeRow.rowid))).one() or 0) // CHART_POINTS))
        return Snapshot(
            alias=alias,
            at=now,
            capture=capture,
            workers=_workers(session),
            exchanges=tallies,
            drift=_drift(session, alias, versions),
            alarm=_alarm(session, alias),
            estimates=_estimates(session, versions),
            grades=_grades(session),
            decision=_decision(session, alias),
            orders=_orders(session, alias),
            order_counts=_order_counts(session, alias),
            adapters=tuple(AdapterSeen(**_fields(AdapterSeen, row)) for row in adapters),
            rollout=_rollout(session, alias, weights),
            events=_events(session),
            evidence_series=_evidence_series(session, versions, width),
            quality_series=_quality_series(session, versions, width),
            alarm_rowids=_alarm_rowids(session, alias),
        )


def _fields(shape: type[Any], row: object) -> dict[str, Any]:
    return {name: getattr(row, name) for name in shape.__dataclass_fields__}


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


def _tallies(session: Session, alias: str) -> tuple[Tally, ...]:
    keys = (ExchangeRow.version, ExchangeRow.outcome)
    query = select(*keys, func.count()).where(ExchangeRow.alias == alias).group_by(*keys).order_by(*keys)
    return tuple(Tally(version=v, outcome=o, n=n) for v, o, n in session.exec(query))


def _workers(session: Session) -> tuple[Worker, ...]:
    rows = session.exec(select(WorkerRow).order_by(col(WorkerRow.seen_at).desc())).all()
    return tuple(Worker(**_fields(Worker, row)) for row in rows)


def _drift(session: Session, alias: str, versions: Sequence[str]) -> Drift:
    newest = (_newest_reading(session, measure, versions) for measure in DETECTOR_SAYS)
    rows = [row for row in newest if row is not None]
    latest = max(rows, key=lambda row: row.exchange_rowid, default=None)
    # After a swap the new version learns first: what the old version's detector last said is history.
    last = {row.measure: row.value for row in rows if latest is not None and row.version == latest.version}
    alarms = session.exec(select(func.count()).select_from(AlarmRow).where(AlarmRow.alias == alias)).one()
    wanted = last.get("reference_wanted")
    return Drift(
        evidence=last.get("log10_evidence"),
        threshold=last.get("log10_threshold"),
        version=latest.version if latest else None,
        reference_rows=int(last.get("reference_rows", 0)),
        reference_wanted=None if wanted is None else int(wanted),
        at=latest.at if latest else None,
        alarms=alarms,
    )


def _newest_reading(session: Session, measure: str, versions: Sequence[str]) -> ReadingRow | None:
    query = select(ReadingRow).where(ReadingRow.feature == "detector", ReadingRow.measure == measure)
    newest_first = (col(ReadingRow.exchange_rowid).desc(), col(ReadingRow.rowid).desc())
    return session.exec(query.where(col(ReadingRow.version).in_(versions)).order_by(*newest_first).limit(1)).first()


def _alarm(session: Session, alias: str) -> AlarmSeen | None:
    query = select(AlarmRow).where(AlarmRow.alias == alias).order_by(col(AlarmRow.rowid).desc()).limit(1)
    row = session.exec(query).first()
    if row is None:
        return None
    wanted = select(ExchangeRow).where(col(ExchangeRow.id).in_(row.examples))
    found = {item.id: convert.exchange(item) for item in session.exec(wanted)}
    examples = tuple(_example(exchange_id, found.get(exchange_id)) for exchange_id in row.examples)
    return AlarmSeen(alarm=convert.alarm(row), exchange_rowid=row.exchange_rowid, report=row.report, examples=examples)


def _example(exchange_id: str, exchange: Exchange | None) -> Example:
    if exchange is None:
        return Example(exchange_id=exchange_id, prompt="", answer="")
    return Example(exchange_id=exchange_id, prompt=exchange.prompt, answer=exchange.answer)


def _alarm_rowids(session: Session, alias: str) -> tuple[int, ...]:
    query = select(AlarmRow.exchange_rowid).where(AlarmRow.alias == alias)
    return tuple(sorted(session.exec(query.order_by(col(AlarmRow.rowid).desc()).limit(CHART_POINTS)).all()))


def _estimates(session: Session, versions: Sequence[str]) -> tuple[Estimate, ...]:
    newest = (
        select(func.max(EstimateRow.rowid)).where(col(EstimateRow.version).in_(versions)).group_by(EstimateRow.version)
    )
    query = select(EstimateRow).where(col(EstimateRow.rowid).in_(newest)).order_by(col(EstimateRow.rowid))
    return tuple(convert.estimate(row) for row in session.exec(query))


def _grades(session: Session) -> tuple[Grades, ...]:
    keys = (col(GradeRow.source), col(GradeRow.truth))
    sums = (func.count(), func.sum(GradeRow.cost_tokens), func.max(GradeRow.at))
    found: Any = session.connection().execute(columns(*keys, *sums).group_by(*keys).order_by(*keys))
    return tuple(
        Grades(source=source, truth=truth, n=n, cost_tokens=cost, last_at=last_at)
        for source, truth, n, cost, last_at in found
    )


def _decision(session: Session, alias: str) -> Decision | None:
    query = select(DecisionRow).where(DecisionRow.alias == alias).order_by(col(DecisionRow.rowid).desc())
    row = session.exec(query.limit(1)).first()
    return None if row is None else convert.decision(row)


def _orders(session: Session, alias: str) -> tuple[OrderSeen, ...]:
    query = select(OrderRow).where(OrderRow.alias == alias).order_by(col(OrderRow.opened_at).desc())
    return tuple(OrderSeen(**_fields(OrderSeen, row)) for row in session.exec(query.limit(NEWEST_ORDERS)))


def _order_counts(session: Session, alias: str) -> dict[str, int]:
    query = select(OrderRow.status, func.count()).where(OrderRow.alias == alias).group_by(OrderRow.status)
    return dict(session.exec(query).all())


def _rollout(session: Session, alias: str, weights: Mapping[str, float] | None) -> RolloutSeen | None:
    row = session.get(RolloutRow, alias)
    if row is None:
        return None
    undone = (EventRow.kind == "rollout", col(EventRow.text).startswith("rolled back"))
    n, at = session.exec(select(func.count(), func.max(EventRow.at)).where(*undone)).one()
    known = weights if weights is not None else _moved(session) or {row.champion: 1.0}
    return RolloutSeen(
        champion=row.champion,
        challenger=row.challenger,
        phase=row.phase,
        step=row.step,
        note=row.note,
        updated_at=row.updated_at,
        weights=dict(known),
        rolled_back=n,
        rolled_back_at=at,
    )


def _moved(session: Session) -> dict[str, float] | None:
    """The shares that the last recorded move of a rollout set."""
    query = select(EventRow).where(EventRow.kind == "rollout").order_by(col(EventRow.rowid).desc()).limit(1)
    row = session.exec(query).first()
    return None if row is None else row.data.get("weights")


def _events(session: Session) -> tuple[Event, ...]:
    query = select(EventRow).order_by(col(EventRow.rowid).desc()).limit(NEWEST_EVENTS)
    return tuple(Event(**_fields(Event, row)) for row in session.exec(query))


def _evidence_series(session: Session, versions: Sequence[str], width: int) -> tuple[EvidencePoint, ...]:
    threshold = _series(session, versions, width, "log10_threshold")
    evidence = _series(session, versions, width, "log10_evidence")
    return tuple(
        EvidencePoint(rowid=rowid, version=version, evidence=value, threshold=threshold.get(key, (0, None))[1])
        for key in sorted(evidence, key=lambda key: evidence[key][0])
        for version, (rowid, value) in [(key[1], evidence[key])]
    )


def _series(
    session: Session, versions: Sequence[str], width: int, measure: str
) -> dict[tuple[int, str], tuple[int, float]]:
    """(bucket, version) -> (last exchange rowid in it, peak value)."""
    bucket = col(ReadingRow.exchange_rowid) // width
    query = (
        select(bucket, ReadingRow.version, func.max(ReadingRow.exchange_rowid), func.max(ReadingRow.value))
        .where(ReadingRow.feature == "detector", ReadingRow.measure == measure)
        .where(col(ReadingRow.version).in_(versions))
        .group_by(bucket, ReadingRow.version)
    )
    return {(int(b), v): (int(rowid), float(value)) for b, v, rowid, value in session.exec(query)}


def _quality_series(session: Session, versions: Sequence[str], width: int) -> tuple[QualityPoint, ...]:
    newest = (
        select(func.max(EstimateRow.rowid))
        .where(col(EstimateRow.version).in_(versions))
        .group_by(col(EstimateRow.exchange_rowid) // width, EstimateRow.version)
    )
    query = select(EstimateRow).where(col(EstimateRow.rowid).in_(newest))
    return tuple(
        QualityPoint(rowid=row.exchange_rowid, version=row.version, value=row.value, low=row.low, high=row.high)
        for row in session.exec(query.order_by(col(EstimateRow.exchange_rowid), col(EstimateRow.rowid)))
    )
