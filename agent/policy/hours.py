"""Quiet hours: when people do not want anything to begin (pure).

Lives here: reading of `policy.quiet_hours`, and whether a moment lies in them.
Comes in: the settings' texts, a time zone's name, a moment. Goes out: yes or no, and when that changes.
Must never know: the clock, what is not done in quiet hours.

The clock on the wall decides. On the day that has an hour twice, both count; an hour that is skipped is nobody's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from agent.types import InvalidInput

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY_MINUTES = 24 * 60
_FORM = re.compile(r"(?:(?P<days>[a-z,\-]+)\s+)?(?P<h0>\d{1,2}):(?P<m0>\d\d)\s*-\s*(?P<h1>\d{1,2}):(?P<m1>\d\d)")


@dataclass(frozen=True, slots=True)
class Span:
    """From `begin` to before `end`, minutes of the day; over midnight when `end` is not the later one."""

    days: frozenset[int]
    begin: int
    end: int

    def covers(self, weekday: int, minute: int) -> bool:
        """Whether a minute of a weekday (0 is Monday) lies in it; a span belongs to the day on which it begins."""
        if self.begin < self.end:
            return weekday in self.days and self.begin <= minute < self.end
        before = (weekday - 1) % 7
        return (weekday in self.days and minute >= self.begin) or (before in self.days and minute < self.end)


@lru_cache(maxsize=64)
def spans(quiet_hours: tuple[str, ...]) -> tuple[Span, ...]:
    """The settings' texts, read. Raises InvalidInput for one that is none."""
    return tuple(_span(text) for text in quiet_hours)


@lru_cache(maxsize=16)
def zone(name: str) -> ZoneInfo:
    """A time zone. Raises InvalidInput for a name that nobody knows."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        msg = f"policy.time_zone {name[:60]!r} is no time zone: write its IANA name, such as Europe/Berlin or UTC"
        raise InvalidInput(msg) from error


def quiet(quiet_hours: tuple[str, ...], time_zone: str | None, at: datetime) -> bool:
    """Whether a moment lies in the quiet hours."""
    if not quiet_hours:
        return False
    local = at.astimezone(zone(time_zone or "UTC"))
    minute = local.hour * 60 + local.minute
    return any(span.covers(local.weekday(), minute) for span in spans(quiet_hours))


def changes_at(quiet_hours: tuple[str, ...], time_zone: str | None, after: datetime) -> datetime | None:
    """The next moment at which `quiet` gives another answer; None when it never does."""
    if not quiet_hours:
        return None
    now = quiet(quiet_hours, time_zone, after)
    others = (at for at in _edges(quiet_hours, time_zone, after) if quiet(quiet_hours, time_zone, at) != now)
    return min(others, default=None)


def always(quiet_hours: Sequence[str]) -> bool:
    """Whether they leave no minute of the week."""
    read = spans(tuple(quiet_hours))
    minutes = ((day, minute) for day in range(7) for minute in range(DAY_MINUTES))
    return bool(read) and all(any(span.covers(*when) for span in read) for when in minutes)


def _edges(quiet_hours: tuple[str, ...], time_zone: str | None, after: datetime) -> Iterator[datetime]:
    """Every moment of the coming eight days at which a span may begin or end, or the zone's own clock is moved."""
    here = zone(time_zone or "UTC")
    first = after.astimezone(here).date()
    edges = {minute for span in spans(quiet_hours) for minute in (span.begin, span.end)}
    for days in range(9):
        day = datetime.combine(first + timedelta(days=days), time())
        for minute in edges:
            wall = day + timedelta(minutes=minute)
            for fold in (0, 1):
                at = wall.replace(tzinfo=here, fold=fold).astimezone(UTC)
                if at > after:
                    yield at
        moved = _moved(day.replace(tzinfo=here).astimezone(UTC), here)
        if moved is not None and moved > after:
            yield moved


def _moved(begin: datetime, here: ZoneInfo) -> datetime | None:
    """The minute within a day of `begin` at which the zone's clock is moved, if it is."""
    low, high = 0, DAY_MINUTES
    offset = begin.astimezone(here).utcoffset()
    if (begin + timedelta(minutes=high)).astimezone(here).utcoffset() == offset:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if (begin + timedelta(minutes=middle)).astimezone(here).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return begin + timedelta(minutes=high)


def _span(text: str) -> Span:
    found = _FORM.fullmatch(text.strip().lower())
    days = _days(found["days"]) if found else None
    if found is None or days is None:
        raise _bad(text)
    begin, end = (60 * int(found[f"h{n}"]) + int(found[f"m{n}"]) for n in (0, 1))
    fits = begin < DAY_MINUTES and end <= DAY_MINUTES and begin != end
    if not fits or int(found["m0"]) > 59 or int(found["m1"]) > 59:  # minutes of an hour
        raise _bad(text)
    return Span(days=days, begin=begin, end=end)


def _days(text: str | None) -> frozenset[int] | None:
    if text is None:
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if first not in DAYS or (dash and last not in DAYS):
            return None
        start, stop = DAYS.index(first), DAYS.index(last or first)
        found |= {(start + step) % 7 for step in range((stop - start) % 7 + 1)}
    return frozenset(found)


def _bad(text: str) -> InvalidInput:
    return InvalidInput(
        f"policy.quiet_hours {text[:60]!r} is no time of the week: write `mon-fri 08:00-20:00`, "
        "`sat,sun 00:00-24:00` or `22:00-06:00`"
    )
