"""What is old goes, what a label touched stays, no count goes back, and the file gets smaller."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from sqlalchemy import text, update
from sqlmodel import select

from agent.store import Store, convert, retention, tally
from agent.store.dialect import is_sqlite
from agent.store.pages import file_bytes, give_back, meter
from agent.store.snapshot import snapshot
from agent.store.tables import ALL, EXCHANGE, GRADE, AlarmRow, EstimateRow, GradeRow, ProfileRow, ReadingRow
from agent.types import Exchange, Grade, Message
from tests.agent.store.traffic import START, exchange
from tests.estate.postgres import Postgres

DAY = timedelta(days=1)
BIG = 1 << 40


def daily(seq: int, **changes: object) -> Exchange:
    """An exchange of the day with its number."""
    return exchange(seq, **{"started_at": START + seq * DAY, **changes})


def mark(seq: int, source: str = "ada") -> Grade:
    """An opinion on it: of the judge, or a person's."""
    return Grade(exchange_id=exchange(seq).id, source=source, score=1, truth=source != "judge", at=START, cost_tokens=3)


def limits(now: datetime, *, most_bytes: int = BIG, held: tuple[tuple[int, int], ...] = ()) -> retention.Limits:
    """Thirty days, a year with a label."""
    return retention.Limits(
        now=now, before=now - 30 * DAY, labelled_before=now - 365 * DAY, most_bytes=most_bytes, held=held
    )


def seqs(store: Store) -> list[int]:
    """Numbers of the exchanges that are there."""
    return [e.seq for _, e in store.exchanges_after(0, 100_000)]


def fold(store: Store) -> None:
    """Count everything."""
    while tally.fold(store.engine):
        pass


def test_age_deletes_the_old_and_spares_the_labelled(store: Store) -> None:
    """After thirty days an exchange goes, with a label after a year; a judge's opinion goes with its exchange."""
    store.add_exchanges([daily(n) for n in range(1, 41)])
    store.add_grades([mark(3), mark(4, "judge"), mark(39, "judge")])
    fold(store)
    before = snapshot(store, "home", START)
    assert retention.expire(store.engine, limits(START + 41 * DAY)) == 9
    assert seqs(store) == [3, *range(11, 41)]
    with store.transaction() as session:
        assert sorted(g.exchange_id for g in session.exec(select(GradeRow))) == [exchange(3).id, exchange(39).id]
    after = snapshot(store, "home", START)
    assert (after.capture, after.exchanges, after.grades) == (before.capture, before.exchanges, before.grades)
    assert retention.expire(store.engine, limits(START + 500 * DAY)) == 29
    assert seqs(store) == [39, 40], "the newest, and that with the newest grade: their numbers are not given again"
    store.add_exchanges([daily(41)])
    assert store.last_rowid() == 41


def test_the_newest_opinion_stays_so_that_the_next_is_counted(store: Store) -> None:
    """The number of a deleted grade is not given again: a label behind it is counted, before and after folding."""
    store.add_exchanges([daily(n) for n in range(1, 6)])
    store.add_grades([mark(1, "judge"), mark(2, "judge")])
    fold(store)
    retention.expire(store.engine, limits(START + 100 * DAY))
    store.add_grades([mark(5)])
    counted = {g.source: g.n for g in snapshot(store, "home", START).grades}
    assert counted == {"judge": 2, "ada": 1}
    fold(store)
    assert {g.source: g.n for g in snapshot(store, "home", START).grades} == counted
    retention.expire(store.engine, limits(START + 100 * DAY))
    assert seqs(store) == [5]


def test_the_end_of_a_twin_spares_the_label_of_the_other(store: Store) -> None:
    """Older files hold two exchanges of one id: when the older goes, what a person said of the younger stays."""
    store.add_exchanges([daily(1), daily(30), daily(31)])
    store.add_grades([mark(30), mark(31)])
    with store.engine.begin() as connection:
        connection.execute(update(EXCHANGE).where(EXCHANGE.c.seq == 1).values(id=exchange(30).id))
        connection.execute(update(GRADE).values(truth=False))
    fold(store)
    assert retention.expire(store.engine, limits(START + 35 * DAY)) == 1
    assert [grade.exchange_id for _, _, (grade,) in store.graded(0)] == [exchange(30).id, exchange(31).id]


def test_one_exchange_of_the_far_future_takes_no_readings_along(store: Store) -> None:
    """Readings go with the exchanges of their time, whatever date a single exchange claims."""
    filled(store, 400)
    far = START.replace(year=9999)
    store.add_exchanges([exchange(401), exchange(402, started_at=far), exchange(403)])
    with store.transaction() as session:
        for n in (1, 2):
            reading = ("live", "home-v1", "prompt_chars", "ks")
            session.add(
                ReadingRow(
                    exchange_rowid=n, window_id=reading[0], version=reading[1], feature=reading[2], measure=reading[3],
                    value=1.0, at=START + DAY,
                )
            )  # fmt: skip
    fold(store)
    retention.shrink(store.engine, limits(START + 2 * DAY, most_bytes=100_000))
    assert seqs(store) == [403]
    with store.transaction() as session:
        assert len(session.exec(select(ReadingRow)).all()) == 2


def test_nothing_uncounted_is_deleted(store: Store) -> None:
    """Rows that no tally has counted stay, however old: first counted, then deleted."""
    store.add_exchanges([daily(n) for n in range(1, 6)])
    assert retention.expire(store.engine, limits(START + 400 * DAY)) == 0
    fold(store)
    store.add_exchanges([daily(n) for n in range(6, 9)])
    assert retention.expire(store.engine, limits(START + 400 * DAY)) == 5
    assert seqs(store) == [6, 7, 8]


def test_rows_that_an_order_may_read_stay(store: Store) -> None:
    """An order in hand holds its range."""
    store.add_exchanges([daily(n) for n in range(1, 11)])
    fold(store)
    assert retention.expire(store.engine, limits(START + 400 * DAY, held=((2, 5),))) == 6
    assert seqs(store) == [3, 4, 5, 10]


def filled(store: Store, rows: int) -> None:
    """Exchanges of two kilobytes that do not compress into one page."""
    chance = random.Random(1)
    for start in range(1, rows + 1, 500):
        batch = [
            exchange(n, messages=(Message(role="user", text=f"{chance.getrandbits(8000):x}"),))
            for n in range(start, min(start + 500, rows + 1))
        ]
        store.add_exchanges(batch)


def test_a_database_too_big_loses_its_oldest_and_gives_the_pages_back(store: Store) -> None:
    """Above its size the oldest go, never the labelled; counts stay, readings go along, the file shrinks."""
    filled(store, 2000)
    store.add_grades([mark(n) for n in range(10, 60)])
    with store.transaction() as session:
        for n in range(1, 2001, 4):
            at = START + timedelta(seconds=n)
            session.add_all(
                convert.detector_rows(
                    exchange_rowid=n, window_id="live", version="home-v1", at=at, reference_rows=1, reference_wanted=1
                )
            )
    fold(store)
    before, size = snapshot(store, "home", START), meter(store.engine, 0)(0)
    most = size // 2
    deleted, over = retention.shrink(store.engine, limits(START + DAY, most_bytes=most))
    assert over == 0
    assert 400 <= deleted < 1900
    assert 0.7 * most < meter(store.engine, most)(0) <= most
    left = seqs(store)
    assert left[:50] == list(range(10, 60))
    assert left[50:] == list(range(2001 - (len(left) - 50), 2001))
    with store.transaction() as session:
        oldest = min(r.exchange_rowid for r in session.exec(select(ReadingRow)))
    assert oldest >= left[50] - retention.BATCH_ROWS
    given = give_back(store.engine, slack_bytes=100_000, at_most_bytes=BIG)
    if is_sqlite(store.engine):
        assert given > 0.4 * size
        assert file_bytes(store.engine) < most + 200_000
    else:  # a server uses free room again, and its files stay as they are
        assert given == 0
    after = snapshot(store, "home", START)
    assert (after.capture, after.exchanges, after.grades) == (before.capture, before.exchanges, before.grades)
    assert retention.shrink(store.engine, limits(START + DAY, most_bytes=most)) == (0, 0)


def test_the_estimate_of_a_size_is_near_the_truth(postgres: Postgres) -> None:
    """PostgreSQL's rows are counted and weighed by a sample: within a third of what its tables take."""
    store = Store(postgres.clone())
    filled(store, 1500)
    store.add_exchanges([exchange(n) for n in range(2001, 3001)])
    with store.engine.connect() as connection:
        everything = " + ".join(f"pg_total_relation_size('{table.name}')" for table in ALL)
        truth = connection.execute(text(f"SELECT {everything}")).scalar_one()
    assert 0.67 < meter(store.engine, 0)(0) / truth < 1.5
    assert meter(store.engine, BIG)(0) == file_bytes(store.engine), "not even asked while there is room"
    store.close()


def test_what_must_stay_is_said_to_be_too_big(store: Store) -> None:
    """Labels are never deleted for want of room: the rest goes, and the caller hears what is too much."""
    filled(store, 600)
    store.add_grades([mark(n) for n in range(1, 600)])
    fold(store)
    deleted, over = retention.shrink(store.engine, limits(START, most_bytes=100_000))
    assert deleted == 0
    assert over > 500_000


def test_old_measurements_go_but_for_the_last_word(store: Store) -> None:
    """Readings, profiles and estimates age too; the newest of each, and the one before an alarm's onset, stay."""
    with store.transaction() as session:
        for n in range(1, 21):
            at = START + n * DAY
            for feature, measure in (("detector", "log10_evidence"), ("prompt_chars", "ks")):
                session.add(
                    ReadingRow(
                        exchange_rowid=n, window_id=f"w{n}", version="home-v1", feature=feature, measure=measure,
                        value=1.0, at=at,
                    )
                )  # fmt: skip
            session.add(
                EstimateRow(
                    version="home-v1", exchange_rowid=n, at=at, value=n / 20, low=0, high=1, level=0.95, n_truth=9,
                    n_judged=9, since=at, until=at, method="ppi++",
                )
            )  # fmt: skip
            session.add(ProfileRow(window_id=f"w{n}", version="home-v1", start_at=at, end_at=at, rows=1, profile=b"p"))
        session.add(
            AlarmRow(
                alias="home", version="home-v1", exchange_rowid=9, at=START, onset_at=START, row=8, onset_row=3,
                kind="input", evidence=5.0, threshold=4.7, features=[], examples=[], reason="r",
            )
        )  # fmt: skip
    retention.expire(store.engine, limits(START + 200 * DAY))
    with store.transaction() as session:
        readings = [(r.feature, r.exchange_rowid) for r in session.exec(select(ReadingRow))]
        estimates = [e.exchange_rowid for e in session.exec(select(EstimateRow))]
        profiles = session.exec(select(ProfileRow)).all()
    assert (readings, estimates, profiles) == ([("detector", 20)], [3, 20], [])
