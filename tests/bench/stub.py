"""A stub of vLLM under uvicorn, a process of its own: it answers at once, or streams an event a millisecond.

In: `python -m tests.bench.stub PORT`, and Trimtab's environment. Out: chat answers of 700 characters.
Must never know: who asks, what is measured. A body that says `"stream": true` is answered by 64 events.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx

from serving.guard import ASGIApp, Message, Receive, Scope, Send
from tests.bench import texts
from tests.bench.figures import ROOT
from tests.bench.switch import COUNTERS, Switch
from tests.estate.server import free_port

PACE_S = 0.001


def stub() -> ASGIApp:
    """The app."""
    talk = texts.talks(1, seed=1)[0]
    body, events = texts.whole(talk, 1), texts.streamed(talk, 1)
    json_headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    start: Message = {"type": "http.response.start", "status": 200, "headers": json_headers}
    stream: Message = {**start, "headers": [(b"content-type", b"text/event-stream")]}

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        asked, more = b"", True
        while more:
            message = await receive()
            asked += message.get("body", b"")
            more = message.get("more_body", False)
        if b'"stream": true' not in asked:
            await send(start)
            await send({"type": "http.response.body", "body": body})
            return
        await send(stream)
        for event in events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
            await asyncio.sleep(PACE_S)
        await send({"type": "http.response.body", "body": b""})

    return app


@contextlib.contextmanager
def running(socket: Path, *, buffer_bytes: int = 64 << 20) -> Iterator[str]:
    """Starts the stub with Trimtab's switch inside, yields its address, ends it afterwards."""
    port = free_port()
    env = {**os.environ, "TRIMTAB_SOCKET": str(socket), "TRIMTAB_BUFFER_BYTES": str(buffer_bytes)}
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.stub", str(port)], cwd=ROOT, env=env)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=8), trust_env=False) as http:
            http.get(url + COUNTERS).raise_for_status()
        yield url
    finally:
        process.kill()
        process.wait()


def main(port: int) -> None:
    """Serves until killed."""
    import uvicorn

    uvicorn.run(Switch(stub()), port=port, log_level="warning", lifespan="off", backlog=1024)


if __name__ == "__main__":
    main(int(sys.argv[1]))
