# ruff: noqa: T201 - a benchmark prints
"""What the middleware costs, over an in-process stub upstream: CPU time per request and per streamed event.

In: nothing (`python -m tests.bench.bench_serving [--rounds N]`). Out: a table, and `.trimtab/bench/serving.json`.
Must never know: vLLM. Every variant runs in the same process and the same rounds; the best round counts, and the
ratios are against no middleware in the same run, so that a busy machine spoils them little.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

from serving import wire
from serving.alias import Alias
from serving.guard import ASGIApp, Guard, Message, Receive, Scope, Send
from serving.middleware import TapSettings, Trimtab
from serving.spool import Spool
from serving.tap import Tap

OUT = Path(".trimtab/bench/serving.json")
REQUESTS = 3000
EVENTS = 64
EVENT = b'data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":" light"}}]}\n\n'
HEADERS = [
    (n.encode(), b"a value of some length") for n in ("host", "accept", "user-agent", "content-type", "x-a", "x-b")
]


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


async def cpu_us(app: ASGIApp, body: bytes, requests: int) -> float:
    """CPU microseconds of this process per request, sockets to the agent included, the agent not."""
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
    await asyncio.sleep(0.02)  # what the spool still has to send is part of the price
    return (time.process_time() - begun) / requests * 1e6


async def listen(path: str) -> None:
    """The agent's end: reads and acknowledges, in a process of its own."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = wire.Decoder()
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 18):
                seqs = [wire.decode_capture(p).seq for kind, p in decoder.feed(data) if kind == wire.EXCHANGE]
                if seqs:
                    writer.write(wire.encode_ack(seqs))
        writer.close()

    async with await asyncio.start_unix_server(serve, path) as server:
        await server.serve_forever()


async def measure(rounds: int, socket: str) -> list[dict[str, Any]]:
    """One row per case: the best CPU time of each variant."""
    rows = []
    for case, size, chunks, requests in (
        ("full answer", 700, [EVENT * 8], REQUESTS),
        ("full answer, 19 KB request", 19_000, [EVENT * 8], REQUESTS),
        (f"stream of {EVENTS + 1} events", 700, [*[EVENT] * EVENTS, b"data: [DONE]\n\n"], REQUESTS // 10),
    ):
        app, spool = upstream(chunks), Spool(socket, "bench", 256 << 20)
        whole = Trimtab(app, TapSettings(socket=socket, buffer_bytes=256 << 20))
        for alias in (named := Alias(app), whole.alias):
            alias.adopt({"aliases": {"home": {"home-v1": 0.9, "home-v2": 0.1}}})
        variants: dict[str, ASGIApp] = {
            "none": app,
            "guard": Guard(app, b""),
            "alias": named,
            "tap": Tap(app, spool, 1 << 20),
            "all": whole,
        }
        best = dict.fromkeys(variants, float("inf"))
        for _ in range(rounds):
            for name, variant in variants.items():
                best[name] = min(best[name], await cpu_us(variant, body_of(size), requests))
        spools = [each for each in (spool, whole.spool) if each is not None]
        for each in spools:
            await each.stop()
        events = len(chunks)
        rows.append({
            "case": case, "requests": requests, "events": events, "cpu_us": best,
            "dropped": sum(each.dropped for each in spools),
            "tap_added_us": best["tap"] - best["none"],
            "tap_added_us_per_event": (best["tap"] - best["none"]) / events,
            "tap_ratio": best["tap"] / best["none"], "all_ratio": best["all"] / best["none"],
        })  # fmt: skip
    return rows


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        socket = f"{folder}/agent.sock"
        if not (child := os.fork()):
            asyncio.run(listen(socket))
        try:
            while not Path(socket).exists():
                time.sleep(0.01)
            rows = asyncio.run(measure(rounds, socket))
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps({"python": platform.python_version(), "rounds": rounds, "rows": rows}, indent=1))
    print(f"{'CPU us a request':32}{'none':>8}{'guard':>8}{'alias':>8}{'tap':>8}{'all':>8}   tap added (an event)")
    for row in rows:
        figures = "".join(f"{row['cpu_us'][name]:8.2f}" for name in ("none", "guard", "alias", "tap", "all"))
        print(f"{row['case']:32}{figures}   {row['tap_added_us']:.2f} ({row['tap_added_us_per_event']:.2f})")
    print(f"written to {OUT}")


if __name__ == "__main__":
    main()
