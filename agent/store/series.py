"""Time series of a chart, thinned out in the database.

Lives here: evidence and quality along the stream of exchanges, in a bounded number of points.
Comes in: a session, versions, the width of a bucket in exchanges. Goes out: points in the order of the stream.
Must never know: how a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func
from sqlmodel import Session, col, select

from agent.store.shown import EvidencePoint, QualityPoint
from agent.store.tables import EstimateRow, ReadingRow

CHART_POINTS = 500
"""Most points of one chart series; older points share buckets, and a bucket keeps its peak."""


def evidence_series(session: Session, versions: Sequence[str], width: int) -> tuple[EvidencePoint, ...]:
    """The detector's evidence along the stream; a bucket shows its peak."""
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
    bucket = (col(ReadingRow.exchange_rowid) // width).label("bucket")
    query = (
        select(bucket, ReadingRow.version, func.max(ReadingRow.exchange_rowid), func.max(ReadingRow.value))
        .where(ReadingRow.feature == "detector", ReadingRow.measure == measure)
        .where(col(ReadingRow.version).in_(versions))
        .group_by("bucket", ReadingRow.version)
    )
    return {(int(b), v): (int(rowid), float(value)) for b, v, rowid, value in session.exec(query)}


def quality_series(session: Session, versions: Sequence[str], width: int) -> tuple[QualityPoint, ...]:
    """The estimate along the stream; a bucket shows its last."""
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
