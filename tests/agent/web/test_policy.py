"""A person may stop the automation by HTTP: with the token, in one sentence each, and nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from agent.types import InvalidInput
from agent.web import policy as door
from agent.web.api import _refusals

TOKEN = {"authorization": "Bearer sesame"}


class Person:
    """Keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def freeze(self, by: str, reason: str, hours: float | None) -> str:
        """Keep it."""
        self.asked.append((by, reason, hours))
        return "frozen"

    def thaw(self, _by: str) -> str:
        """As when nothing is frozen."""
        raise InvalidInput("the automation is not frozen")


@pytest.fixture
def person() -> Person:
    """A fresh one."""
    return Person()


def client(person: Person, token: str = "sesame") -> TestClient:  # noqa: S107
    """The routes alone."""
    app = FastAPI()
    _refusals(app)
    door.policy(app, person.freeze, person.thaw, token)
    return TestClient(app)


def test_with_the_token_it_is_done_and_said(person: Person) -> None:
    """What was done comes back in words; what cannot be done is a 422 with the reason."""
    body = {"by": " ann ", "reason": "a deploy", "hours": 8}
    answer = client(person).post("/v1/policy/freeze", json=body, headers=TOKEN)
    assert (answer.status_code, answer.json()) == (200, {"says": "frozen"})
    assert person.asked == [("ann", "a deploy", 8.0)]
    refused = client(person).post("/v1/policy/thaw", json={"by": "ann"}, headers=TOKEN)
    assert (refused.status_code, refused.json()) == (422, {"error": "the automation is not frozen"})


@pytest.mark.parametrize(
    ("headers", "token", "status", "says"),
    [
        ({}, "sesame", 401, "with the agent's TRIMTAB_POLICY_TOKEN"),
        ({"authorization": "Bearer open"}, "sesame", 401, "Bearer"),
        ({"authorization": "Bearer "}, "", 403, "give the agent a token in its environment as TRIMTAB_POLICY_TOKEN"),
    ],
)
def test_without_the_token_nothing_is_done(
    person: Person, headers: dict[str, str], token: str, status: int, says: str
) -> None:
    """Whatever the body says."""
    for path, body in (("freeze", {"by": "x", "reason": "y"}), ("thaw", {"by": "x"}), ("freeze", {"nonsense": 1})):
        answer = client(person, token).post(f"/v1/policy/{path}", json=body, headers=headers)
        assert answer.status_code == status
        assert says in answer.json()["error"]
    assert not person.asked


def test_what_is_missing_or_too_much_is_named_with_what_is_needed(person: Person) -> None:
    """Whoever sends it must see what to send instead."""

    def refused(**more: Any) -> str:
        headers = TOKEN | {"content-type": "application/json"}
        return str(client(person).post("/v1/policy/freeze", headers=headers, **more).json()["error"])

    assert refused(json={"by": "ann"}) == "reason is missing; needed: by and reason"
    assert refused(json={"by": "ann", "reason": "x", "more": 1}) == (
        "unknown key 'more'; known keys are: by, reason, hours"
    )
    assert refused(content=b"[]").startswith("send a JSON object with by and reason")
    assert refused(content=b"{") == "the body is not JSON"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"by": "ann"},
        {"by": "ann", "reason": " "},
        {"by": "ann", "reason": "x", "hours": 0},
        {"by": 1, "reason": "x"},
        {"by": "ann", "reason": "x" * 301},
        {"by": "ann", "reason": "x", "more": 1},
    ],
)
def test_a_body_that_says_too_little_or_too_much_is_refused(person: Person, body: dict[str, Any]) -> None:
    """One sentence about this body and no other's, and nothing done."""
    answer = client(person).post("/v1/policy/freeze", json=body, headers=TOKEN)
    assert answer.status_code == 422
    assert "exchange_id" not in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    assert not person.asked
