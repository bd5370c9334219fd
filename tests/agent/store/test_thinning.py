"""Of each window some texts stay, by chance; numbers stay all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.store import Store, convert
from agent.store.reservoir import kept
from agent.store.thinning import thin
from agent.types import Alarm, Exchange, Grade
from tests.agent.store.traffic import START, exchange


@settings(deadline=None)
@given(st.lists(st.text(), unique=True, max_size=40), st.integers(0, 50), st.randoms())
def test_the_choice_depends_on_the_ids_alone(ids: list[str], keep: int, chance: object) -> None:
    """Any order of the same ids gives the same choice, of the right size, and more kept is a superset."""
    shuffled = list(ids)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    chosen = kept(ids, keep)
    assert chosen == kept(shuffled, keep) <= kept(ids, keep + 1)
    assert len(chosen) == min(keep, len(ids))
    assert kept(ids, 0, ids[:3]) == set(ids[:3])


def test_the_choice_is_uniform() -> None:
    """Every place in a window is kept about equally often: 2,000 windows, 5 of 20, each place near 500 times."""
    times = [0] * 20
    for window in range(2000):
        ids = [f"chatcmpl-{window}-{place}" for place in range(20)]
        for one in kept(ids, 5):
            times[ids.index(one)] += 1
    assert all(400 < n < 600 for n in times)


def texts(store: Store) -> set[int]:
    """Numbers of the exchanges that still have their text."""
    return {e.seq for _, e in store.exchanges_after(0, 10_000) if e.has_text}


def test_a_thinned_exchange_keeps_its_numbers(store: Store) -> None:
    """Messages, answer, reasoning and tool arguments are gone, all else is as it was, and the row says so."""
    store.add_exchanges([exchange(n) for n in range(1, 11)])
    assert thin(store.engine, window_rows=10, keep=0, upto=10) == 10
    for rowid, found in store.exchanges_after(0, 10):
        assert found == convert.without_text(exchange(rowid), "thinned")
        assert not found.has_text
        assert not found.profiled
        assert (found.answer_tokens, found.tool_calls[0].name, found.tool_calls[0].arguments) == (5, "light", "")


def test_what_somebody_needs_keeps_its_text(store: Store) -> None:
    """Whatever was graded, by judge or person, and the examples of alarms stay beside the chosen few."""
    store.add_exchanges([exchange(n) for n in range(1, 101)])
    for seq, source in ((7, "judge"), (8, "ada")):
        mark = Grade(exchange_id=exchange(seq).id, source=source, score=0, truth=source == "ada", at=START)
        store.add_grades([mark])
    alarm = Alarm(
        alias="home", version="home-v1", row=1, onset_row=0, at=START, onset_at=START, kind="input", evidence=5.0,
        threshold=4.7, features=(), examples=(exchange(9).id, "gone"), reason="new words",
    )  # fmt: skip
    with store.transaction() as session:
        session.add(convert.alarm_row(alarm, 60))
    chosen = {n for n in range(1, 101) if exchange(n).id in kept([exchange(m).id for m in range(1, 101)], 10)}
    assert thin(store.engine, window_rows=100, keep=10, upto=100) == 100 - len(chosen | {7, 8, 9})
    assert texts(store) == chosen | {7, 8, 9}


def test_only_whole_windows_that_everybody_has_read_are_thinned(store: Store) -> None:
    """A window whose last row is still wanted waits, and later rounds go on behind the earlier ones."""
    store.add_exchanges([exchange(n) for n in range(1, 31)])
    assert thin(store.engine, window_rows=10, keep=2, upto=9) == 0
    assert thin(store.engine, window_rows=10, keep=2, upto=25) == 16
    assert len([n for n in texts(store) if n <= 20]) == 4
    assert {n for n in texts(store) if n > 20} == set(range(21, 31))
    assert thin(store.engine, window_rows=10, keep=2, upto=30) == 8
    assert thin(store.engine, window_rows=10, keep=2, upto=30) == 0


def test_a_kill_in_the_middle_changes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round that died between two windows, or before a commit, ends with the same texts as one that lived."""
    batch: list[Exchange] = [replace(exchange(n), tool_calls=()) for n in range(1, 51)]
    store.add_exchanges(batch)
    thin(store.engine, window_rows=10, keep=3, upto=50, windows=2)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("agent.store.thinning._losers", die)
        with pytest.raises(KeyboardInterrupt):
            thin(store.engine, window_rows=10, keep=3, upto=50)
    thin(store.engine, window_rows=10, keep=3, upto=50)
    ids = [e.id for e in batch]
    expected = set().union(*(kept(ids[start : start + 10], 3) for start in range(0, 50, 10)))
    assert {e.id for _, e in store.exchanges_after(0, 99) if e.has_text} == expected
