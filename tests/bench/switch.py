"""ASGI middleware that takes each request either through Trimtab or past it, as the request itself asks.

In: the header `x-bench-plain: 1` (past it) or another (through it). Out: the answer; `GET /bench/counters` says what
the tap has counted. Must never know: vLLM, the stub. So both ways are measured in one process, moment by moment.
"""

from __future__ import annotations

import json
import time
from typing import Any

from serving.guard import ASGIApp, Receive, Scope, Send
from serving.middleware import Trimtab

PLAIN = (b"x-bench-plain", b"1")
COUNTERS = "/bench/counters"


class Switch:
    """`--middleware tests.bench.switch.Switch`, configured as Trimtab is."""

    def __init__(self, app: ASGIApp) -> None:
        self._plain = app
        self._trimtab = Trimtab(app)
        self._first_drop: dict[str, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._trimtab(scope, receive, send)
        elif scope["path"] == COUNTERS:
            await self._count(send)
        elif PLAIN in scope["headers"]:
            await self._plain(scope, receive, send)
        else:
            await self._trimtab(scope, receive, send)
            spool = self._trimtab.spool
            if spool is not None and spool.dropped and not self._first_drop:
                self._first_drop = {"seq": spool.seq, "held_bytes": spool.held_bytes}

    async def _count(self, send: Send) -> None:
        spool = self._trimtab.spool
        said: dict[str, Any] = {"cpu_s": time.process_time(), "first_drop": self._first_drop}
        if spool is not None:
            said |= {name: getattr(spool, name) for name in ("seq", "dropped", "waiting", "held_bytes", "faults")}
        body = json.dumps(said).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
