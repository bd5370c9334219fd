"""A person's word: only what waits can be decided on, and the record keeps who said what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.app.approval import approve, reject
from agent.store import Store
from agent.types import AdapterVersion, InvalidInput

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give a store with a waiting version and a live one."""
    store = Store.at(tmp_path)
    for name, status in (("home-v1", "live"), ("home-v2", "waiting")):
        version = AdapterVersion(
            name=name, alias="home", path=f"/{name}", digest="d", base_digest="b", parent=None, status=status,
            created_at=NOW,
        )  # fmt: skip
        store.put_adapter(version)
    yield store
    store.close()


def status(store: Store, name: str) -> str:
    """Give a version's place in life."""
    return next(version.status for version in store.adapters() if version.name == name)


def test_an_approved_version_is_accepted(store: Store) -> None:
    """The version may be rolled out from now on, and the record says who let it."""
    assert "approved by ann" in approve(store, "home-v2", "ann", NOW)
    assert status(store, "home-v2") == "accepted"
    event = store.events()[-1]
    assert (event.kind, event.data["by"], event.data["version"]) == ("approval", "ann", "home-v2")


def test_a_rejected_version_stays_rejected(store: Store) -> None:
    """It needs a reason, which is kept; a later approval is refused."""
    with pytest.raises(InvalidInput, match="--reason"):
        reject(store, "home-v2", "  ", "ann", NOW)
    assert "too chatty" in reject(store, "home-v2", "too chatty", "ann", NOW)
    assert status(store, "home-v2") == "rejected"
    assert store.events()[-1].data["reason"] == "too chatty"
    with pytest.raises(InvalidInput, match="is rejected"):
        approve(store, "home-v2", "ann", NOW)


@pytest.mark.parametrize(("name", "says"), [("home-v1", "is live"), ("nobody", "is no version")])
def test_only_what_waits_is_decided_on(store: Store, name: str, says: str) -> None:
    """A live or unknown version is refused in a sentence that names those that wait."""
    with pytest.raises(InvalidInput, match=says) as refused:
        approve(store, name, "ann", NOW)
    assert "waiting: home-v2" in str(refused.value)
    assert status(store, "home-v1") == "live"
