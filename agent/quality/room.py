"""The quality room's three jobs over the store: judge new exchanges, take feedback, estimate.

Lives here: reading exchanges behind a cursor, asking the judge in its budget, what is written together.
Comes in: the store, a judge, settings, the time. Goes out: grades and estimates in the store, counts.
Must never know: drift, policy, rollout, how a judge works, the clock.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlmodel import Session, col, select

from agent.quality.estimate import estimate
from agent.quality.judge import Judge
from agent.quality.sample import Budget, chosen
from agent.settings import Settings
from agent.store import Store
from agent.store.tables import EstimateRow, ExchangeRow, GradeRow
from agent.types import Estimate, Exchange, Grade, InvalidInput, RemoteFault

STATE_KEY = "judge"
"""Where cursor, budget and totals of the judge loop stand in the store."""
_THREADS = 4
_FAULTS_IN_A_ROW = 3
"""After so many faults one after the other the judge is taken for down; the rest of a batch is not asked."""
_OK = 200
_SOURCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What one look of the judge loop did. `more` says that further exchanges wait behind the cursor."""

    cursor: int
    seen: int = 0
    chosen: int = 0
    graded: int = 0
    over_budget: int = 0
    failed: int = 0
    cost_tokens: int = 0
    fault: str | None = None
    more: bool = False


def judge_once(store: Store, judge: Judge, settings: Settings, now: datetime, *, limit: int = 200) -> Judged:
    """Grade the next exchanges after the cursor that the sample chose, as far as the budget reaches.

    What does not fit the budget, and what the judge could not grade, is counted and left ungraded: nothing
    queues. The budget is spent in the store *before* the calls are made, and grades and cursor are written
    together after them, so a killed agent repeats at most one batch, never overspends, and never grades an
    answer twice.
    """
    cursor, state = store.load_state(STATE_KEY)
    kept: dict[str, Any] = json.loads(state) if state else {}
    batch = store.exchanges_after(cursor, limit)
    if not batch:
        return Judged(cursor=cursor)
    wanted = [
        exchange
        for _, exchange in batch
        if _fit(exchange, settings.alias) and chosen(exchange.id, settings.quality.sample_share)
    ]
    budget = Budget.restore(settings.quality.calls_per_minute, kept.get("budget", {}))
    granted, budget = budget.take(len(wanted), now)
    kept["budget"] = budget.state()
    with store.transaction() as session:
        store.save_state(session, STATE_KEY, cursor, json.dumps(kept).encode())
    grades, fault = _ask(judge, wanted[:granted], now)
    judged = Judged(
        cursor=batch[-1][0],
        seen=len(batch),
        chosen=len(wanted),
        graded=len(grades),
        over_budget=len(wanted) - granted,
        failed=granted - len(grades),
        cost_tokens=sum(grade.cost_tokens for grade in grades),
        fault=fault,
        more=len(batch) == limit,
    )
    kept["totals"] = _added(kept.get("totals", {}), judged)
    with store.transaction() as session:
        store.put_grades(session, grades)
        store.save_state(session, STATE_KEY, judged.cursor, json.dumps(kept).encode())
    return judged


def judge_totals(store: Store) -> dict[str, int]:
    """Counts since the store was made: chosen, graded, over_budget, failed, cost_tokens."""
    _, state = store.load_state(STATE_KEY)
    totals: Mapping[str, int] = json.loads(state).get("totals", {}) if state else {}
    return {name: int(totals.get(name, 0)) for name in _TOTALS}


def feedback(
    store: Store,
    exchange_id: str,
    *,
    correct: bool,
    correction: str | None,
    source: str,
    now: datetime,
    redact: Callable[[str], str],
) -> Grade:
    """Keep one truth label; the correction is redacted first. Saying the same thing twice is saying it once.

    Raises InvalidInput for an exchange that is not stored, a bad source, or a source that changes its mind.
    """
    if not _SOURCE.fullmatch(source) or source == "judge":
        raise InvalidInput(
            f"source {source[:64]!r} cannot give truth: name a person or tool "
            "in letters, digits and _ . @ -, other than 'judge'"
        )
    if store.exchange(exchange_id) is None:
        raise InvalidInput(
            f"exchange {exchange_id[:80]!r} is not stored: give the `id` of an answer of the engine; "
            "one that has just been given may not have landed yet, so try again in a second"
        )
    told = Grade(
        exchange_id=exchange_id,
        source=source,
        score=1.0 if correct else 0.0,
        truth=True,
        at=now,
        correction=None if correction is None else redact(correction),
    )
    if store.add_grades([told]):
        return told
    query = select(GradeRow).where(GradeRow.exchange_id == exchange_id, GradeRow.source == source)
    with store.transaction() as session:
        row = session.exec(query).one()
        kept = Grade(**{name: getattr(row, name) for name in Grade.__dataclass_fields__})
    if (kept.score, kept.correction) != (told.score, told.correction):
        raise InvalidInput(f"{source} said otherwise of {exchange_id} before: send it under another source")
    return kept


def estimate_once(
    store: Store, version: str, settings: Settings, now: datetime, after_rowid: int = 0
) -> Estimate | None:
    """Quality of a version over its newest `quality.window_exchanges` whole exchanges behind `after_rowid`.

    None while fewer than `quality.min_truth` of them carry a truth label. An `EstimateRow` is written only
    when a grade, the window's beginning or the level changed since the last one of this version.
    """
    quality = settings.quality
    with store.transaction() as session:
        newest = _window(version, settings.alias, after_rowid, quality.window_exchanges)
        marks = _grades(session, newest)
        labels, judged = _sorted_out(marks)
        if len(labels) < quality.min_truth:  # the window itself, at each tick, would be most of the work
            return None
        window = [(rowid or 0, exchange_id, at) for rowid, exchange_id, at in session.exec(newest)]
    found = estimate(labels, judged, quality.level)
    measured = Estimate(
        version=version,
        value=found.value,
        low=found.low,
        high=found.high,
        level=quality.level,
        n_truth=found.n_truth,
        n_judged=found.n_judged,
        since=min(row[2] for row in window),
        until=max(row[2] for row in window),
        method=found.method,
    )
    newest_grade = max(mark.rowid or 0 for mark in marks)
    inputs = json.dumps([window[-1][0], newest_grade, len(marks), quality.level]).encode()
    _keep(store, measured, window[0][0], inputs, now)
    return measured


# -- parts -----------------------------------------------------------------------------------------

_TOTALS = ("chosen", "graded", "over_budget", "failed", "cost_tokens")


def _fit(exchange: Exchange, alias: str) -> bool:
    return exchange.profiled and exchange.alias == alias and bool(exchange.messages)


def _added(totals: Mapping[str, int], judged: Judged) -> dict[str, int]:
    return {name: int(totals.get(name, 0)) + int(getattr(judged, name)) for name in _TOTALS}


def _ask(judge: Judge, exchanges: Sequence[Exchange], now: datetime) -> tuple[list[Grade], str | None]:
    """Grades that could be had, and the last fault. A judge that is down is not asked for the whole batch."""
    if not exchanges:
        return [], None
    lock = threading.Lock()
    faults: list[str] = []
    row = 0

    def one(exchange: Exchange) -> Grade | None:
        nonlocal row
        if row >= _FAULTS_IN_A_ROW:
            return None
        try:
            grade = judge.grade(exchange, now)
        except RemoteFault as error:
            with lock:
                row += 1
                faults.append(str(error))
            return None
        with lock:
            row = 0
        return grade

    with ThreadPoolExecutor(min(_THREADS, len(exchanges)), thread_name_prefix="judge") as pool:
        grades = [grade for grade in pool.map(one, exchanges) if grade is not None]
    return grades, faults[-1] if faults else None


def _window(version: str, alias: str, after_rowid: int, size: int) -> Any:
    """The question for (rowid, id, started_at) of the newest whole exchanges, newest first."""
    return (
        select(ExchangeRow.rowid, ExchangeRow.id, ExchangeRow.started_at)
        .where(
            col(ExchangeRow.rowid) > after_rowid,
            ExchangeRow.version == version,
            ExchangeRow.alias == alias,
            ExchangeRow.status == _OK,
            ExchangeRow.outcome == "complete",
            ExchangeRow.response_cut_bytes == 0,
        )
        .order_by(col(ExchangeRow.rowid).desc())
        .limit(size)
    )


def _grades(session: Session, newest: Any) -> list[GradeRow]:
    """Every grade of those exchanges, in the order in which they came."""
    these = newest.subquery()
    query = select(GradeRow).join(these, col(GradeRow.exchange_id) == these.c.id)
    return sorted(session.exec(query), key=lambda mark: mark.rowid or 0)


def _sorted_out(marks: Sequence[GradeRow]) -> tuple[list[tuple[float, float | None]], list[float]]:
    """(labels with judge scores, scores without a label); of two truths on an answer the newer counts."""
    truth = {mark.exchange_id: mark.score for mark in marks if mark.truth}
    score = {mark.exchange_id: mark.score for mark in marks if not mark.truth}
    labels = [(value, score.get(exchange_id)) for exchange_id, value in truth.items()]
    return labels, [value for exchange_id, value in score.items() if exchange_id not in truth]


def _keep(store: Store, measured: Estimate, newest_rowid: int, inputs: bytes, now: datetime) -> None:
    key = f"estimate:{measured.version}"
    with store.transaction() as session:
        if store.load_state(key)[1] == inputs:
            return
        values = {name: getattr(measured, name) for name in Estimate.__dataclass_fields__}
        session.add(EstimateRow(**values, exchange_rowid=newest_rowid, at=now))
        store.save_state(session, key, newest_rowid, inputs)
