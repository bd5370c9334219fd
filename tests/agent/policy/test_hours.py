"""Quiet hours go by the clock on the wall, also on the two days of the year that are shorter or longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.policy.hours import always, changes_at, quiet, spans
from agent.types import InvalidInput

BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = ("22:00-06:00",)


def berlin(text: str, fold: int = 0) -> datetime:
    """A wall clock's time there."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


@pytest.mark.parametrize(
    ("hours", "at", "is_quiet"),
    [
        (NIGHT, "2026-06-01T21:59", False),
        (NIGHT, "2026-06-01T22:00", True),
        (NIGHT, "2026-06-02T05:59", True),
        (NIGHT, "2026-06-02T06:00", False),
        (("mon-fri 8:00-20:00",), "2026-06-05T19:59", True),
        (("mon-fri 8:00-20:00",), "2026-06-06T12:00", False),
        (("sat,sun 00:00-24:00",), "2026-06-07T23:59", True),
        (("fri 22:00-06:00",), "2026-06-06T05:00", True),
        (("fri 22:00-06:00",), "2026-06-05T05:00", False),
        (("sat-mon 10:00-11:00",), "2026-06-08T10:30", True),
        (("Mon 10:00 - 11:00", "tue 10:00-11:00"), "2026-06-02T10:30", True),
        ((), "2026-06-02T10:30", False),
    ],
)
def test_a_moment_is_quiet_or_not(hours: tuple[str, ...], at: str, is_quiet: bool) -> None:
    """A span begins with its first minute and ends before its last; over midnight it is its evening's."""
    assert quiet(hours, "Europe/Berlin", berlin(at).astimezone(UTC)) is is_quiet


def test_the_two_days_on_which_clocks_are_moved() -> None:
    """The hour that comes twice is quiet twice; the one that is skipped ends nothing early or late."""
    spring = changes_at(NIGHT, "Europe/Berlin", berlin("2026-03-28T22:00"))
    assert spring == berlin("2026-03-29T06:00")
    assert spring - berlin("2026-03-28T22:00").astimezone(UTC) == timedelta(hours=7)
    autumn = changes_at(NIGHT, "Europe/Berlin", berlin("2026-10-24T22:00"))
    assert autumn is not None
    assert autumn - berlin("2026-10-24T22:00").astimezone(UTC) == timedelta(hours=9)
    twice = ("sun 02:00-03:00",)
    assert quiet(twice, "Europe/Berlin", berlin("2026-10-25T02:30", fold=0))
    assert quiet(twice, "Europe/Berlin", berlin("2026-10-25T02:30", fold=1))
    assert changes_at(twice, "Europe/Berlin", berlin("2026-10-25T02:30").astimezone(UTC)) == berlin("2026-10-25T03:00")
    assert changes_at(twice, "Europe/Berlin", berlin("2026-03-28T12:00")) == berlin("2026-04-05T02:00")


def test_what_is_skipped_in_the_middle_of_a_span_ends_it_where_the_clock_jumps() -> None:
    """From half past one to half past two, on the day that has no such time after two: quiet until three o'clock."""
    span = ("sun 01:30-02:30",)
    assert changes_at(span, "Europe/Berlin", berlin("2026-03-29T01:45")) == berlin("2026-03-29T03:00")


either = st.sampled_from(
    [NIGHT, ("mon-fri 08:00-20:00",), ("sun 01:30-02:30",), ("sat,sun 00:00-24:00", "wed 23:59-00:01")]
)


@given(either, st.integers(0, 365 * 24 * 60))
def test_the_next_change_is_one_and_there_is_none_before(hours: tuple[str, ...], minute: int) -> None:
    """A minute before it the answer is the old one, at it the new one, and nowhere between another."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    change = changes_at(hours, "Europe/Berlin", at)
    assert change is not None
    now = quiet(hours, "Europe/Berlin", at)
    assert quiet(hours, "Europe/Berlin", change) != now
    minutes = int((change - at).total_seconds() // 60)
    step = max(1, minutes // 50)
    assert all(quiet(hours, "Europe/Berlin", at + timedelta(minutes=m)) == now for m in range(0, minutes, step))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "night",
        "22:00",
        "25:00-26:00",
        "22:60-23:00",
        "10:00-10:00",
        "moon 10:00-11:00",
        "mon- 1:00-2:00",
        "24:00-1:00",
    ],
)
def test_what_is_no_time_of_the_week_is_refused(text: str) -> None:
    """One sentence with what to write."""
    with pytest.raises(InvalidInput, match="is no time of the week: write `mon-fri"):
        spans((text,))


def test_hours_that_leave_nothing_are_known() -> None:
    """Together they may cover the week."""
    assert always(("00:00-24:00",))
    assert always(("mon-fri 00:00-24:00", "sat,sun 12:00-12:01", "sat,sun 12:01-12:00", "sat 00:00-12:00"))
    assert not always(("mon-fri 00:00-24:00",))
    assert not always(())
