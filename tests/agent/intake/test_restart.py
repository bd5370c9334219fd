"""The real tap, the real socket and the real store: an agent that is killed loses nothing and repeats nothing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.store import Store
from serving.middleware import TapSettings, Trimtab
from tests.agent.intake.captures import CHAT, sse

AGENT = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from agent.intake import IntakeServer, Redactor
from agent.store import Store

async def main(home):
    store = Store.at(home)
    server = IntakeServer(
        home / "agent.sock", store.add_exchanges, store.note_worker, Redactor(), lambda: datetime.now(UTC)
    )
    server.push_table({"home": {"home-v1": 1.0}})
    await server.start()
    await asyncio.Event().wait()

asyncio.run(main(Path(sys.argv[1])))
"""


async def app(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Answers chats with their own prompt, whole or streamed, under the model's name that it was given."""
    body = json.loads((await receive())["body"])
    words, model = body["messages"][-1]["content"], body["model"]
    base = {"id": f"chatcmpl-{words}", "model": model}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if body.get("stream"):
        for delta in ({"role": "assistant", "content": ""}, {"content": "answer to "}, {"content": words}):
            piece = sse([{**base, "choices": [{"index": 0, "delta": delta}]}], done=False)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})
        return
    message = {"role": "assistant", "content": f"answer to {words}"}
    answer = {**base, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


async def ask(tap: Trimtab, n: int) -> bytes:
    """One request through the middleware; returns the bytes that the client got."""
    body = json.dumps({**CHAT, "messages": [{"role": "user", "content": f"q{n}"}], "stream": n % 2 == 1}).encode()
    got: list[bytes] = []
    asked = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        return asked.pop()

    async def send(message: Any) -> None:
        got.append(message.get("body", b""))

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": []}
    await tap(scope, receive, send)
    return b"".join(got)


def start(home: Path) -> subprocess.Popen[bytes]:
    """An agent's intake in a process of its own."""
    return subprocess.Popen([sys.executable, "-c", AGENT, str(home)])


async def until(done: Callable[[], bool]) -> None:
    """Wait for a condition, for a minute at most."""
    async with asyncio.timeout(60):
        while not done():  # noqa: ASYNC110 - the condition lies in another process
            await asyncio.sleep(0.01)


def test_killing_the_agent_loses_nothing_and_stores_nothing_twice(tmp_path: Path) -> None:
    """Three SIGKILLs under traffic: every exchange is stored exactly once, whole, and the count of lost ones is 0."""
    total, kills = 600, {150, 300, 450}

    async def scene() -> None:
        tap = Trimtab(app, TapSettings(socket=str(tmp_path / "agent.sock")))  # type: ignore[arg-type]
        assert tap.spool is not None
        agent = start(tmp_path)
        try:
            await ask(tap, 0)
            await until(lambda: tap.spool is not None and tap.spool.waiting == 0)
            for n in range(1, total):
                assert f"q{n}".encode() in await ask(tap, n)
                await asyncio.sleep(0.002)
                if n in kills:
                    agent.kill()
                    agent.wait()
                    agent = start(tmp_path)
            await until(lambda: tap.spool is not None and tap.spool.waiting == 0)
            await asyncio.sleep(0.1)
            assert tap.spool.dropped == tap.spool.faults == 0
        finally:
            agent.kill()
            agent.wait()
            await tap.spool.stop()

    asyncio.run(scene())
    store = Store.at(tmp_path)
    rows = [exchange for _, exchange in store.exchanges_after(0, 10 * total)]
    counts = store.capture_counts()
    store.close()
    assert Counter(row.prompt for row in rows) == {f"q{n}": 1 for n in range(total)}
    assert all(row.answer == f"answer to {row.prompt}" for row in rows)
    assert all(row.alias == "home" for row in rows)
    assert rows[-1].version == "home-v1"
    assert counts["assigned"] == counts["stored"] == total
    assert counts["lost"] == counts["dropped"] == counts["unreadable"] == 0
