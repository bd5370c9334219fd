"""Rows go in fast, come out equal, and are counted for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta, timezone
from threading import Event

import pytest
from sqlalchemy import delete, insert
from sqlalchemy.exc import StatementError

from agent.store import Store, tally
from agent.store.tables import ALL, EXCHANGE, GRADE, EventRow, RolloutRow, StateRow
from agent.types import Features, Grade, Message, Outcome, RemoteFault
from tests.agent.store.traffic import START, exchange


def test_an_exchange_comes_back_as_it_went_in(store: Store) -> None:
    """Every field survives the driver: texts in any script, absent numbers, features, times of other zones."""
    odd = exchange(
        2,
        answer='ü "quoted" \n {"a": [1]} 😀',
        messages=(),
        tools=(),
        tool_calls=(),
        ttft_s=None,
        user="u" * 32,
        features=Features(exchange_id=exchange(2).id, numbers={"answer_chars": 3.0}, labels={"language": "de"}),
        started_at=START.astimezone(timezone(timedelta(hours=5, minutes=30))),
        text_gone="paused",
    )
    batch = [exchange(1), odd, exchange(3, outcome=Outcome.UNREADABLE, streamed=True)]
    assert store.add_exchanges(batch) == 3
    assert [found for _, found in store.exchanges_after(0, 10)] == batch
    assert store.exchange(odd.id) == odd
    assert store.exchange("nobody") is None


def test_a_resend_changes_nothing(store: Store) -> None:
    """The tap's own number decides, not the content: a second delivery is left out and not counted as new."""
    assert store.add_exchanges([exchange(1), exchange(2)]) == 2
    assert store.add_exchanges([replace(exchange(2), answer="other"), exchange(3)]) == 1
    assert [found.answer for _, found in store.exchanges_after(1, 10)] == ["light.on(2)", "light.on(3)"]


def test_a_time_without_a_zone_is_refused(store: Store) -> None:
    """Nobody knows what a naive time means, so the batch fails as a fault of the data, and nothing of it is kept."""
    with pytest.raises((StatementError, ValueError), match="naive"):
        store.add_exchanges([exchange(1), exchange(2, started_at=START.replace(tzinfo=None))])
    assert store.last_rowid() == 0


def test_graded_brings_each_exchange_once_with_all_its_grades(store: Store) -> None:
    """Who reads labels sees the exchange beside them, oldest first."""
    store.add_exchanges([exchange(n) for n in (1, 2, 3)])
    marks = [
        Grade(exchange_id=exchange(seq).id, source=source, score=1.0, truth=source != "judge", at=START)
        for seq, source in ((2, "ada"), (3, "judge"), (3, "ada"))
    ]
    store.add_grades(marks)
    found = store.graded(after=0)
    assert [(rowid, e.seq, [g.source for g in grades]) for rowid, e, grades in found] == [
        (2, 2, ["ada"]),
        (3, 3, ["judge", "ada"]),
    ]
    assert found[0][2] == marks[:1]


def test_counts_outlive_their_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often tallies are folded, and whatever is deleted behind them, no count goes back."""
    monkeypatch.setattr(tally, "FOLD_ROWS", 3)
    store.add_exchanges([exchange(n, outcome=Outcome.UNREADABLE if n == 5 else Outcome.COMPLETE) for n in range(1, 8)])
    store.add_grades([Grade(exchange_id="x", source=s, score=1, truth=False, at=START, cost_tokens=4) for s in "ab"])
    store.note_worker("w", 1, START, assigned=9, dropped=2)
    store.note_worker("silent", 2, START, assigned=4, dropped=0)
    expected = {"assigned": 13, "stored": 7, "dropped": 2, "unreadable": 1, "lost": 6}
    assert store.capture_counts() == expected
    while tally.fold(store.engine):
        assert store.capture_counts() == expected
    store.add_exchanges([exchange(8)])
    with store.engine.begin() as connection:
        connection.execute(delete(EXCHANGE).where(EXCHANGE.c.rowid <= tally.folded(connection)))
        connection.execute(delete(GRADE))
        grades = tally.grades(connection)
    assert store.capture_counts() == expected | {"stored": 8, "lost": 5}
    assert [(g.source, g.n, g.cost_tokens, g.last_at) for g in grades] == [("a", 1, 4, START), ("b", 1, 4, START)]


def test_rows_of_one_worker_hide_no_loss_of_another(store: Store) -> None:
    """Rows that no tap numbered, as an import brings them, must not make up for what a tap lost."""
    store.note_worker("w", 1, START, assigned=5, dropped=0)
    store.add_exchanges([exchange(n) for n in (1, 2)])
    store.add_exchanges([exchange(n, worker="import-1") for n in range(1, 101)])
    assert store.capture_counts()["lost"] == 3


def test_every_table_is_opened() -> None:
    """A table that is declared but not in the list would never be made."""
    assert {"exchange", "tally_exchange", "tally_grade", "state", "grade"} <= {table.name for table in ALL}


def test_numbers_and_texts_of_any_kind_are_kept(store: Store) -> None:
    """Counts of 8 bytes come back as they were, and a text with the character 0 costs nobody its exchange."""
    said = (Message(role="user", text="\0 \u2028 ü 家"),)
    huge = replace(exchange(2), seq=2**60, prompt_tokens=2**62, answer="a\0b", messages=said)
    assert store.add_exchanges([exchange(1), huge]) == 2
    found = store.exchange(huge.id)
    assert found is not None
    assert (found.seq, found.prompt_tokens, found.messages) == (2**60, 2**62, said)
    assert found.answer in ("a\0b", "a\ufffdb")
    store.record("note", "a\0b", START)
    assert store.events()[0].text in ("a\0b", "a\ufffdb")


def test_whoever_minds_reads_and_writes_alone(store: Store) -> None:
    """Two threads that raise a number by one, a hundred times each, in `exclusive`, lose none."""

    def raise_it() -> None:
        for _ in range(20):
            with store.exclusive() as session:
                row = session.get(StateRow, "n") or StateRow(key="n", cursor=0, state=b"")
                row.cursor += 1
                session.add(row)

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(raise_it) for _ in range(4)]:
            done.result()
    assert store.load_state("n")[0] == 80


def test_no_reader_passes_a_row_that_is_still_to_come(store: Store) -> None:
    """Rows become visible in the order of their numbers, however many write: a cursor never jumps over one."""
    seen: list[int] = []
    done = Event()

    def read() -> None:
        cursor = 0
        while not done.is_set() or store.last_rowid() > cursor:
            for rowid, _ in store.exchanges_after(cursor, 7):
                seen.append(rowid)
                cursor = rowid

    with ThreadPoolExecutor(5) as pool:
        reader = pool.submit(read)
        writers = [
            pool.submit(lambda w: [store.add_exchanges([exchange(n, id=f"{w}-{n}", worker=w)]) for n in range(25)], w)
            for w in "abcd"
        ]
        for writer in writers:
            writer.result()
        done.set()
        reader.result()
    assert len(seen) == 100


def test_a_guard_that_says_no_keeps_everything_out(store: Store) -> None:
    """Whoever has lost his office writes nothing, by the ORM or by statements; a line in the record harms nobody."""

    def no(_: object) -> None:
        raise RemoteFault("somebody else leads")

    guarded = store.guarded(no)
    with pytest.raises(RemoteFault):
        guarded.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=START))
    with pytest.raises(RemoteFault), guarded.transaction() as session:
        session.execute(insert(EventRow), [{"kind": "k", "text": "t", "at": START, "data": {}}])
    with pytest.raises(RemoteFault), guarded.exclusive():
        pass
    assert (store.rollout("home"), store.events()) == (None, [])
    guarded.record("note", "I was there", START)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=START))
    assert store.rollout("home") is not None


def test_an_id_names_one_exchange(store: Store) -> None:
    """A client that uses its request id again gets exchanges of different ids; sent again, they are the same."""
    twins = [exchange(n, id="retry") for n in (1, 2)]
    other = exchange(2, id="retry", worker="w2")
    store.add_exchanges(twins)
    store.add_exchanges([other, exchange(3, id="retry-2")])
    again = store.add_exchanges([*twins, other])
    assert again == 0
    ids = [e.id for _, e in store.exchanges_after(0, 9)]
    assert ids == ["retry", "retry-2", "retry-2-2", "retry-2-3"]
    store.add_grades([Grade(exchange_id="retry", source="ada", score=0, truth=True, at=START)])
    assert [e.seq for _, e, _ in store.graded(0)] == [1]


def test_what_is_restored_lands_whole_or_not_at_all(store: Store) -> None:
    """Exchanges and their grades are one transaction; a known exchange still gets the grades that it lacks."""
    told = Grade(exchange_id=exchange(1).id, source="ada", score=1, truth=True, at=START)
    with pytest.raises(StatementError):
        store.restore([exchange(1)], [replace(told, at=START.replace(tzinfo=None))])
    assert store.last_rowid() == 0
    assert store.restore([exchange(1), exchange(5, id=exchange(1).id)], []) == (1, 0)
    assert store.restore([exchange(1, worker="import-1")], [told]) == (0, 1)
    assert store.restore([exchange(1, worker="import-1")], [told]) == (0, 0)
    assert [e.worker for _, e in store.exchanges_after(0, 9)] == ["w"]
