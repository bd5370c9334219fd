"""Adapter folders that prove their own content."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent.store import artifacts
from agent.types import Unservable


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """Give a sealed adapter folder."""
    folder = tmp_path / "home-v1"
    folder.mkdir()
    (folder / artifacts.CONFIG).write_text("{}")
    (folder / artifacts.WEIGHTS).write_bytes(b"weights")
    artifacts.seal(folder, {"order": "o1"})
    return folder


def test_seal_and_verify_agree(sealed: Path) -> None:
    """What was sealed verifies, to the digest that the manifest carries."""
    assert artifacts.verify(sealed) == artifacts.manifest(sealed)["digest"]
    assert artifacts.manifest(sealed)["order"] == "o1"


def test_the_digest_does_not_depend_on_order() -> None:
    """Two listings of the same files in another order have the same digest."""
    assert artifacts.digest_of({"a": "1", "b": "2"}) == artifacts.digest_of({"b": "2", "a": "1"})
    assert artifacts.digest_of({"a": "1", "b": "2"}) != artifacts.digest_of({"a": "2", "b": "1"})


@pytest.mark.parametrize("name", [artifacts.CONFIG, artifacts.WEIGHTS])
def test_a_changed_file_is_unservable(sealed: Path, name: str) -> None:
    """One changed byte in any file makes the adapter unservable, and the sentence names the file."""
    (sealed / name).write_bytes(b"other")
    with pytest.raises(Unservable, match=name):
        artifacts.verify(sealed)


def test_a_missing_file_is_unservable(sealed: Path) -> None:
    """A file that was published and is gone makes the adapter unservable."""
    (sealed / artifacts.WEIGHTS).unlink()
    with pytest.raises(Unservable, match="missing"):
        artifacts.verify(sealed)


def test_an_added_file_is_unservable(sealed: Path) -> None:
    """A file that nobody published makes the adapter unservable: the engine might read it."""
    (sealed / "adapter_model.bin").write_bytes(b"evil")
    with pytest.raises(Unservable, match="not listed"):
        artifacts.verify(sealed)


def test_no_manifest_is_unservable(sealed: Path) -> None:
    """A folder without a readable manifest is unservable rather than trusted."""
    (sealed / artifacts.MANIFEST).write_text("not json")
    with pytest.raises(Unservable, match="manifest"):
        artifacts.verify(sealed)
    (sealed / artifacts.MANIFEST).write_text(json.dumps({"files": {}}))
    with pytest.raises(Unservable, match="does not list"):
        artifacts.verify(sealed)


def test_the_base_digest_covers_weights_and_tokenizer(tmp_path: Path) -> None:
    """Another tokenizer is another base model; a log file beside it is not."""
    (tmp_path / "model.safetensors").write_bytes(b"w")
    (tmp_path / "tokenizer.json").write_text("{}")
    before = artifacts.base_digest(tmp_path)
    (tmp_path / "run.log").write_text("noise")
    assert artifacts.base_digest(tmp_path) == before
    (tmp_path / "tokenizer.json").write_text("{ }")
    assert artifacts.base_digest(tmp_path) != before
