"""What every test of the doors begins with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.intake.attach.reception import Reception


@pytest.fixture
def reception(tmp_path: Path) -> Iterator[Reception]:
    """Open doors over an empty store."""
    opened = Reception(tmp_path / "home")
    yield opened
    opened.store.close()
