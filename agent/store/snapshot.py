"""One look at everything that people and monitors are shown.

Lives here: `snapshot`, which fills the records of `shown.py` by the queries of `looks.py` and `series.py`.
Comes in: the store, an alias, the present time. Goes out: plain data; `to_json()` is what `/v1/status` answers.
Must never know: HTML, Prometheus, settings, the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import func
from sqlmodel import col, select

from agent.store import looks, series
from agent.store.series import CHART_POINTS
from agent.store.shown import (
    AdapterSeen,
    AlarmSeen,
    Capture,
    Drift,
    Event,
    EvidencePoint,
    Example,
    Grades,
    OrderSeen,
    QualityPoint,
    RolloutSeen,
    Snapshot,
    Tally,
    Worker,
    plain,
)
from agent.store.store import Store
from agent.store.tables import AdapterRow, ExchangeRow

__all__ = [
    "CHART_POINTS",
    "AdapterSeen",
    "AlarmSeen",
    "Capture",
    "Drift",
    "Event",
    "EvidencePoint",
    "Example",
    "Grades",
    "OrderSeen",
    "QualityPoint",
    "RolloutSeen",
    "Snapshot",
    "Tally",
    "Worker",
    "plain",
    "snapshot",
]


def snapshot(
    store: Store, alias: str, now: datetime, weights: Mapping[str, float] | None = None, *, charts: bool = True
) -> Snapshot:
    """Look once at an alias. `weights`: shares of users that the rollout loop last pushed, if known.

    Without `charts` the two series are empty: monitors draw their own.
    """
    capture = Capture(**store.capture_counts())
    with store.transaction() as session:
        adapters = session.exec(
            select(AdapterRow).where(AdapterRow.alias == alias).order_by(col(AdapterRow.created_at))
        ).all()
        tallies = looks.tallies(session, alias)
        versions = sorted({t.version for t in tallies} | {a.name for a in adapters})
        width = max(1, -(-(session.exec(select(func.max(ExchangeRow.rowid))).one() or 0) // CHART_POINTS))
        return Snapshot(
            alias=alias,
            at=now,
            capture=capture,
            workers=looks.workers(session),
            exchanges=tallies,
            drift=looks.drift(session, alias, versions, now),
            alarm=looks.alarm(session, alias),
            estimates=looks.estimates(session, versions),
            grades=looks.grades(session),
            decision=looks.decision(session, alias),
            orders=looks.orders(session, alias),
            order_counts=looks.order_counts(session, alias),
            adapters=tuple(AdapterSeen(**looks.fields(AdapterSeen, row)) for row in adapters),
            rollout=looks.rollout(session, alias, weights),
            events=looks.events(session),
            evidence_series=series.evidence_series(session, versions, width) if charts else (),
            quality_series=series.quality_series(session, versions, width) if charts else (),
            alarm_rowids=looks.alarm_rowids(session, alias),
        )
