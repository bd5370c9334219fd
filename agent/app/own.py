"""What the agent itself asks the engine, counted.

Lives here: `OwnRequests`, which counts probes and judgements as they leave and as they come back.
Comes in: the judge, requests of the engine's client. Goes out: the same, and two numbers.
Must never know: what is asked. `trimtab doctor` takes them off what the engine counts, before it compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from threading import Lock

import httpx

from agent.quality.judge import Judge
from agent.types import Exchange, Grade


class OwnRequests:
    """Counts requests that make the engine generate; safe from several threads."""

    def __init__(self) -> None:
        self.started = 0
        self.finished = 0
        self._lock = Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Around each request: it counts as started before it leaves, as finished once its answer is there."""
        with self._lock:
            self.started += 1
        try:
            yield
        finally:
            with self._lock:
                self.finished += 1

    def transport(self) -> httpx.BaseTransport:
        """For the engine's client: counts the POSTs that are answered by a model."""
        return _Counting(self)

    def judge(self, judge: Judge | None) -> Judge | None:
        """The same judge, each of its calls counted."""
        return None if judge is None else _Counted(judge, self)


class _Counting(httpx.HTTPTransport):
    def __init__(self, own: OwnRequests) -> None:
        super().__init__()
        self._own = own

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "POST" or request.url.path.endswith("_adapter"):
            return super().handle_request(request)
        with self._own.one():
            return super().handle_request(request)


class _Counted:
    def __init__(self, judge: Judge, own: OwnRequests) -> None:
        self.source = judge.source
        self._judge = judge
        self._own = own

    def grade(self, exchange: Exchange, now: datetime) -> Grade:
        with self._own.one():
            return self._judge.grade(exchange, now)

    def close(self) -> None:
        self._judge.close()
