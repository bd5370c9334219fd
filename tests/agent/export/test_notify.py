"""People must be told what happened, why and where to look; and no sender may hurt the agent."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from agent.export.notify import Message, News, deliver, message, of_decision, of_event, outlets
from agent.types import Action, Decision, InvalidInput
from tests.estate import story
from tests.needs import need_module

APPRISE = "pip install 'trimtab[agent]'"
PAGE = "http://agent:8321/"


def news(n: int = 1, text: str = "order o-1 opened") -> list[News]:
    """Some news."""
    return [News(at=story.START + timedelta(seconds=i), about="order", text=text) for i in range(n)]


def told(items: list[News]) -> Message:
    """As one message."""
    return message(items, alias="home", page=PAGE, runbook="https://x/RUNBOOK.md")


def test_a_decision_is_told_with_its_reasons_and_where_to_look() -> None:
    """Who reads it on a phone must know what was decided, why, and what to open."""
    decision = Decision(
        at=story.START, alias="home", action=Action.RETRAIN,
        reasons=("retraining has a cause and the data it needs", "quality 0.61", "213 fresh exchanges"),
    )  # fmt: skip
    item = of_decision(decision)
    assert item is not None
    made = told([item])
    assert made.title == "Trimtab, home: decided to retrain: retraining has a cause and the data it needs"
    assert made.body.splitlines() == [
        "2026-11-24 09:00:00 UTC  decided to retrain: retraining has a cause and the data it needs",
        "  - quality 0.61",
        "  - 213 fresh exchanges",
        "",
        f"Status page: {PAGE}",
        "Runbook: https://x/RUNBOOK.md#trimtabqualitybelowfloor",
    ]


@pytest.mark.parametrize("action", [Action.HOLD, Action.WATCH, Action.CANARY, Action.FROZEN])
def test_waiting_is_no_news(action: Action) -> None:
    """A policy that waits would tell people the same thing all day."""
    assert of_decision(Decision(at=story.START, alias="home", action=action, reasons=("waits",))) is None


def test_only_what_concerns_people_is_news() -> None:
    """Loading and learning are for the record."""
    assert of_event("loaded", "the engine holds home-v1", story.START) is None
    found = of_event("order_failed", "order o failed: no room", story.START)
    assert found is not None
    assert (found.about, found.grave) == ("order", True)
    frozen = of_event("policy", "the automation is frozen by ann: a deploy", story.START)
    assert frozen is not None
    assert frozen.about == "decision"


def test_many_lines_are_one_message_that_begins_with_the_worst() -> None:
    """Grouped, bounded, and the failure in the title."""
    items = [*news(30), News(at=story.START, about="rollout", text="rolled back: too many errors")]
    made = told(items)
    assert made.title == "Trimtab, home: rolled back: too many errors (and 30 more)"
    assert made.grave
    assert "... and 11 more" in made.body
    assert len(made.body.splitlines()) < 30
    assert len(told(news(text="x" * 10_000)).body) < 1000


class Sender:
    """An address that does as told."""

    def __init__(self, name: str, answer: bool | Exception) -> None:
        self.name, self.answer, self.sent = name, answer, 0

    def send(self, message: Message) -> bool:
        """Count and answer."""
        self.sent += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_one_broken_address_keeps_nothing_from_the_others() -> None:
    """Refused or raising, it is named and the next one is tried."""
    senders = [Sender("a", RuntimeError("secret-token")), Sender("b", answer=False), Sender("c", answer=True)]
    said: list[tuple[str, str]] = []
    assert deliver(told(news()), senders, lambda *what: said.append(what)) == ["a", "b"]
    assert [sender.sent for sender in senders] == [1, 1, 1]
    assert said == [("a", "RuntimeError"), ("b", "it was refused")]


@pytest.fixture
def heard() -> Iterator[tuple[int, list[dict[str, str]]]]:
    """A webhook that keeps what it hears: its port, and the bodies."""
    bodies: list[dict[str, str]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, bodies
        server.shutdown()
        thread.join()


def test_apprise_really_sends(heard: tuple[int, list[dict[str, str]]]) -> None:
    """Through the real library to a real webhook; an address nobody answers at is refused, not raised."""
    need_module("apprise", APPRISE)
    port, bodies = heard
    to = outlets([f"json://user:secret@127.0.0.1:{port}/hook", "json://127.0.0.1:9/none"])
    made = told([News(at=story.START, about="rollout", text="rolled back: errors")])
    failed = deliver(made, to, lambda _name, _why: None)
    assert [(body["title"], body["message"], body["type"]) for body in bodies] == [(made.title, made.body, "failure")]
    assert failed == ["address 2 (json://127.0.0.1:9/none)"]
    assert "secret" not in to[0].name


@pytest.mark.parametrize("url", ["nonsense", "slack://", "http://hooks.slack.com/secret-token", ""])
def test_an_address_that_cannot_be_is_refused_at_start_without_quoting_it(url: str) -> None:
    """One sentence that names its place; tokens stay out of logs."""
    need_module("apprise", APPRISE)
    with pytest.raises(InvalidInput, match=r"address 2 of notify\.urls") as refused:
        outlets(["json://127.0.0.1/", url])
    assert "secret" not in str(refused.value)


def test_without_addresses_nothing_is_loaded() -> None:
    """The idle sidecar must not pay for it."""
    assert outlets([]) == []
