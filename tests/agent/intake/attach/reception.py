"""An application with both doors over a real store.

In: a folder. Out: the application, its store, and one request at a time to it.
Must never know: what is handed in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from agent.intake.attach import Desk, Doors, Tally
from agent.intake.redact import Redactor
from agent.store import Store
from agent.types import Exchange
from agent.web.attach import attach

START = datetime(2026, 1, 1, tzinfo=UTC)


def lines(*documents: Mapping[str, Any]) -> bytes:
    """JSON lines."""
    return b"".join(json.dumps(d).encode() + b"\n" for d in documents)


@dataclass
class Reception:
    """Both doors, the store behind them, and what may go wrong there."""

    folder: Path
    token: str = ""
    redactor: Redactor = field(default_factory=lambda: Redactor(["(?i)moonbase"]))
    choke: Callable[[Exchange], Exchange] | None = None
    fault: Callable[[list[Exchange]], Exception | None] = lambda batch: None

    def __post_init__(self) -> None:
        """Open the store and add the routes."""
        self.store = Store.at(self.folder)
        choke = self.choke or self.redactor.exchange
        self.desk = Desk(self.redactor, choke, self.put, Tally(self.store), "home", lambda: datetime.now(UTC))
        self.doors = Doors(self.desk, lambda: START)
        self.app = FastAPI()
        attach(self.app, self.doors, self.token)

    def put(self, batch: list[Exchange]) -> int:
        """Store a batch, or fail as told."""
        fault = self.fault(batch)
        if fault is not None:
            raise fault
        return self.store.add_exchanges(batch)

    def post(self, path: str, content: Any, **headers: str) -> httpx.Response:
        """One request; header names with underscores for dashes."""

        async def go() -> httpx.Response:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app=self.app), base_url="http://agent"
            ) as client:
                return await client.post(path, content=content, headers=named)

        return asyncio.run(go())

    def hand_in(self, *documents: Mapping[str, Any], source: str = "http") -> dict[str, Any]:
        """JSON lines, which must be answered with 200."""
        answer = self.post(f"/v1/exchanges?source={source}", lines(*documents))
        assert answer.status_code == 200, answer.text
        said: dict[str, Any] = answer.json()
        return said

    def stored(self) -> list[Exchange]:
        """Everything in the store, oldest first."""
        return [exchange for _, exchange in self.store.exchanges_after(0, 100_000)]

    def bytes_on_disk(self) -> bytes:
        """Every byte of the folder, the write-ahead log included."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())
