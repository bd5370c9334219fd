"""A store that has lived: one whole turn of the loop, as rows.

Lives here: `tell`, which fills a real store with a plausible story, for pages, metrics and pictures.
Comes in: an empty store. Goes out: the same store after a drift, a retraining and a rollout under way.
Must never know: rooms; it writes only nouns and rows.
"""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from agent.store import convert
from agent.store.tables import EstimateRow, OrderRow, RolloutRow
from agent.types import (
    Action,
    AdapterVersion,
    Alarm,
    Check,
    Decision,
    Exchange,
    Grade,
    Message,
    Outcome,
    Verdict,
    VerdictKind,
)

if TYPE_CHECKING:
    from agent.store import Store

START = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
CHANGE, ALARM, SHIFT, ROWS = 520, 633, 980, 1240
THRESHOLD = 4.7
HOSTILE = "set a timer for <script>alert(1)</script> ten minutes"
"""A text that a page must show as text."""

NEW = (HOSTILE, "pause the music in the kitchen", "how much time is left on the pasta timer")


def at(rowid: float) -> datetime:
    """When an exchange of the story happened."""
    return START + timedelta(seconds=0.6 * rowid)


def tell(store: Store) -> None:
    """Fill an empty store: drift, alarm, falling quality, order, challenger at half of the users."""
    _traffic(store)
    _drift(store)
    _quality(store)
    _retraining(store)
    _record(store)


def _traffic(store: Store) -> None:
    dice = random.Random(1)
    exchanges = []
    for seq in range(1, ROWS + 1):
        new = seq > CHANGE and dice.random() < 0.5
        version = "home-v2" if seq > SHIFT and dice.random() < 0.5 else "home-v1"
        exchanges.append(
            Exchange(
                id=f"chatcmpl-{seq}",
                worker="9f0c5b7a",
                seq=seq,
                started_at=at(seq),
                path="/v1/chat/completions",
                alias="home",
                version=version,
                status=200,
                outcome=Outcome.CLIENT_GONE if seq % 400 == 0 else Outcome.COMPLETE,
                messages=(Message(role="user", text=NEW[seq % 3] if new else f"turn on the lamp {seq % 7}"),),
                answer="timer.set 10m" if new else "light.on",
            )
        )
    store.add_exchanges(exchanges)
    store.note_worker("9f0c5b7a", 4242, at(ROWS), assigned=ROWS + 3, dropped=2)


def _drift(store: Store) -> None:
    dice = random.Random(2)
    rows = []
    for rowid in range(310, ROWS, 5):
        calm = abs(dice.gauss(0.3, 0.4))
        rising = max(0.0, (rowid - CHANGE) * 0.044)
        evidence = min(calm + rising, 5.1) if rowid <= ALARM else calm
        rows += convert.detector_rows(
            exchange_rowid=rowid,
            window_id="live",
            version="home-v1",
            at=at(rowid),
            reference_rows=300,
            reference_wanted=300,
            evidence=evidence,
            threshold=THRESHOLD,
        )
    alarm = Alarm(
        alias="home",
        version="home-v1",
        row=ALARM - 300,
        onset_row=CHANGE - 300,
        at=at(ALARM),
        onset_at=at(CHANGE + 4),
        kind="input",
        evidence=5.1,
        threshold=THRESHOLD,
        features=(("novelty", 4.9, 2.7), ("surface: prompt words", 2.2, 0.9), ("surface: digits", 1.6, 0.7)),
        examples=("chatcmpl-525", "chatcmpl-541", "chatcmpl-530", "chatcmpl-999999"),
        reason="texts unlike the reference since exchange 524: novelty +2.7 sd, prompt words +0.9 sd",
    )
    with store.transaction() as session:
        session.add_all(rows)
        row = convert.alarm_row(alarm, ALARM)
        row.report = "alarm-1.html"
        session.add(row)


def _quality(store: Store) -> None:
    dice = random.Random(3)
    grades, rows = [], []
    for seq in range(2, ROWS, 2):
        score = dice.random()
        exchange_id = f"chatcmpl-{seq}"
        grades.append(
            Grade(exchange_id=exchange_id, source="judge", score=score, truth=False, at=at(seq), cost_tokens=31)
        )
        if seq % 10 == 0:
            grades.append(Grade(exchange_id=exchange_id, source="recogniser", score=1.0, truth=True, at=at(seq)))
    for rowid in range(160, ROWS, 20):
        version = "home-v2" if rowid > SHIFT + 60 else "home-v1"
        fallen = 0.34 * (1 - math.exp(-max(0, rowid - CHANGE) / 120)) if version == "home-v1" else 0.0
        value = 0.93 - fallen + dice.gauss(0, 0.008)
        half = 0.05 if version == "home-v1" else 0.09
        rows.append(
            EstimateRow(
                version=version,
                exchange_rowid=rowid,
                at=at(rowid),
                value=value,
                low=value - half,
                high=min(1.0, value + half),
                level=0.95,
                n_truth=rowid // 20,
                n_judged=min(150, rowid // 2),
                since=at(max(0, rowid - 300)),
                until=at(rowid),
                method="ppi++",
            )
        )
    store.add_grades(grades)
    with store.transaction() as session:
        session.add_all(rows)


def _retraining(store: Store) -> None:
    checks = (
        Check(
            name="fresh slice",
            passed=True,
            estimate=0.41,
            low=0.33,
            high=0.49,
            bound=0.05,
            n=120,
            says="better where the traffic went",
        ),
        Check(
            name="old slice",
            passed=True,
            estimate=-0.01,
            low=-0.03,
            high=0.01,
            bound=-0.05,
            n=120,
            says="as good where it was",
        ),
    )
    verdict = Verdict(kind=VerdictKind.ACCEPTED, checks=checks)
    first = AdapterVersion(
        name="home-v1",
        alias="home",
        path="adapters/home-v1",
        digest="3b1f09c2d47ae6",
        base_digest="77aa",
        parent=None,
        status="live",
        created_at=START,
    )
    second = AdapterVersion(
        name="home-v2",
        alias="home",
        path="adapters/home-v2",
        digest="c90e11ab5d2290",
        base_digest="77aa",
        parent="home-v1",
        status="accepted",
        created_at=at(950),
        order_id="order-20261124-1",
        verdict=verdict,
    )
    store.put_adapter(first)
    store.put_adapter(second)
    store.put_decision(
        Decision(
            at=at(700),
            alias="home",
            action=Action.RETRAIN,
            reasons=(
                "drift alarm (input) 67 exchanges ago: novelty +2.7 sd",
                "quality 0.66 [0.61, 0.71] lies below the reference 0.93",
                "213 exchanges since the onset are enough to learn from (200 wanted)",
            ),
            seen={"row": "retrain", "version": "home-v1", "facts": ["low", "breach", "drift", "cause", "fresh"]},
        )
    )
    with store.transaction() as session:
        session.add(
            OrderRow(
                id="order-20261124-1",
                alias="home",
                status="done",
                reason="input drift, quality fell",
                document={},
                opened_at=at(700),
                started_at=at(702),
                finished_at=at(950),
                attempts=1,
                stage="publish",
                progress=1.0,
                verdict=convert.verdict_json(verdict),
            )
        )
    store.put_rollout(
        RolloutRow(
            alias="home",
            champion="home-v1",
            challenger="home-v2",
            phase="shift",
            step=1,
            note="home-v2 answers 50% of users",
            updated_at=at(1100),
        )
    )


def _record(store: Store) -> None:
    store.record("start", "agent started", START)
    store.record("loaded", "the engine holds home-v1", at(2))
    store.record("reference", "watching home-v1 against its 300 reference exchanges", at(310))
    store.record("alarm", "texts unlike the reference since exchange 524: novelty +2.7 sd", at(ALARM))
    store.record("decision", "retrain: drift and falling quality, enough fresh exchanges", at(700))
    store.record("order", "order-20261124-1: home-v2 trained and accepted", at(950))
    store.record("loaded", "the engine holds home-v2", at(960))
    store.record("rollout", "home-v2 answers 10% of users", at(SHIFT), weights={"home-v1": 0.9, "home-v2": 0.1})
    store.record("rollout", "home-v2 answers 50% of users", at(1100), weights={"home-v1": 0.5, "home-v2": 0.5})
