"""A real, empty store for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty real store."""
    opened = Store.at(tmp_path / "home")
    yield opened
    opened.close()
