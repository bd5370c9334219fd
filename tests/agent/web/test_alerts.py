"""The door for alerts must be shut to strangers and clear to whoever holds the key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from agent.types import InvalidInput
from agent.web import alerts as door
from agent.web.api import _refusals

TOKEN = {"authorization": "Bearer sesame"}


class Taker:
    """Keeps what comes in, or fails as told."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.fault: Exception | None = None

    def take(self, document: object) -> Mapping[str, Any]:
        """Keep it."""
        if self.fault is not None:
            raise self.fault
        self.heard.append(document)
        return {"alerts": []}


@pytest.fixture
def taker() -> Taker:
    """A fresh one."""
    return Taker()


def post(taker: Taker, body: bytes | Any, *, headers: dict[str, str] = TOKEN, token: str = "sesame") -> httpx.Response:  # noqa: S107
    """One request."""
    app = FastAPI()
    _refusals(app)
    door.alerts(app, taker.take, token)

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent") as client:
            return await client.post("/v1/alerts", content=body, headers=headers)

    return asyncio.run(go())


def test_with_the_token_a_payload_is_handed_on(taker: Taker) -> None:
    """What came in is what is taken, and the answer is the taker's."""
    answer = post(taker, json.dumps({"version": "4"}))
    assert (answer.status_code, answer.json()) == (200, {"alerts": []})
    assert taker.heard == [{"version": "4"}]


@pytest.mark.parametrize(
    ("headers", "token", "status", "says"),
    [
        ({}, "sesame", 401, "Authorization: Bearer with the agent's TRIMTAB_ALERT_TOKEN"),
        ({"authorization": "Bearer open"}, "sesame", 401, "Bearer"),
        ({"authorization": "Basic sesame"}, "sesame", 401, "Bearer"),
        ({"authorization": "Bearer "}, "", 403, "give the agent a token"),
        (TOKEN, "", 403, "give the agent a token"),
    ],
)
def test_without_the_token_nothing_is_read(
    taker: Taker, headers: dict[str, str], token: str, status: int, says: str
) -> None:
    """A wrong token, none, or an agent without one: a sentence and no more."""
    answer = post(taker, b"{}", headers=headers, token=token)
    assert answer.status_code == status
    assert says in answer.json()["error"]
    assert not taker.heard


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "not JSON"),
        (b"{'version': 4}", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 200_000, 400, "not JSON"),
        (b" " * (door.MAX_BODY_BYTES + 1), 413, "larger than 1024 KiB"),
    ],
)
def test_what_is_no_payload_is_refused_in_one_sentence(taker: Taker, body: bytes, status: int, says: str) -> None:
    """4xx, so that Alertmanager does not send it again for ever."""
    answer = post(taker, body)
    assert answer.status_code == status
    assert says in answer.json()["error"]
    assert not taker.heard


def test_a_body_that_hides_its_size_is_stopped_where_it_is_too_large(taker: Taker) -> None:
    """No length said, no end in sight: no more than a megabyte is read."""

    async def endless() -> Any:
        while True:
            yield b" " * 65536

    assert post(taker, endless()).status_code == 413


def test_what_the_policy_cannot_use_is_told_so(taker: Taker) -> None:
    """An unknown alert is the sender's fault, with the reason."""
    taker.fault = InvalidInput("alert X asks for nothing")
    answer = post(taker, b"{}")
    assert (answer.status_code, answer.json()) == (422, {"error": "alert X asks for nothing"})
