"""A real, empty store for each test: every test that asks for one runs on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store import Store


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty real store."""
    sqlite = request.param == "sqlite"
    opened = Store.at(tmp_path / "home") if sqlite else Store(request.getfixturevalue("database"))
    yield opened
    opened.close()
