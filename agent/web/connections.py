"""How many connections the agent's HTTP keeps, and for how long one may say nothing.

Lives here: `Connection`, uvicorn's own with two bounds, and `Rarely`, which keeps a log small.
Comes in: sockets; log records. Goes out: the same, the idle and the too many closed; a repeated record once a minute.
Must never know: routes.

uvicorn puts no bound on connections that send no request; a thousand of them take every file descriptor that a process
usually has, and then neither taps nor monitors get in.
"""

from __future__ import annotations

import asyncio
import logging
import time

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 256
IDLE_S = 15.0
"""Within this time a connection must have begun its first request."""
REPEAT_S = 60.0


class Connection(H11Protocol):
    """One connection; where there are too many, the one that has been sending its request longest makes room."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it in, and cut off the slowest, itself when all others are being answered."""
        super().connection_made(transport)
        self.since_s = asyncio.get_running_loop().time()
        if len(self.connections) > MAX_CONNECTIONS:
            others = [c for c in self.connections if isinstance(c, Connection) and c is not self and c.waits]
            min(others, key=lambda c: c.since_s, default=self).transport.abort()
        if not transport.is_closing():
            asyncio.get_running_loop().call_later(IDLE_S, self._close_if_idle)

    @property
    def waits(self) -> bool:
        """True while nothing is being answered: the request is not whole yet, or none is there. Not once it closes."""
        cycle = getattr(self, "cycle", None)  # typed as never None
        return not self.transport.is_closing() and (cycle is None or cycle.more_body or cycle.response_complete)

    def _close_if_idle(self) -> None:
        if getattr(self, "cycle", None) is None and not self.transport.is_closing():
            self.transport.close()


class Rarely(logging.Filter):
    """Lets a record with the same text pass once a minute."""

    def __init__(self) -> None:
        super().__init__()
        self._passed_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this one passes."""
        now, key = time.monotonic(), str(record.msg).partition("\n")[0]
        if now - self._passed_at.get(key, -REPEAT_S) < REPEAT_S:
            return False
        self._passed_at = {k: at for k, at in self._passed_at.items() if now - at < REPEAT_S} | {key: now}
        return True
