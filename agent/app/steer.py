"""The policy loop: what is known -> one decision -> an order, the wish for a rollback, or nothing.

Lives here: the only line where quality, policy and the orders meet; gathering of `Seen` from the store.
Comes in: the store at this moment. Goes out: estimates, a decision when it is news, an order or a wish beside it.
Must never know: how an estimate is made, how an order is run, who moves versions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import col, select

from agent.app.asks import Asks
from agent.app.freeze import frozen
from agent.app.spending import Spending
from agent.policy.asks import Ask
from agent.policy.decide import decide, is_news, low_since
from agent.policy.order import next_name, order_document
from agent.policy.seen import Seen
from agent.quality.room import estimate_once
from agent.rollout import wish
from agent.settings import Settings
from agent.store import Store, convert
from agent.store.settled import standing
from agent.store.tables import AlarmRow, EstimateRow, EventRow, ExchangeRow, OrderRow, RolloutRow
from agent.types import Action, AdapterVersion, Decision, Estimate

IN_FLIGHT = ("open", "running")


class Steer:
    """Decides for one alias at every tick."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        asks: Asks | None = None,
        observe: Callable[[datetime], str] | None = None,
    ) -> None:
        """`asks` are the wishes of alerts; `observe(now)` looks on while no champion is named."""
        self._settings, self._store = settings, store
        self._asks = asks or Asks(store, settings.alias)
        self._observe = observe
        self._spending = Spending(settings, store)

    def tick(self, now: datetime) -> str:
        """Look, decide, and perform or record; says the decision's first reason."""
        wished = wish.standing(self._store, self._settings.alias)
        if wished is not None:  # whoever moves versions has yet to look: until then the stand is not what it will be
            return f"waits until {wished.version} is rolled back"
        rollout = self._store.rollout(self._settings.alias)
        if rollout is None:
            return self._observe(now) if self._observe else "no version has been set for this alias yet"
        adapters = self._store.adapters(rollout.alias)
        alarm = self._alarm(rollout)
        onset = 0 if alarm is None else onset_rowid(alarm)
        asked = self._asks.standing(rollout, now)
        last = self._store.last_decision(self._settings.alias)
        seen = replace(
            self._seen(rollout, adapters, alarm, onset, now),
            asked=tuple((ask.action, ask.words) for ask in asked),
            low_since=low_since(last.seen if last else None, rollout.champion),
        )
        decision = decide(seen, self._settings)
        if last is not None and not is_news(decision, last.action, last.seen):
            return decision.reasons[0]
        if decision.action is Action.RETRAIN:
            self._open_order(decision, rollout, adapters, onset, asked, now)
        elif decision.action is Action.ROLL_BACK:
            self._wish(decision, rollout, asked, now)
        else:
            self._store.put_decision(decision)
        return decision.reasons[0]

    # -- what is seen -----------------------------------------------------------------------------

    def _alarm(self, rollout: RolloutRow) -> AlarmRow | None:
        """The alarm that stands: the first one since the champion became champion, or since a person settled one."""
        query = select(AlarmRow).where(AlarmRow.alias == rollout.alias, AlarmRow.version == rollout.champion)
        with self._store.transaction() as session:
            return session.exec(standing(session, query).order_by(col(AlarmRow.rowid)).limit(1)).first()

    def _seen(
        self,
        rollout: RolloutRow,
        adapters: Sequence[AdapterVersion],
        alarm: AlarmRow | None,
        onset: int,
        now: datetime,
    ) -> Seen:
        settings, store = self._settings, self._store
        estimate = estimate_once(store, rollout.champion, settings, now, after_rowid=onset)
        if rollout.phase == "shift" and rollout.challenger:
            estimate_once(store, rollout.challenger, settings, now)
        orders = store.orders(alias=rollout.alias)
        ended = next((o for o in orders if o.finished_at is not None), None)
        held = frozen(store, now)
        return Seen(
            at=now,
            alias=rollout.alias,
            version=rollout.champion,
            alarm_kind=alarm.kind if alarm else None,
            alarm_age_s=(now - alarm.at).total_seconds() if alarm else None,
            alarm_reason=alarm.reason if alarm else "",
            estimate=estimate,
            reference=self._first_estimate(rollout.champion, onset) if alarm else None,
            former=self._former(rollout, adapters, now),
            fresh_exchanges=self._answered_since(rollout.champion, onset),
            order_running=any(o.status in IN_FLIGHT for o in orders),
            order_finished_age_s=(now - ended.finished_at).total_seconds() if ended and ended.finished_at else None,
            order_outcome=_outcome(ended),
            phase=_phase(rollout, adapters),
            frozen=held.words if held else None,
            spent=self._spending.look(orders, now),
        )

    def _first_estimate(self, version: str, upto: int) -> Estimate | None:
        """The newest estimate that was made before the onset."""
        query = select(EstimateRow).where(EstimateRow.version == version, col(EstimateRow.exchange_rowid) <= upto)
        with self._store.transaction() as session:
            row = session.exec(query.order_by(col(EstimateRow.rowid).desc()).limit(1)).first()
            return convert.estimate(row) if row else None

    def _former(self, rollout: RolloutRow, adapters: Sequence[AdapterVersion], now: datetime) -> Estimate | None:
        """The estimate of the version before, while the promotion is younger than the cooldown."""
        champion = next((v for v in adapters if v.name == rollout.champion), None)
        if champion is None or champion.parent is None or rollout.promoted_at is None:
            return None
        young = (now - rollout.promoted_at).total_seconds() < self._settings.policy.cooldown_s
        return self._store.last_estimate(champion.parent) if young else None

    def _answered_since(self, version: str, after: int) -> int:
        """Exchanges to learn from, counted no further than the policy asks about."""
        enough = (
            select(ExchangeRow.rowid)
            .where(
                ExchangeRow.version == version,
                ExchangeRow.alias == self._settings.alias,
                ExchangeRow.status == 200,
                col(ExchangeRow.rowid) > after,
            )
            .limit(2 * self._settings.policy.fresh_exchanges)
            .subquery()
        )
        with self._store.transaction() as session:
            return int(session.exec(select(func.count()).select_from(enough)).one())

    # -- what is done -----------------------------------------------------------------------------

    def _wish(self, decision: Decision, rollout: RolloutRow, asked: Sequence[Ask], now: datetime) -> None:
        """Decision and wish in one transaction; the rollout grants it at its next look."""
        with self._asks.transaction() as session:
            wished = wish.write(session, self._store, rollout, "; ".join(decision.reasons), now)
            session.add(convert.decision_row(decision))
            said = f"{wished.version} is to be rolled back; the record says when it is done"
            self._asks.answer(session, asked, Action.ROLL_BACK, said, now)

    def _open_order(
        self,
        decision: Decision,
        rollout: RolloutRow,
        adapters: Sequence[AdapterVersion],
        onset: int,
        asked: Sequence[Ask],
        now: datetime,
    ) -> None:
        """Decision and order in one transaction: a crash leaves both or neither."""
        champion = next(v for v in adapters if v.name == rollout.champion)
        taken = [*(v.name for v in adapters), *(str(o.document["challenger"]) for o in self._store.orders())]
        order_id = f"{rollout.alias}-{now:%Y%m%dT%H%M%S}"
        document = order_document(
            decision,
            self._settings,
            alias=rollout.alias,
            order_id=order_id,
            store_url=self._store.url,
            champion=champion,
            challenger=next_name(rollout.alias, taken),
            since_rowid=onset,
            until_rowid=self._store.last_rowid(),
        )
        reason = "; ".join(decision.reasons)
        said = f"order {order_id} opened: {document['challenger']} is to be trained"
        with self._asks.transaction() as session:
            session.add(OrderRow(id=order_id, alias=rollout.alias, status="open", reason=reason,
                                 document=_plain(document), opened_at=now))  # fmt: skip
            session.add(convert.decision_row(decision))
            session.add(EventRow(at=now, kind="order", text=said, data={"order": order_id}))
            self._asks.answer(session, asked, Action.RETRAIN, said, now)


def onset_rowid(alarm: AlarmRow) -> int:
    """The last exchange before the estimated change: rows of the detector counted back in the stream."""
    return max(0, alarm.exchange_rowid - (alarm.row - alarm.onset_row) - 1)


def _phase(rollout: RolloutRow, adapters: Sequence[AdapterVersion]) -> str:
    """A version that waits for its rollout or for a person's word counts as moving: no second order beside it."""
    waiting = any(version.status in ("accepted", "waiting") for version in adapters)
    return "accepted" if waiting and rollout.phase == "steady" else rollout.phase


def _outcome(order: OrderRow | None) -> str | None:
    if order is None:
        return None
    return str(order.verdict["kind"]) if order.verdict else order.status


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(document, default=str))
    return plain
