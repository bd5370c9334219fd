"""What everyone is shown must be what is stored."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from agent.store import Store, convert
from agent.store.snapshot import CHART_POINTS, snapshot
from agent.store.tables import EstimateRow, OrderRow, RolloutRow
from agent.types import Action, AdapterVersion, Alarm, Decision, Exchange, Grade, Message, Outcome

START = datetime(2026, 11, 1, 12, tzinfo=UTC)


def exchange(seq: int, version: str = "home-v1", outcome: Outcome = Outcome.COMPLETE) -> Exchange:
    """One whole exchange of alias home."""
    return Exchange(
        id=f"chatcmpl-{seq}",
        worker="w",
        seq=seq,
        started_at=START + timedelta(seconds=seq),
        path="/v1/chat/completions",
        alias="home",
        version=version,
        status=200,
        outcome=outcome,
        messages=(Message(role="user", text=f"turn on lamp {seq}"),),
        answer="light.on",
    )


def learn(store: Store, rowid: int, rows: int, version: str = "home-v1") -> None:
    """Write what the detector says after an exchange."""
    at = START + timedelta(seconds=rowid)
    with store.transaction() as session:
        session.add_all(
            convert.detector_rows(
                exchange_rowid=rowid,
                window_id="w",
                version=version,
                at=at,
                reference_rows=rows,
                reference_wanted=300,
            )
        )


def watch(store: Store, rowid: int, evidence: float, version: str = "home-v1") -> None:
    """Write what the detector says after an exchange."""
    at = START + timedelta(seconds=rowid)
    with store.transaction() as session:
        session.add_all(
            convert.detector_rows(
                exchange_rowid=rowid,
                window_id="w",
                version=version,
                at=at,
                reference_rows=300,
                reference_wanted=300,
                evidence=evidence,
                threshold=4.7,
            )
        )


def test_an_empty_store_has_a_snapshot(store: Store) -> None:
    """The page must open before the first exchange."""
    seen = snapshot(store, "home", START)
    assert seen.drift.phase == "idle"
    assert seen.alarm is None
    assert seen.decision is None
    assert seen.rollout is None
    assert json.loads(json.dumps(seen.to_json()))["capture"]["stored"] == 0


def test_capture_is_counted_by_version_and_outcome(store: Store) -> None:
    """What was stored, dropped and lost must add up to what the taps numbered."""
    store.add_exchanges([exchange(1), exchange(2), exchange(3, "home-v2"), exchange(4, outcome=Outcome.ERROR)])
    store.note_worker("w", 7, START, assigned=6, dropped=1)
    seen = snapshot(store, "home", START)
    assert (seen.capture.assigned, seen.capture.stored, seen.capture.lost, seen.capture.dropped) == (
        6,
        4,
        2,
        1,
    )
    assert seen.answered() == {"home-v1": 3, "home-v2": 1}
    assert {(t.version, t.outcome, t.n) for t in seen.exchanges} == {
        ("home-v1", "complete", 2),
        ("home-v1", "error", 1),
        ("home-v2", "complete", 1),
    }
    assert seen.workers[0].pid == 7


def test_the_phase_tells_learning_from_watching(store: Store) -> None:
    """A detector that still learns must say how far it is, also after a swap."""
    store.add_exchanges([exchange(1), exchange(2, "home-v2")])
    learn(store, 1, 120)
    assert snapshot(store, "home", START).drift.phase == "learning 120/300"
    watch(store, 2, 0.4)
    assert snapshot(store, "home", START).drift.phase == "watching"
    learn(store, 3, 10, "home-v2")
    seen = snapshot(store, "home", START).drift
    assert (seen.phase, seen.version, seen.evidence) == ("learning 10/300", "home-v2", None)


def test_the_alarm_brings_its_texts(store: Store) -> None:
    """A person must see what the new texts look like; one that is gone leaves an empty place."""
    store.add_exchanges([exchange(1), exchange(2)])
    alarm = Alarm(
        alias="home",
        version="home-v1",
        row=1,
        onset_row=0,
        at=START,
        onset_at=START,
        kind="input",
        evidence=5.0,
        threshold=4.7,
        features=(("novelty", 4.0, 2.5),),
        examples=("chatcmpl-2", "gone"),
        reason="new words",
    )
    with store.transaction() as session:
        session.add(convert.alarm_row(alarm, 2))
    seen = snapshot(store, "home", START)
    assert seen.alarm is not None
    assert seen.alarm.alarm == alarm
    assert [e.prompt for e in seen.alarm.examples] == ["turn on lamp 2", ""]
    assert (seen.drift.alarms, seen.alarm_rowids) == (1, (2,))


def test_the_newest_of_everything_is_shown(store: Store) -> None:
    """Estimates, grades, decision, orders, adapters, rollout and record must all be there."""
    store.add_exchanges([exchange(1)])
    grade = Grade(exchange_id="chatcmpl-1", source="judge", score=0.5, truth=False, at=START, cost_tokens=9)
    store.add_grades([grade, replace(grade, source="recogniser", truth=True, cost_tokens=0)])
    store.put_decision(Decision(at=START, alias="home", action=Action.RETRAIN, reasons=("quality fell",)))
    store.put_adapter(
        AdapterVersion(
            name="home-v1",
            alias="home",
            path="p",
            digest="d",
            base_digest="b",
            parent=None,
            status="live",
            created_at=START,
        )
    )
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=START))
    store.record("alarm", "drift", START)
    with store.transaction() as session:
        for value in (0.9, 0.6):
            session.add(
                EstimateRow(
                    version="home-v1",
                    exchange_rowid=1,
                    at=START,
                    value=value,
                    low=value - 0.1,
                    high=value + 0.1,
                    level=0.95,
                    n_truth=10,
                    n_judged=50,
                    since=START,
                    until=START,
                    method="ppi++",
                )
            )
        for status, at in (("done", START), ("running", START + timedelta(hours=1))):
            order = OrderRow(id=status, alias="home", status=status, reason="r", document={}, opened_at=at)
            session.add(order)
    seen = snapshot(store, "home", START)
    assert [e.value for e in seen.estimates] == [0.6]
    assert [(g.source, g.truth, g.n, g.cost_tokens, g.last_at) for g in seen.grades] == [
        ("judge", False, 1, 9, START),
        ("recogniser", True, 1, 0, START),
    ]
    assert seen.decision is not None
    assert seen.decision.action is Action.RETRAIN
    assert [order.status for order in seen.orders] == ["running", "done"]
    assert seen.order_counts == {"done": 1, "running": 1}
    assert seen.adapters[0].digest == "d"
    assert seen.rollout is not None
    assert seen.rollout.weights == {"home-v1": 1.0}
    assert seen.events[0].text == "drift"
    assert json.loads(json.dumps(seen.to_json()))["decision"]["action"] == "retrain"


def test_a_chart_stays_small_and_keeps_its_peak(store: Store) -> None:
    """Ten thousand readings must not make the page heavy, and the highest evidence must not vanish."""
    store.add_exchanges([exchange(seq) for seq in range(1, 3001)])
    at = START
    rows = []
    for rowid in range(1, 3001):
        rows += convert.detector_rows(
            exchange_rowid=rowid,
            window_id="w",
            version="home-v1",
            at=at,
            reference_rows=300,
            reference_wanted=300,
            evidence=9.0 if rowid == 1234 else 0.1,
            threshold=4.7,
        )
    with store.transaction() as session:
        session.add_all(rows)
    series = snapshot(store, "home", START).evidence_series
    assert 0 < len(series) <= CHART_POINTS + 1
    assert max(point.evidence for point in series) == 9.0
    assert [p.rowid for p in series] == sorted(p.rowid for p in series)
    assert series[-1].threshold == 4.7


def test_a_rollout_under_way_shows_its_shares_and_its_failures(store: Store) -> None:
    """While users move, shares come from the last recorded move; a roll back is counted, not forgotten."""
    later = START + timedelta(minutes=1)
    row = RolloutRow(alias="home", champion="home-v1", challenger="home-v2", phase="shift", updated_at=START)
    store.put_rollout(row)
    store.record("rollout", "rolled back: it failed", START, weights={"home-v1": 1.0})
    store.record("rollout", "home-v2 answers 10%", later, weights={"home-v1": 0.9, "home-v2": 0.1})
    seen = snapshot(store, "home", later)
    assert seen.rollout is not None
    assert seen.rollout.weights == {"home-v1": 0.9, "home-v2": 0.1}
    assert (seen.rollout.rolled_back, seen.rollout.rolled_back_at) == (1, START)


def test_another_alias_is_not_mixed_in(store: Store) -> None:
    """One alias's page must not show another's traffic or drift."""
    store.add_exchanges([exchange(1)])
    watch(store, 1, 0.4)
    seen = snapshot(store, "office", START)
    assert (seen.exchanges, seen.drift.phase, seen.evidence_series) == ((), "idle", ())
