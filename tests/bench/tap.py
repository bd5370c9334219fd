"""What the middleware costs the server: CPU time a request and a streamed event, over an app that does nothing.

In: the scale. Out: figures against no middleware in the same process and the same rounds; the best round counts.
Must never know: vLLM. The socket is read by another process; writing to it and reading its answers is in the price.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving.alias import Alias
from serving.guard import ASGIApp, Guard, Message, Receive, Scope, Send
from serving.middleware import TapSettings, Trimtab
from serving.spool import Spool
from serving.tap import Tap
from tests.bench import client, ears, texts
from tests.bench.figures import Figure, say
from tests.bench.scale import Scale

BUFFER_BYTES = 256 << 20
PATIENCE_S = 60.0
FULL_US, EVENT_US, REWRITE_US = 10.0, 0.6, 25.0
HEADERS = [
    (n.encode(), b"a value of some length") for n in ("host", "accept", "user-agent", "content-type", "x-a", "x-b")
]
TABLE = {"aliases": {"home": {"home-v1": 0.9, "home-v2": 0.1}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A request of so many bytes, answered in these chunks."""

    name: str
    says: str
    request_bytes: int
    chunks: list[bytes]
    requests: int


def measure(scale: Scale) -> list[Figure]:
    """CPU microseconds added by guard, alias and tap, apart and together."""
    talk = texts.talks(1, seed=1)[0]
    n = scale.of(3000, 200)
    cases = (
        Case(name="full", says="full answer", request_bytes=700, chunks=[texts.whole(talk, 1)], requests=n),
        Case(name="19kb", says="19 KB request", request_bytes=19_000, chunks=[texts.whole(talk, 1)], requests=n // 3),
        Case(name="sse", says="stream", request_bytes=700, chunks=texts.streamed(talk, 1), requests=n // 8),
    )
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "agent.sock"
        with ears.running("fast", socket):
            return client.run(_measure(cases, socket, scale.of(15, 2)))


async def _measure(cases: tuple[Case, ...], socket: Path, rounds: int) -> list[Figure]:
    figures: list[Figure] = []
    for case in cases:
        ways = _Ways(case, str(socket))
        best = dict.fromkeys(ways.apps, float("inf"))
        for _ in range(rounds):
            for name, app in ways.apps.items():
                spent = await cpu_us(app, body_of(case.request_bytes), case.requests, ways.waiting)
                best[name] = min(best[name], spent)
        if lost := await ways.stop():
            raise RuntimeError(f"{lost} exchanges were dropped: what was measured is not what is promised")
        say(f"    {case.says}: {rounds} rounds of {case.requests} requests")
        figures += _figures(case, best)
    return figures


class _Ways:
    """The same app bare and behind each part of the middleware."""

    def __init__(self, case: Case, socket: str) -> None:
        app = upstream(case.chunks)
        settings = TapSettings(socket=socket, buffer_bytes=BUFFER_BYTES)
        own = Spool(socket, "bench", BUFFER_BYTES)
        unnamed, rewritten, alias = Trimtab(app, settings), Trimtab(app, settings), Alias(app)
        alias.adopt(TABLE)
        self._spools = [own, *(whole.spool for whole in (unnamed, rewritten) if whole.spool is not None)]
        _hold(unnamed, {"aliases": {}})
        _hold(rewritten, TABLE)
        self.apps: Mapping[str, ASGIApp] = {
            "none": app,
            "guard": Guard(app, b""),
            "alias": alias,
            "tap": Tap(app, own, 1 << 20),
            "all": unnamed,
            "rewrite": rewritten,
        }

    def waiting(self) -> int:
        """Exchanges that the sidecar has not acknowledged."""
        return sum(spool.waiting for spool in self._spools)

    async def stop(self) -> int:
        """Ends the spools; returns what they dropped."""
        for spool in self._spools:
            await spool.stop()
        return sum(spool.dropped for spool in self._spools)


def _hold(whole: Trimtab, table: Mapping[str, Any]) -> None:
    """Keeps the table that the case wants, whatever the sidecar pushes."""
    adopt = whole.alias.adopt
    adopt(table)
    vars(whole.alias)["adopt"] = lambda _pushed: adopt(table)


def _figures(case: Case, best: Mapping[str, float]) -> list[Figure]:
    none, events = best["none"], len(case.chunks)
    bounds = {"tap": FULL_US, "all": FULL_US, "rewrite": REWRITE_US} if case.name != "sse" else {}
    says = {
        "guard": "guard alone", "alias": "alias alone, rewriting", "tap": "tap alone",
        "all": "guard, alias and tap, no alias named", "rewrite": "guard, alias and tap, rewriting",
    }  # fmt: skip
    what = f"{case.says} of {events} events" if case.name == "sse" else case.says
    figures = [
        Figure(
            name=f"{case.name}_{way}_us", says=f"{what}: {text}", value=best[way] - none, unit="us",
            bound=bounds.get(way), baseline=none, against="no middleware", ratio=best[way] / none,
        )
        for way, text in says.items()
    ]  # fmt: skip
    if case.name == "sse":
        figures += [
            Figure(
                name=f"sse_event_{way}_us", says=f"an event of {events}, all in: {says[way]}",
                value=(best[way] - none) / events, unit="us", bound=EVENT_US, baseline=none / events,
                against="no middleware", ratio=best[way] / none,
            )
            for way in ("tap", "all")
        ]  # fmt: skip
    return figures


def body_of(nbytes: int) -> bytes:
    """A chat request of about so many bytes that names the alias last, as the openai client writes it."""
    filler = "turn on the light in the kitchen " * (nbytes // 33 + 1)
    message = {"role": "user", "content": filler[: max(0, nbytes - 90)]}
    return json.dumps({"messages": [message], "model": "home", "user": "u1"}).encode()


def upstream(chunks: list[bytes]) -> ASGIApp:
    """An app that does as little as an app can."""
    start: Message = {"type": "http.response.start", "status": 200, "headers": []}
    messages: list[Message] = [{"type": "http.response.body", "body": c, "more_body": True} for c in chunks[:-1]]
    messages.append({"type": "http.response.body", "body": chunks[-1]})

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send(start)
        for message in messages:
            await send(message)

    return app


async def cpu_us(app: ASGIApp, body: bytes, requests: int, waiting: Callable[[], int]) -> float:
    """CPU microseconds of this process a request, the spool's sockets included, the sidecar not."""
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "root_path": "", "headers": HEADERS}
    message: Message = {"type": "http.request", "body": body, "more_body": False}

    async def receive() -> Message:
        return message

    async def send(_message: Message) -> None:
        pass

    begun = time.process_time()
    for i in range(requests):
        await app(dict(scope), receive, send)
        if i % 50 == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0.02)  # what the spool still has to send is part of the price, up to the last acknowledgement
    async with asyncio.timeout(PATIENCE_S):
        while waiting():  # noqa: ASYNC110 - the spool has no event for it
            await asyncio.sleep(0.02)
    return (time.process_time() - begun) / requests * 1e6
