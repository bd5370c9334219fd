"""Performs the steps that `plan` names, one a tick, each persisted before the next.

Lives here: the level-triggered reconcile of one alias: engine, store and taps brought to what is wanted.
Comes in: the store's rollout row and the wish for a rollback, the engine's loaded models. Goes out: loads, probes,
weights, unloads, events.
Must never know: why a version was accepted; how quality is measured.

A crash between any two lines is safe: every tick starts from the store and the engine as they are.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func
from sqlmodel import col, select

from agent.rollout import plan, wish
from agent.rollout.hold import EnginePort, Holder
from agent.settings import Settings
from agent.store import Store
from agent.store.artifacts import PROBES
from agent.store.objects import Objects
from agent.store.tables import EventRow, ExchangeRow, RolloutRow
from agent.types import AdapterVersion, Unservable

NO_CHANGE: Mapping[str, str] = {}
MISMATCHES_ALLOWED = 1
"""Probes that may differ: greedy decoding in bf16 may break a near tie differently in another batch."""


class Rollout:
    """Keeps one alias answered by the version that the store wants."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        engine: EnginePort,
        push: Callable[[Mapping[str, Mapping[str, float]]], None],
        held: Callable[[datetime], str | None] = lambda _now: None,
        objects: Objects | None = None,
        leads: Callable[[], bool] = lambda: True,
        resign: Callable[[], None] = lambda: None,
    ) -> None:
        """`push` hands the alias table to every tap; it is called at each change and is idempotent.

        `held(now)` says why no version may move nearer to users now, or None; going back is never asked for.
        From `objects` a version is fetched that is not whole in its folder. Of several sidecars each loads its engine
        and tells its taps; only the one that `leads` moves the alias, and without an engine it `resign`s.
        """
        self._settings = settings
        self._store = store
        self._engine = engine
        self._push = push
        self._held = held
        self._holder = Holder(settings, store, engine, objects)
        self._leads, self._resign = leads, resign
        self._pushed: Mapping[str, float] | None = None
        self._refused = ""
        self._lock = threading.Lock()
        self._rules = rules_of(settings)

    @property
    def shares(self) -> Mapping[str, float]:
        """Version -> share of users, as last pushed."""
        return self._pushed or {}

    def tick(self, now: datetime) -> str:
        """Bring the world one step closer to what is wanted; says in words what it did or waits for."""
        with self._lock:
            return self._tick(now)

    def _tick(self, now: datetime) -> str:
        row = self._store.rollout(self._settings.alias)
        if row is None:
            if self._settings.quality.judge_path and self._engine.live():
                self._holder.hold_judge(now)
            return "no champion is named: nothing is moved"
        if not self._engine.live():
            self._pushed = None
            self._resign()  # one whose engine answers is to move the alias meanwhile
            return "the engine does not answer"
        asked = wish.standing(self._store, row.alias)
        if asked is not None and self._leads():
            return self._grant(asked, row, now)
        stand = _stand(row)
        try:
            self._holder.hold(stand, now)
        except Unservable as fault:
            return self._refuse(row, stand, str(fault), now)
        self._set_weights(plan.weights(stand, self._rules))
        self._holder.hold_judge(now)
        if not self._leads():
            return "does not lead: holds what the leader wants"
        step = plan.next_step(stand, self._waiting(stand), self._traffic(row, stand, now), self._rules)
        if isinstance(step, plan.FORWARD) and (why := self._held(now)) is not None:
            step = plan.halt(step, stand, why, self._rules)
        try:
            return self._perform(step, row, stand, now)
        except Unservable as fault:
            return self._refuse(row, stand, str(fault), now)

    # -- going back -------------------------------------------------------------------------------

    def _grant(self, asked: wish.Wish, row: RolloutRow, now: datetime) -> str:
        """Do what was wished for, or say why it cannot be; either way the wish has had its answer."""
        versions = {version.name: version for version in self._store.adapters(row.alias)}
        trial = row.challenger == asked.version and row.phase in wish.ON_TRIAL
        if not trial and row.champion != asked.version:
            return self._drop(asked, f"{asked.version} neither answers nor is on trial any more", now)
        back = row.champion if trial else versions[row.champion].parent
        if back is None or back not in versions:
            return self._drop(asked, f"{row.champion} has no version before it to go back to", now)
        try:
            self._holder.load(versions[back], self._engine.models(), now)
        except Unservable as fault:
            return self._drop(asked, str(fault), now)
        if trial:
            return self._abort(row, asked.version, asked.reason, now, granted=True)
        said = f"rolled back to {back}: {asked.reason}"
        moved: dict[str, Any] = {
            "champion": back,
            "challenger": row.champion,
            "phase": "drain",
            "step": 0,
            "promoted_at": None,
        }
        self._move(row, now, said, {row.champion: "rejected", back: "live"}, granted=True, **moved)
        return said

    def _drop(self, asked: wish.Wish, why: str, now: datetime) -> str:
        said = f"{asked.version} is not rolled back: {why}"
        data = {"version": asked.version, "reason": asked.reason, "wished_at": asked.at.isoformat()}
        with self._store.transaction() as session:
            wish.clear(session, self._store, self._settings.alias)
            session.add(EventRow(kind="rollout", text=said, at=now, data=data))
        return said

    # -- what is there ----------------------------------------------------------------------------

    def _waiting(self, stand: plan.Stand) -> str | None:
        accepted = [v for v in self._store.adapters(self._settings.alias) if v.status == "accepted"]
        names = [v.name for v in accepted if v.name not in (stand.champion, stand.challenger)]
        return names[-1] if names else None

    def _traffic(self, row: RolloutRow, stand: plan.Stand, now: datetime) -> plan.Traffic:
        since = row.step_since_at or now
        answered = failed = 0
        if stand.phase == "shift" and stand.challenger:
            answered, failed = self._count(stand.challenger, row.step_since_rowid)
        return plan.Traffic(answered=answered, failed=failed, step_age_s=(now - since).total_seconds())

    def _count(self, version: str, after: int) -> tuple[int, int]:
        after_step = (ExchangeRow.version == version, col(ExchangeRow.rowid) > after)
        query = select(func.count(col(ExchangeRow.rowid))).where(*after_step)
        with self._store.transaction() as session:
            answered = session.exec(query).one()
            failed = session.exec(query.where(col(ExchangeRow.status) >= 500)).one()
        return answered, failed

    # -- what is done -----------------------------------------------------------------------------

    def _perform(self, step: plan.Step, row: RolloutRow, stand: plan.Stand, now: datetime) -> str:
        match step:
            case plan.Begin(challenger=name):
                said = f"{name} was accepted: it is loaded beside {stand.champion} and proves itself"
                self._move(row, now, said, challenger=name, phase="probe", step=0)
            case plan.Probe(challenger=name):
                said = self._prove(row, name, now)
            case plan.Shift(step=index, share=share):
                said = f"{stand.challenger} answers {share:.0%} of users"
                self._move(row, now, said, step=index)
            case plan.Promote(champion=name):
                said = f"{name} answers everyone; {stand.champion} finishes its streams"
                moved: dict[str, Any] = {"champion": name, "challenger": stand.champion, "phase": "drain", "step": 0}
                self._move(row, now, said, {name: "live"}, **moved, promoted_at=now)
            case plan.Unload(version=name):
                said = f"{name} is unloaded; {stand.champion} is the champion"
                self._move(row, now, said, self._retired(name), challenger=None, phase="steady", step=0)
            case plan.Abort(challenger=name, reason=reason):
                said = self._abort(row, name, reason, now)
            case plan.Wait(reason=reason):
                return reason
        return said

    def _prove(self, row: RolloutRow, name: str, now: datetime) -> str:
        version = next(v for v in self._store.adapters(self._settings.alias) if v.name == name)
        self._holder.check(version)
        probes = read_probes(version)[: self._settings.rollout.probes]
        answers = self._engine.probe(name, [messages for messages, _ in probes])
        wrong = [was for (_, was), answer in zip(probes, answers, strict=True) if was != answer]
        if len(wrong) > MISMATCHES_ALLOWED:
            reason = (
                f"{name} as served gives other answers than at its evaluation ({len(wrong)} of {len(probes)} probes)"
            )
            return self._abort(row, name, reason, now)
        said = (
            f"{name} as served is {name} as evaluated: digest {version.digest[:12]} and "
            f"{len(probes) - len(wrong)} of {len(probes)} recorded answers repeated; "
            f"it answers {self._rules.steps[0]:.0%} of users"
        )
        self._move(row, now, said, phase="shift", step=0)
        return said

    def _retired(self, name: str) -> dict[str, str]:
        live = any(v.name == name and v.status == "live" for v in self._store.adapters(self._settings.alias))
        return {name: "retired"} if live else {}

    def _abort(self, row: RolloutRow, name: str, reason: str, now: datetime, *, granted: bool = False) -> str:
        said = f"rolled back: {reason}"
        self._move(row, now, said, {name: "rejected"}, granted=granted, challenger=None, phase="steady", step=0)
        return said

    def _refuse(self, row: RolloutRow, stand: plan.Stand, reason: str, now: datetime) -> str:
        if stand.challenger and stand.phase in ("probe", "shift") and self._leads():
            return self._abort(row, stand.challenger, reason, now)
        if reason != self._refused:
            self._store.record("unservable", reason, now)
        self._refused = reason
        return reason

    def _move(
        self, row: RolloutRow, now: datetime, said: str, statuses: Mapping[str, str] = NO_CHANGE, *,
        granted: bool = False, **changes: object,
    ) -> None:  # fmt: skip
        """Persist stand, adapter statuses and record in one commit, then let the taps know at once.

        `granted`: it is what the wish for a rollback asked for, which is cleared with it.
        """
        for name, value in changes.items():
            setattr(row, name, value)
        row.step_since_rowid = self._store.last_rowid()
        row.step_since_at = row.updated_at = now
        row.note = said
        shares = plan.weights(_stand(row), self._rules)
        data = {"phase": row.phase, "step": row.step, "weights": dict(shares)}
        with self._store.transaction() as session:
            self._store.put_rollout(row, statuses, EventRow(kind="rollout", text=said, at=now, data=data), session)
            if granted:
                wish.clear(session, self._store, row.alias)
        self._set_weights(shares)

    def _set_weights(self, shares: Mapping[str, float]) -> None:
        if shares != self._pushed:
            self._push({self._settings.alias: shares})
            self._pushed = shares


def rules_of(settings: Settings) -> plan.Rules:
    """What a step depends on, of the settings."""
    return plan.Rules(
        steps=settings.rollout.steps,
        step_exchanges=settings.rollout.step_exchanges,
        step_max_s=settings.rollout.step_max_s,
        max_error_ratio=settings.rollout.max_error_ratio,
        drain_s=settings.engine.drain_s,
    )


def shares_wanted(settings: Settings, store: Store) -> Mapping[str, float]:
    """Version -> share of users, as the store wants it: for who has no taps to tell."""
    row = store.rollout(settings.alias)
    return {} if row is None else plan.weights(_stand(row), rules_of(settings))


def read_probes(version: AdapterVersion) -> list[tuple[list[dict[str, str]], str]]:
    """The recorded chats of an adapter with its exact greedy answers: [(messages, answer), ...]."""
    path = Path(version.path) / PROBES
    try:
        probes = json.loads(path.read_text(encoding="utf-8"))
        return [(probe["messages"], probe["answer"]) for probe in probes]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{version.name} has no readable {PROBES}, so nothing proves that it is what was evaluated"
        raise Unservable(msg) from error


def _stand(row: RolloutRow) -> plan.Stand:
    phase: plan.Phase = row.phase  # type: ignore[assignment]  # the column is a plain string
    return plan.Stand(champion=row.champion, challenger=row.challenger, phase=phase, step=row.step)
