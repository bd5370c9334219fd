"""News for people: lines of the record and decisions, grouped into one message, and sent through apprise.

Lives here: which line is news of what kind, how a message reads, and the way out.
Comes in: events and decisions, addresses. Goes out: messages; True for each that was taken.
Must never know: the store, the clock, when to send. apprise is imported only by `outlets`.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from agent.types import Action, Decision, InvalidInput

About = Literal["alarm", "decision", "order", "rollout", "alert", "disk"]
KINDS: dict[str, About] = {
    "alarm": "alarm",
    "order": "order",
    "order_failed": "order",
    "job_restarted": "order",
    "rollout": "rollout",
    "unservable": "rollout",
    "approval": "rollout",
    "alert": "alert",
    "disk": "disk",
    "policy": "decision",
}
"""Kinds of the record's lines that are news; the others (loaded, reference, ...) are for who reads the record."""
GRAVE = ("rolled back", "failed", "is not what was evaluated", "gives other answers", "no texts are stored")
RUNBOOK: dict[About, str] = {
    "alarm": "trimtabdriftalarm",
    "decision": "trimtabqualitybelowfloor",
    "order": "trimtabretrainfailed",
    "rollout": "trimtabrolloutfailed",
    "disk": "trimtabtextpaused",
}
MOST_LINES, LINE_CHARS = 20, 500


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """One thing worth telling. `why` are its reasons, if it has any beyond its text."""

    at: datetime
    about: About
    text: str
    why: tuple[str, ...] = ()

    @property
    def grave(self) -> bool:
        """True for what went wrong."""
        return any(word in self.text for word in GRAVE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """What is sent."""

    title: str
    body: str
    grave: bool


class Outlet(Protocol):
    """One address."""

    @property
    def name(self) -> str:
        """The address without its secrets."""

    def send(self, message: Message) -> bool:
        """True when it was taken. Blocks; may raise whatever it likes."""


def of_event(kind: str, text: str, at: datetime) -> News | None:
    """A line of the record as news; None for what is none."""
    about = KINDS.get(kind)
    return None if about is None else News(at=at, about=about, text=text)


def of_decision(decision: Decision) -> News | None:
    """A decision to act as news with its reasons; waiting and holding are none."""
    if decision.action not in (Action.RETRAIN, Action.ROLL_BACK):
        return None
    text = f"decided to {decision.action.value.replace('_', ' ')}: {decision.reasons[0]}"
    return News(at=decision.at, about="decision", text=text, why=decision.reasons[1:])


def message(news: Sequence[News], *, alias: str, page: str, runbook: str) -> Message:
    """One message for all of it: the first in the title, each with its reasons, then where to look."""
    first = next((item for item in news if item.grave), news[0])
    more = f" (and {len(news) - 1} more)" if len(news) > 1 else ""
    shown, left = news[:MOST_LINES], len(news) - MOST_LINES
    lines = [line for item in shown for line in _told(item)]
    if left > 0:
        lines.append(f"... and {left} more: see the record on the status page")
    where = {f"{runbook}#{RUNBOOK[item.about]}": None for item in shown if item.about in RUNBOOK}
    links = [f"Status page: {page}", *(f"Runbook: {link}" for link in where)]
    grave = any(item.grave for item in news)
    return Message(
        title=f"Trimtab, {alias}: {_short(first.text, 120)}{more}", body="\n".join([*lines, "", *links]), grave=grave
    )


def outlets(urls: Sequence[str]) -> list[Outlet]:
    """The addresses, ready to be used. Raises InvalidInput for one that apprise does not know, without quoting it."""
    if not urls:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of apprise's own imports
        return _instantiated(urls)


def _instantiated(urls: Sequence[str]) -> list[Outlet]:
    try:
        import apprise
    except ImportError as error:
        raise InvalidInput("notify.urls needs apprise: pip install 'trimtab[agent]', or leave it out") from error
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # faults are told by `deliver`, without addresses
    made: list[Outlet] = []
    for place, url in enumerate(urls):
        found = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if found is None:
            scheme = urlsplit(url).scheme or "nothing"
            what = f"address {place + 1} of notify.urls and TRIMTAB_NOTIFY_URLS (it begins with {scheme!r})"
            raise InvalidInput(
                f"{what} is none that apprise can use: see https://github.com/caronc/apprise for its forms"
            )
        made.append(_Apprise(place + 1, found, apprise.NotifyType.FAILURE, apprise.NotifyType.INFO))
    return made


class _Apprise:
    def __init__(self, place: int, found: Any, grave: Any, plain: Any) -> None:
        self._found, self._grave, self._plain = found, grave, plain
        masked = str(found.url(privacy=True)).partition("?")[0]
        self.name = f"address {place} ({masked})"

    def send(self, message: Message) -> bool:
        kind = self._grave if message.grave else self._plain
        return bool(self._found.notify(title=message.title, body=message.body, notify_type=kind))


def deliver(message: Message, to: Sequence[Outlet], complain: Callable[[str, str], None]) -> list[str]:
    """Send to each address; the names of those that did not take it. `complain(name, why)` hears of each."""
    failed = []
    for outlet in to:
        why = "it was refused"
        try:
            if outlet.send(message):
                continue
        except Exception as fault:  # noqa: BLE001 - a sender is foreign code: whatever it raises stays here
            why = type(fault).__name__
        failed.append(outlet.name)
        complain(outlet.name, why)
    return failed


def _told(item: News) -> Iterator[str]:
    yield f"{item.at:%Y-%m-%d %H:%M:%S} UTC  {_short(item.text, LINE_CHARS)}"
    yield from (f"  - {_short(reason, LINE_CHARS)}" for reason in item.why)


def _short(text: str, most: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"
