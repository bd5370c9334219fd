"""What monitors read beside the snapshot.

Lives here: the distances of the newest window, times that only monitors ask for, the newest exchange behind a count.
Comes in: the store, an alias. Goes out: `Figures`.
Must never know: names of metrics, HTTP, the clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, or_
from sqlmodel import Session, col, select

from agent.store.store import Store
from agent.store.tables import EventRow, ExchangeRow, GradeRow, OrderRow, ReadingRow, RolloutRow

NEWEST_ROWS = 1000
"""Exchanges and grades among which the newest of each kind is looked for: bounds the query, not the truth."""
MISMATCHES = ("% is not what was evaluated: %", "% as served gives other answers than at its evaluation %")
"""Lines of the record that say so: the files of an adapter differ, or its answers do."""


class Mark(NamedTuple):
    """One exchange, and when it counted."""

    exchange_id: str
    at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Distance:
    """How far one feature of a version's newest window is from its reference."""

    version: str
    feature: str
    measure: str
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """`exchanges` by (version, outcome) and `grades` by (source, truth) name the newest exchange of each.

    `alarm_at` is when the newest drift alarm was raised; its own time is an exchange's, which may have been handed in
    days later.
    """

    distances: tuple[Distance, ...] = ()
    alarm_at: datetime | None = None
    heartbeat_at: datetime | None = None
    promoted_at: datetime | None = None
    mismatch_at: datetime | None = None
    exchanges: Mapping[tuple[str, str], Mark] = field(default_factory=dict)
    grades: Mapping[tuple[str, bool], Mark] = field(default_factory=dict)


def figures(store: Store, alias: str) -> Figures:
    """Look once."""
    with store.transaction() as session:
        rollout = session.get(RolloutRow, alias)
        versions = [name for name in (rollout.champion, rollout.challenger) if name] if rollout else []
        return Figures(
            distances=tuple(far for version in versions for far in _distances(session, version)),
            alarm_at=session.exec(select(func.max(EventRow.at)).where(EventRow.kind == "alarm")).one(),
            heartbeat_at=_heartbeat(session, alias),
            promoted_at=rollout.promoted_at if rollout else None,
            mismatch_at=_mismatch(session),
            exchanges=_exchanges(session, alias),
            grades=_grades(session),
        )


def _distances(session: Session, version: str) -> list[Distance]:
    """Of the newest window of a version, the greatest first."""
    windows = select(ReadingRow.window_id).where(
        ReadingRow.version == version, ReadingRow.feature != "detector", ReadingRow.window_id != "live"
    )
    newest = session.exec(windows.order_by(col(ReadingRow.rowid).desc()).limit(1)).first()
    if newest is None:
        return []
    rows = session.exec(select(ReadingRow).where(ReadingRow.window_id == newest, ReadingRow.version == version))
    found = [Distance(version=r.version, feature=r.feature, measure=r.measure, value=r.value) for r in rows]
    return sorted(found, key=lambda far: (-far.value, far.feature, far.measure))


def _heartbeat(session: Session, alias: str) -> datetime | None:
    newest = select(OrderRow.heartbeat_at).where(OrderRow.alias == alias).order_by(col(OrderRow.opened_at).desc())
    return session.exec(newest.limit(1)).first()


def _mismatch(session: Session) -> datetime | None:
    said = or_(*(col(EventRow.text).like(pattern) for pattern in MISMATCHES))
    kinds = col(EventRow.kind).in_(("unservable", "rollout"))
    return session.exec(select(func.max(EventRow.at)).where(kinds, said)).one()


def _exchanges(session: Session, alias: str) -> dict[tuple[str, str], Mark]:
    top = session.exec(select(func.max(ExchangeRow.rowid))).one() or 0
    newest = (
        select(func.max(ExchangeRow.rowid))
        .where(col(ExchangeRow.rowid) > top - NEWEST_ROWS, ExchangeRow.alias == alias)
        .group_by(ExchangeRow.version, ExchangeRow.outcome)
    )
    query = select(ExchangeRow.version, ExchangeRow.outcome, ExchangeRow.id, ExchangeRow.started_at)
    found = session.exec(query.where(col(ExchangeRow.rowid).in_(newest))).all()
    return {(version, outcome): Mark(name, at) for version, outcome, name, at in found}


def _grades(session: Session) -> dict[tuple[str, bool], Mark]:
    top = session.exec(select(func.max(GradeRow.rowid))).one() or 0
    newest = (
        select(func.max(GradeRow.rowid))
        .where(col(GradeRow.rowid) > top - NEWEST_ROWS)
        .group_by(col(GradeRow.source), col(GradeRow.truth))
    )
    query = select(GradeRow.source, GradeRow.truth, GradeRow.exchange_id, GradeRow.at)
    found = session.exec(query.where(col(GradeRow.rowid).in_(newest))).all()
    return {(source, truth): Mark(name, at) for source, truth, name, at in found}
