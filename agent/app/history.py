"""What the store remembers, as lines for `trimtab policy simulate` and `trimtab policy history`.

Lives here: which rows become which lines.
Comes in: the store, an alias. Goes out: lines in the order of time.
Must never know: what the policy makes of them.

What deletion has taken is not there: exchanges and the judge's tokens reach back as far as `capture.keep_days`.
Champion, phase and wishes are those that the decisions on record saw.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Any

from sqlmodel import Session, col, select

from agent.app.freeze import KIND
from agent.app.steer import onset_rowid
from agent.policy.history import (
    AlarmRaised,
    Answered,
    Champion,
    Decided,
    Estimated,
    Froze,
    JudgeCost,
    Line,
    Moving,
    Ordered,
    Settled,
    Wished,
    ordered,
)
from agent.store import Store
from agent.store.settled import KIND as SETTLED
from agent.store.tables import (
    AdapterRow,
    AlarmRow,
    DecisionRow,
    EstimateRow,
    EventRow,
    ExchangeRow,
    GradeRow,
    OrderRow,
    RolloutRow,
)
from agent.types import Action, InvalidInput

BUCKET_S = 60
"""Exchanges of one version within such a time are one line."""
AT_ONCE = 5000


def history(store: Store, alias: str) -> list[Line]:
    """Everything, oldest first. Raises InvalidInput when there is nothing to run the policy over."""
    with store.transaction() as session:
        adapters = session.exec(select(AdapterRow).where(AdapterRow.alias == alias)).all()
        parents = {adapter.name: adapter.parent for adapter in adapters}
        decisions = session.exec(
            select(DecisionRow).where(DecisionRow.alias == alias).order_by(col(DecisionRow.rowid))
        ).all()
        rollout = session.get(RolloutRow, alias)
        if rollout is None:
            raise InvalidInput(f"nothing is on record for {alias!r} yet: no version has been set for it")
        alarms = session.exec(select(AlarmRow).where(AlarmRow.alias == alias).order_by(col(AlarmRow.rowid))).all()
        lines: list[Line] = [*_decisions(decisions, parents), *_alarms(session, alarms), *_freezes(session)]
        lines += _settled(session)
        lines += _estimates(session, [*parents])
        lines += _orders(session, alias)
        lines += _exchanges(session, alias, sorted(onset_rowid(alarm) for alarm in alarms))
        lines += _judge(session)
    if not any(isinstance(line, Champion) for line in lines):  # no decision says who answered
        begin = min((line.at for line in lines), default=rollout.updated_at)
        lines.append(Champion(at=begin, version=rollout.champion))
    return ordered(lines)


def _decisions(rows: Sequence[DecisionRow], parents: dict[str, str | None]) -> Iterator[Line]:
    """What was decided, and what the decisions say about who answered, the rollout and the wishes of alerts."""
    version, phase, asked = "", "steady", ()
    for row in rows:
        now, then = str(row.seen.get("version", version)), version
        if now != version:
            parent, version = parents.get(now), now
            yield Champion(at=row.at, version=now, parent=parent, promoted=bool(then) and parent == then)
        if row.seen.get("phase", phase) != phase:
            phase = str(row.seen["phase"])
            yield Moving(at=row.at, phase=phase)
        wishes = _wishes(row.seen)
        if wishes != asked:
            asked = wishes
            yield Wished(at=row.at, asked=wishes)
        yield Decided(at=row.at, action=Action(row.action), reason=row.reasons[0] if row.reasons else "")


def _wishes(seen: dict[str, Any]) -> Any:
    return tuple((Action(action), words) for action, words in zip(seen.get("wishes", ()), seen.get("asked", ())))  # noqa: B905  # decisions of older versions name no actions


def _alarms(session: Session, rows: Sequence[AlarmRow]) -> Iterator[Line]:
    """At the time at which they were raised, which is after that of the exchange."""
    events = session.exec(select(EventRow).where(EventRow.kind == "alarm")).all()
    raised = {event.data.get("exchange_rowid"): event.at for event in events}
    for row in rows:
        yield AlarmRaised(
            at=raised.get(row.exchange_rowid, row.at), version=row.version, onset=onset_rowid(row),
            onset_at=row.onset_at, alarm_kind=row.kind, reason=row.reason,
        )  # fmt: skip


def _settled(session: Session) -> Iterator[Line]:
    for row in session.exec(select(EventRow).where(EventRow.kind == SETTLED)):
        yield Settled(at=row.at, version=str(row.data["version"]))


def _freezes(session: Session) -> Iterator[Line]:
    rows = session.exec(select(EventRow).where(EventRow.kind == KIND).order_by(col(EventRow.rowid))).all()
    for row, following in zip_longest(rows, rows[1:]):
        kept = row.data.get("freeze") or {}
        words = row.text.partition("frozen ")[2] if kept else None
        yield Froze(at=row.at, words=words)
        until = datetime.fromisoformat(kept["until"]) if kept.get("until") else None
        if until is not None and (following is None or until < following.at):
            yield Froze(at=until, words=None)


def _estimates(session: Session, versions: Sequence[str]) -> Iterator[Line]:
    names = [name for name in Estimated.model_fields if name not in ("kind", "upto")]
    for row in session.exec(select(EstimateRow).where(col(EstimateRow.version).in_(versions))):
        yield Estimated(upto=row.exchange_rowid, **{name: getattr(row, name) for name in names})


def _orders(session: Session, alias: str) -> Iterator[Line]:
    for row in session.exec(select(OrderRow).where(OrderRow.alias == alias)):
        outcome = str(row.verdict["kind"]) if row.verdict and "kind" in row.verdict else row.status
        yield Ordered(
            at=row.opened_at, id=row.id, started_at=row.started_at, finished_at=row.finished_at, outcome=outcome
        )


def _exchanges(session: Session, alias: str, cuts: Sequence[int]) -> Iterator[Line]:
    """Exchanges to learn from, a line a minute and version; one ends where a drift begins, so that counts are exact."""
    query = (
        select(ExchangeRow.rowid, ExchangeRow.started_at, ExchangeRow.version)
        .where(ExchangeRow.alias == alias, ExchangeRow.status == 200)  # HTTP's OK
        .order_by(col(ExchangeRow.rowid))
        .execution_options(yield_per=AT_ONCE)
    )
    held: dict[str, tuple[int, Answered]] = {}
    for rowid, at, version in session.exec(query):
        bucket, was = int(at.timestamp()) // BUCKET_S, held.get(version)
        cut = was is not None and bisect_left(cuts, was[1].upto) < bisect_left(cuts, rowid or 0)
        if was is not None and was[0] == bucket and not cut:
            n, at = was[1].n + 1, max(at, was[1].at)  # noqa: PLW2901  # the line ends with its newest
        else:
            if was is not None:
                yield was[1]
            n = 1
        held[version] = bucket, Answered(at=at, version=version, n=n, upto=rowid or 0)
    yield from (line for _, line in held.values())


def _judge(session: Session) -> Iterator[Line]:
    query = select(GradeRow.at, GradeRow.cost_tokens).where(col(GradeRow.cost_tokens) > 0)
    tokens: dict[int, tuple[datetime, int]] = {}
    for at, cost in session.exec(query.execution_options(yield_per=AT_ONCE)):
        bucket = int(at.timestamp()) // BUCKET_S
        newest, sum_ = tokens.get(bucket, (at, 0))
        tokens[bucket] = max(newest, at), sum_ + cost
    for at, cost in tokens.values():
        yield JudgeCost(at=at, tokens=cost)
