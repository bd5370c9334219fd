"""The cheap queries behind a snapshot, one for each thing that is shown.

Lives here: what each part of the page is read from.
Comes in: a session, an alias or versions. Goes out: the records of `shown.py`.
Must never know: how often, by whom, or in what form they are shown.

The detector speaks through readings of the feature `detector`: measures `log10_evidence`, `log10_threshold`,
`reference_rows` (learnt so far) and `reference_wanted`. `convert.detector_rows` writes all four.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func
from sqlalchemy import select as columns
from sqlmodel import Session, col, select

from agent.store import convert, tally
from agent.store.series import CHART_POINTS
from agent.store.settled import settled
from agent.store.shown import AlarmSeen, Drift, Event, Example, Grades, OrderSeen, RolloutSeen, Tally, Worker
from agent.store.store import EXCHANGE_COLUMNS
from agent.store.tables import (
    EXCHANGE,
    AlarmRow,
    DecisionRow,
    EstimateRow,
    EventRow,
    OrderRow,
    ReadingRow,
    RolloutRow,
    StateRow,
    WorkerRow,
)
from agent.types import Decision, Estimate, Exchange

DETECTOR_SAYS = ("log10_evidence", "log10_threshold", "reference_rows", "reference_wanted")
DETECTOR_NOTES = "watch/notes/"
"""Before a version, the key of the state that holds its detector's notes: a JSON array of sentences."""
PEAK = timedelta(minutes=5)
PEAK_READINGS = 400
"""Newest readings among which the peak is looked for: the detector speaks once a tick, and at each alarm."""
NEWEST_EVENTS = 50
NEWEST_ORDERS = 20


def fields(shape: type[Any], row: object) -> dict[str, Any]:
    """The attributes of a row that a record shows."""
    return {name: getattr(row, name) for name in shape.__dataclass_fields__}


def tallies(session: Session, alias: str) -> tuple[Tally, ...]:
    """Exchanges by version and outcome."""
    found = Counter[tuple[str, str]]()
    for counted in tally.exchanges(session.connection()):
        if counted.alias == alias:
            found[counted.version, counted.outcome] += counted.n
    return tuple(Tally(version=version, outcome=outcome, n=n) for (version, outcome), n in sorted(found.items()))


def workers(session: Session) -> tuple[Worker, ...]:
    """Every tap, the last one heard first."""
    rows = session.exec(select(WorkerRow).order_by(col(WorkerRow.seen_at).desc())).all()
    return tuple(Worker(**fields(Worker, row)) for row in rows)


def drift(session: Session, alias: str, versions: Sequence[str], now: datetime) -> Drift:
    """Where the detector stands."""
    newest = (_newest_reading(session, measure, versions) for measure in DETECTOR_SAYS)
    rows = [row for row in newest if row is not None]
    latest = max(rows, key=lambda row: row.exchange_rowid, default=None)
    # After a swap the new version learns first: what the old version's detector last said is history.
    last = {row.measure: row.value for row in rows if latest is not None and row.version == latest.version}
    alarms = session.exec(select(func.count()).select_from(AlarmRow).where(AlarmRow.alias == alias)).one()
    wanted, evidence = last.get("reference_wanted"), last.get("log10_evidence")
    lately = _peak(session, latest.version, now) if latest else None
    return Drift(
        evidence=evidence,
        peak=evidence if evidence is None or lately is None else max(evidence, lately),
        threshold=last.get("log10_threshold"),
        version=latest.version if latest else None,
        reference_rows=int(last.get("reference_rows", 0)),
        reference_wanted=None if wanted is None else int(wanted),
        at=latest.at if latest else None,
        alarms=alarms,
        notes=_notes(session, latest.version) if latest else (),
    )


def _notes(session: Session, version: str) -> tuple[str, ...]:
    row = session.get(StateRow, DETECTOR_NOTES + version)
    return tuple(json.loads(row.state)) if row else ()


def _newest_reading(session: Session, measure: str, versions: Sequence[str]) -> ReadingRow | None:
    query = select(ReadingRow).where(ReadingRow.feature == "detector", ReadingRow.measure == measure)
    newest_first = (col(ReadingRow.exchange_rowid).desc(), col(ReadingRow.rowid).desc())
    return session.exec(query.where(col(ReadingRow.version).in_(versions)).order_by(*newest_first).limit(1)).first()


def _peak(session: Session, version: str, now: datetime) -> float | None:
    said = (ReadingRow.feature == "detector", ReadingRow.measure == "log10_evidence", ReadingRow.version == version)
    newest = (
        select(ReadingRow.value, ReadingRow.at)
        .where(*said)
        .order_by(col(ReadingRow.exchange_rowid).desc())
        .limit(PEAK_READINGS)
        .subquery()
    )
    highest: float | None = session.exec(select(func.max(newest.c.value)).where(newest.c.at > now - PEAK)).one()
    return highest


def alarm(session: Session, alias: str) -> AlarmSeen | None:
    """The newest alarm with its texts."""
    query = select(AlarmRow).where(AlarmRow.alias == alias).order_by(col(AlarmRow.rowid).desc()).limit(1)
    row = session.exec(query).first()
    if row is None:
        return None
    wanted = columns(*EXCHANGE_COLUMNS).where(EXCHANGE.c.id.in_(row.examples))
    items = (convert.exchange(item) for item in session.connection().execute(wanted))
    found = {item.id: item for item in items}
    word = settled(session).get(row.version)
    examples = tuple(_example(exchange_id, found.get(exchange_id)) for exchange_id in row.examples)
    return AlarmSeen(
        alarm=convert.alarm(row),
        exchange_rowid=row.exchange_rowid,
        report=row.report,
        settled=word.words if word is not None and row.exchange_rowid <= word.upto else None,
        examples=examples,
        vanished=tuple(
            Example(exchange_id=name, prompt=prompt, answer=answer) for name, prompt, answer in row.vanished
        ),
    )


def _example(exchange_id: str, exchange: Exchange | None) -> Example:
    if exchange is None:
        return Example(exchange_id=exchange_id, prompt="", answer="")
    return Example(exchange_id=exchange_id, prompt=exchange.prompt, answer=exchange.answer)


def alarm_rowids(session: Session, alias: str) -> tuple[int, ...]:
    """Where in the stream the newest alarms fired."""
    query = select(AlarmRow.exchange_rowid).where(AlarmRow.alias == alias)
    return tuple(sorted(session.exec(query.order_by(col(AlarmRow.rowid).desc()).limit(CHART_POINTS)).all()))


def estimates(session: Session, versions: Sequence[str]) -> tuple[Estimate, ...]:
    """The newest estimate of each version."""
    newest = (
        select(func.max(EstimateRow.rowid)).where(col(EstimateRow.version).in_(versions)).group_by(EstimateRow.version)
    )
    query = select(EstimateRow).where(col(EstimateRow.rowid).in_(newest)).order_by(col(EstimateRow.rowid))
    return tuple(convert.estimate(row) for row in session.exec(query))


def grades(session: Session) -> tuple[Grades, ...]:
    """Opinions by source."""
    return tuple(Grades(**counted._asdict()) for counted in tally.grades(session.connection()))


def decision(session: Session, alias: str) -> Decision | None:
    """The newest decision."""
    query = select(DecisionRow).where(DecisionRow.alias == alias).order_by(col(DecisionRow.rowid).desc())
    row = session.exec(query.limit(1)).first()
    return None if row is None else convert.decision(row)


def orders(session: Session, alias: str) -> tuple[OrderSeen, ...]:
    """The newest orders."""
    query = select(OrderRow).where(OrderRow.alias == alias).order_by(col(OrderRow.opened_at).desc())
    return tuple(OrderSeen(**fields(OrderSeen, row)) for row in session.exec(query.limit(NEWEST_ORDERS)))


def order_counts(session: Session, alias: str) -> dict[str, int]:
    """All orders by status."""
    query = select(OrderRow.status, func.count()).where(OrderRow.alias == alias).group_by(OrderRow.status)
    return dict(session.exec(query).all())


def rollout(session: Session, alias: str, weights: Mapping[str, float] | None) -> RolloutSeen | None:
    """Who answers, and how far the move is."""
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


def events(session: Session) -> tuple[Event, ...]:
    """The newest lines of the record."""
    query = select(EventRow).order_by(col(EventRow.rowid).desc()).limit(NEWEST_EVENTS)
    return tuple(Event(**fields(Event, row)) for row in session.exec(query))
