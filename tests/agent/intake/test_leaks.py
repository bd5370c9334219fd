"""Planted secrets go through the real agent and come out nowhere: no file, no answer, no metric, no log line."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.app.address import usable_port
from agent.app.main import Agent
from agent.settings import Settings
from agent.store import Store
from agent.store.tables import RolloutRow
from serving import wire
from tests.agent.intake.captures import CHAT, WORKER, capture
from tests.agent.intake.material import chat_answer, chat_event, chat_stream, in_events, packed

SECRETS = {
    "email": "ada.byron@example.com",
    "card": "4111 1111 1111 1111",
    "iban": "DE89 3704 0044 0532 0130 00",
    "key": "sk-abcdefGHIJKL0123456789",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcDEF123456",
    "phone": "+49 30 9018207",
    "ip": "203.0.113.77",
    "ipv6": "2001:db8::ff00:42:8329",
    "ssn": "078-05-1120",
    "password": "hunter2-hunter2",
    "name": "Grace Hopper",
    "pattern": "K-4711-X",
}
ALL = "; ".join(f"{'password: ' if kind == 'password' else ''}{secret}" for kind, secret in SECRETS.items())
MARK = "zebrafish"
"""An ordinary word, which may be stored, but not when no text may."""


def spoiled() -> list[wire.Capture]:
    """Captures with every secret in every place, readable and not, whole and streamed."""
    said = f"{MARK} {ALL}"
    arguments = json.dumps({"to": said, "at": ALL})
    request = {
        **CHAT,
        "user": ALL,
        "messages": [{"role": "user", "content": said}, {"role": ALL, "content": said}],
        "tools": [{"type": "function", "function": {"name": ALL, "description": said}}],
        "metadata": {"template": ALL, "template_version": ALL, "conversation_id": ALL},
    }
    called = {"reasoning": said, "tool_calls": [{"function": {"name": ALL, "arguments": arguments}}]}
    escaped = json.dumps(chat_answer(said, **called)).replace("@", "\\u0040")
    tool = packed(chat_event({"tool_calls": [{"index": 0, "function": {"name": ALL, "arguments": arguments}}]}))
    pieces = [ALL[at : at + 3] for at in range(0, len(ALL), 3)]
    headers = {"x-trimtab-user": ALL, "x-trimtab-template": ALL, "x-request-id": ALL, "traceparent": ALL}
    odd = {**request, "model": ALL, "request_id": ALL}
    named = {**chat_answer(said), "id": f"chatcmpl-{SECRETS['email']}", "model": ALL}
    return [
        capture(request, chat_answer(said, **called), alias="home", version="home-v1"),
        capture(request, escaped.encode(), alias="home", version="home-v1"),
        in_events(request, [*chat_stream(pieces)[:-1], tool], alias="home", version="home-v1"),
        capture(odd, named, headers=headers),
        capture(request, chat_answer(said), alias=ALL, version=ALL),
        capture({"model": ALL, "prompt": said}, {"choices": [{"text": said}]}, path="/v1/completions"),
        capture({"input": said}, {"output": [{"content": [{"text": said}]}], "model": ALL}, path="/v1/responses"),
        capture({"input": said}, {"data": []}, path="/v1/embeddings"),
        capture(request, chat_answer(said), path=f"/v1/{ALL}"),
        capture(request, {"error": {"message": said}}, status=400),
        capture(request, json.dumps(chat_answer(said)).encode()[:-9], alias="home"),
        capture(json.dumps(request).replace("@", "\\u0040").encode()[:-9], chat_answer(said)),
        in_events(request, [*chat_stream(pieces)[:-3], b"data: {not json\n\n"]),
        capture(request, f"<html>{said}</html>".encode(), path=f"/v1/chat/completions?{ALL}"),
        capture(request, f"<html>{said}</html>".encode()),
    ]


@asynccontextmanager
async def running(home: Path, text: str) -> AsyncIterator[tuple[Agent, httpx.AsyncClient]]:
    """The whole agent, without an engine beside it."""
    names = home.with_name("names.txt")
    names.write_text("Grace Hopper\n")
    settings = Settings.model_validate(
        {
            "home": home,
            "tick_s": 0.1,
            "engine": {"url": "http://127.0.0.1:9"},
            "http": {"port": usable_port("127.0.0.1", 0)},
            "capture": {"text": text, "names": names, "patterns": [r"K-\d{4}-X"]},
        }
    )
    store = Store.at(home)
    store.put_rollout(RolloutRow(alias="home", champion="home-v1", updated_at=datetime.now(UTC)))
    store.close()
    agent, stop = Agent(settings, "token"), asyncio.Event()
    task = asyncio.create_task(agent.run(stop))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{settings.http.port}") as client:
            for _ in range(200):
                try:
                    await client.get("/healthz")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.05)
            yield agent, client
    finally:
        stop.set()
        await task


async def deliver(agent: Agent, captures: list[wire.Capture]) -> None:
    """Send frames as a tap does and wait until all are acknowledged."""
    reader, writer = await asyncio.open_unix_connection(agent.settings.socket)
    writer.write(wire.encode_hello(WORKER, 1))
    for seq, one in enumerate(captures, 1):
        writer.write(wire.encode_capture(wire.Capture(**{**_fields(one), "seq": seq})))
    decoder, acked = wire.Decoder(), set[int]()
    async with asyncio.timeout(60):
        while len(acked) < len(captures):
            for kind, payload in decoder.feed(await reader.read(65536)):
                if kind == wire.ACK:
                    acked |= set(wire.decode_json(payload)["seqs"])
    writer.close()


def _fields(one: wire.Capture) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__dataclass_fields__}


async def everything(home: Path, text: str) -> dict[str, str]:
    """All that can be seen of an agent that took the captures: answers of its HTTP by path, files by name."""
    seen: dict[str, str] = {}
    async with running(home, text) as (agent, client):
        captures = spoiled()
        await deliver(agent, captures)
        counts = agent.store.capture_counts()
        assert (counts["stored"], counts["lost"]) == (len(captures), 0)
        kept = [exchange for _, exchange in agent.store.exchanges_after(0, 100)]
        assert {exchange.has_text for exchange in kept if exchange.profiled} == {text == "redacted"}
        said = {"exchange_id": kept[0].id, "correct": False, "correction": f"no, {MARK} {ALL}", "source": "ada"}
        answer = await client.post("/v1/feedback", json=said)
        assert answer.status_code == (200 if text == "redacted" else 422), answer.text
        seen["feedback"] = answer.text
        await asyncio.sleep(1.0)
        for path in ("/", "/v1/status", "/metrics", "/healthz", "/docs"):
            seen[path] = (await client.get(path)).text
        seen |= await asyncio.to_thread(files, home, "")
    return seen | await asyncio.to_thread(files, home, "after/")


def files(home: Path, prefix: str) -> dict[str, str]:
    """Every file under home as text, bytes that are none replaced."""
    found = [path for path in home.rglob("*") if path.is_file()]
    return {f"{prefix}{path.relative_to(home)}": path.read_bytes().decode("utf-8", "replace") for path in found}


@pytest.mark.parametrize("text", ["redacted", "none"])
def test_no_secret_comes_out_anywhere(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a file under home nor an answer, metric or log line holds a planted secret; without text, no word."""
    caplog.set_level(logging.DEBUG)
    seen = asyncio.run(everything(tmp_path / "home", text))
    seen["log"] = caplog.text
    spellings = {kind: {secret, secret.replace(" ", ""), json.dumps(secret)[1:-1]} for kind, secret in SECRETS.items()}
    leaks = [
        (kind, where) for where, shown in seen.items() for kind, s in spellings.items() if any(x in shown for x in s)
    ]
    assert leaks == []
    marked = {where for where, shown in seen.items() if MARK in shown}
    sample = "unreadable/last.jsonl"
    if text == "none":
        assert marked == set()
        assert sample not in seen
    else:
        assert "trimtab.db" in {where.removeprefix("after/").removesuffix("-wal") for where in marked}
        lines = [json.loads(line) for line in seen[sample].splitlines()]
        assert len(lines) == 4
        assert all(line["why"] for line in lines)
        assert MARK in seen[sample]
