"""Nothing large, slow or of another web page may reach a route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from agent.store import Store
from agent.web import porch
from agent.web.api import create_app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

FEEDBACK = b'{"exchange_id": "x", "correct": true}'
JSON = {"content-type": "application/json"}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    """An application over an empty store."""
    store = Store.at(tmp_path)
    yield create_app(
        store,
        "home",
        redact=str,
        render_metrics=bytes,
        feedback=lambda **_: None,
        live=dict,
        reports=tmp_path,
        hosts=["Agent"],
    )
    store.close()


def post(app: FastAPI, body: Any, headers: dict[str, str] = JSON, path: str = "/v1/feedback") -> httpx.Response:
    """One request to the agent's own address."""

    async def go() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://agent:8800") as client:
            return await client.post(path, content=body, headers=headers)

    return asyncio.run(go())


async def _chunks(n: int, size: int, pause_s: float = 0.0) -> AsyncIterator[bytes]:
    for _ in range(n):
        await asyncio.sleep(pause_s)
        yield b" " * size


@pytest.mark.parametrize("body", [b" " * (porch.MAX_BODY_BYTES + 1), _chunks(100, 2**16)])
def test_a_large_body_is_refused_before_it_is_held(app: FastAPI, body: Any) -> None:
    """Feedback larger than a megabyte is a 413, whether its length was said before or not."""
    answer = post(app, body)
    assert answer.status_code == 413
    assert "larger than 1024 KiB" in answer.json()["error"]


def test_a_body_that_does_not_come_is_given_up(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that dawdles is a 408."""
    monkeypatch.setattr(porch, "READ_S", 0.02)
    assert post(app, _chunks(5, 1, 0.05)).status_code == 408


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://agent:9999", "http://[agent]:8800"])
def test_another_page_cannot_post(app: FastAPI, origin: str) -> None:
    """A browser says which page sends: of another origin it is a 403 on every path that takes posts."""
    for path in ("/v1/feedback", "/v1/exchanges", "/v1/traces", "/v1/alerts"):
        answer = post(app, FEEDBACK, {"content-type": "text/plain", "origin": origin}, path)
        assert (answer.status_code, list(answer.json())) == (403, ["error"]), path


def test_programs_and_the_own_page_can_post(app: FastAPI) -> None:
    """Without an origin, or with the agent's own, a request reaches its route."""
    for headers in (JSON, JSON | {"origin": "http://agent:8800"}, JSON | {"origin": "https://AGENT:8800"}):
        assert post(app, FEEDBACK, headers).status_code == 404, headers


NAMES = {
    "127.0.0.1:8321": True, "[::1]:8321": True, "localhost:8321": True, "trimtab.localhost": True, "agent:1": True,
    "AGENT.": True,
    "evil.example:8321": False, "127.0.0.1.evil.example": False, "localhost.evil.example": False, "notlocalhost": False,
    "agent.evil.example": False, "1.2.3.4.5": False,
}  # fmt: skip


@pytest.mark.parametrize(("host", "known"), NAMES.items())
def test_a_browser_must_know_the_agents_name(app: FastAPI, host: str, known: bool) -> None:
    """A page whose name was made to point at the agent reads no text of it; programs may call it what they like."""

    async def go() -> list[int]:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x", headers={"host": host}) as client:
            shown = [await client.get(path) for path in ("/v1/status", "/reports/none.html")]
            page = {"origin": f"http://{host}"} | JSON
            sent = await client.post("/v1/feedback", content=FEEDBACK, headers=page)
            free = [await client.get("/metrics"), await client.post("/v1/feedback", content=FEEDBACK, headers=JSON)]
            assert all(known or "http.hosts" in answer.json()["error"] for answer in (*shown, sent))
            return [answer.status_code for answer in (*shown, sent, *free)]

    assert asyncio.run(go()) == ([200, 404, 404] if known else [403] * 3) + [200, 404]
