"""Idle and too many connections must not keep out those who ask."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

import httpx
import pytest
import uvicorn
from starlette.types import Message

from agent.web import connections
from agent.web.connections import Connection, Rarely


async def hello(scope: object, receive: object, send: object) -> None:
    """An application that answers all the same."""
    await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b"hello"})  # type: ignore[operator]


async def reading(scope: object, receive: Callable[[], Awaitable[Message]], send: object) -> None:
    """An application that wants the whole request first."""
    while (await receive()).get("more_body"):
        pass
    await hello(scope, receive, send)


def test_idle_connections_go_and_too_many_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a connection is closed at once, an idle one after its time; then there is room again."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    monkeypatch.setattr(connections, "IDLE_S", 0.2)

    async def scene() -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        server = uvicorn.Server(uvicorn.Config(hello, log_level="warning", lifespan="off", http=Connection))
        serving = asyncio.create_task(server.serve([listener]))
        opened = [await asyncio.open_connection(*address) for _ in range(5)]
        ends = [await asyncio.wait_for(reader.read(), 30) for reader, _ in opened]
        assert ends == [b""] * 5
        async with httpx.AsyncClient() as client:
            answer = await client.get(f"http://127.0.0.1:{address[1]}/")
        for _, writer in opened:
            writer.close()
        server.should_exit = True
        await serving
        return answer.status_code

    assert asyncio.run(scene()) == 200


def test_who_sends_slowly_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests trickle in, a new one is answered: the slowest is cut off, not the newcomer."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)

    async def scene() -> tuple[list[int], list[bool]]:
        listener = socket.create_server(("127.0.0.1", 0))
        address = listener.getsockname()
        server = uvicorn.Server(uvicorn.Config(reading, log_level="warning", lifespan="off", http=Connection))
        serving = asyncio.create_task(server.serve([listener]))
        slow = [await asyncio.open_connection(*address) for _ in range(3)]
        for (_, writer), begun in zip(
            slow, (b"", b"GET / HT", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nab"), strict=True
        ):
            writer.write(begun)
            await writer.drain()
        codes = []
        for _ in range(2):
            async with httpx.AsyncClient(timeout=30) as client:
                codes.append((await client.get(f"http://127.0.0.1:{address[1]}/")).status_code)
        gone = await asyncio.wait_for(slow[0][0].read(), 30)
        for _, writer in slow:
            writer.close()
        server.should_exit = True
        await serving
        return codes, [gone == b""]

    assert asyncio.run(scene()) == ([200, 200], [True])


def test_the_same_record_is_logged_once_a_minute() -> None:
    """A fault that comes back a thousand times fills no disk; another one is still heard."""
    rarely = Rarely()
    said = [
        "socket.accept() out of system resource\nsocket: 1",
        "socket.accept() out of system resource\nsocket: 2",
        "x",
    ]
    records = [logging.LogRecord("asyncio", logging.ERROR, "f", 1, text, None, None) for text in said]
    assert [rarely.filter(record) for record in records] == [True, False, True]
