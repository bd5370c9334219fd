"""Adapters in the object store: the same contract over a folder and over a real S3 server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store import artifacts, shelf
from agent.store.objects import Folder, Objects, objects_at
from agent.types import InvalidInput, RemoteFault, Unservable
from tests.estate.bucket import KEYS, make_bucket, s3_server
from tests.needs import need_module


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of an S3 server."""
    need_module("moto", "pip install -e '.[dev]'")
    with s3_server() as address:
        yield address


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """Give an empty store."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    if request.param == "folder":
        return objects_at((tmp_path / "objects").as_uri())
    endpoint: str = request.getfixturevalue("endpoint")
    bucket = f"shelf-{abs(hash(str(tmp_path)))}"
    make_bucket(endpoint, bucket)
    return objects_at(f"s3://{bucket}/pre", endpoint=endpoint)


def adapter(folder: Path, weights: bytes = b"weights") -> Path:
    """A sealed folder."""
    folder.mkdir(parents=True)
    (folder / artifacts.CONFIG).write_text("{}")
    (folder / artifacts.WEIGHTS).write_bytes(weights)
    (folder / "README.md").write_text("# card")
    artifacts.seal(folder, {"order": "o1", "name": folder.name})
    return folder


def test_a_version_comes_back_whole(objects: Objects, tmp_path: Path) -> None:
    """What another machine fetches verifies to the same digest, once; a copy that is there is not fetched again."""
    digest = shelf.put(objects, adapter(tmp_path / "here"), "home-v2")
    assert shelf.put(objects, tmp_path / "here", "home-v2") == digest
    there = tmp_path / "other machine" / "home-v2"
    assert shelf.bring(objects, "home-v2", digest, there)
    assert artifacts.verify(there) == digest
    assert not shelf.bring(objects, "home-v2", digest, there)
    assert [path.name for path in there.parent.iterdir()] == ["home-v2"]


def test_a_damaged_copy_is_replaced(objects: Objects, tmp_path: Path) -> None:
    """Bits that flipped on this disk are fetched anew."""
    folder = adapter(tmp_path / "home-v2")
    digest = shelf.put(objects, folder, "home-v2")
    (folder / artifacts.WEIGHTS).write_bytes(b"waights")
    assert shelf.bring(objects, "home-v2", digest, folder)
    assert (folder / artifacts.WEIGHTS).read_bytes() == b"weights"


def test_a_name_never_gets_other_weights(objects: Objects, tmp_path: Path) -> None:
    """A second content under a name is refused, and the first stays."""
    digest = shelf.put(objects, adapter(tmp_path / "a"), "home-v2")
    with pytest.raises(InvalidInput, match=r"already with digest .* give a new name"):
        shelf.put(objects, adapter(tmp_path / "b", b"others"), "home-v2")
    assert (shelf.published(objects, "home-v2") or {})["digest"] == digest


def test_half_a_version_is_none(objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that died before the manifest left nothing to see, and the next attempt's other weights are published."""
    real, kind = type(objects).create, type(objects)

    def dies(self: Objects, key: str, data: bytes) -> str:
        if key.endswith(artifacts.WEIGHTS):
            raise RemoteFault("the job was killed")
        return real(self, key, data)

    monkeypatch.setattr(kind, "create", dies)
    with pytest.raises(RemoteFault):
        shelf.put(objects, adapter(tmp_path / "a"), "home-v2")
    monkeypatch.setattr(kind, "create", real)
    assert objects.names("adapters/")
    assert shelf.published(objects, "home-v2") is None
    with pytest.raises(Unservable, match="neither in"):
        shelf.bring(objects, "home-v2", "0" * 64, tmp_path / "c")
    again = shelf.put(objects, adapter(tmp_path / "b", b"others"), "home-v2")
    assert (shelf.published(objects, "home-v2") or {})["digest"] == again


def test_what_was_changed_in_the_store_is_refused(tmp_path: Path) -> None:
    """Weights, manifest or digest that differ are named, and nothing appears in the folder."""
    root = tmp_path / "objects"
    objects = Folder(root)
    digest = shelf.put(objects, adapter(tmp_path / "a"), "home-v2")
    with pytest.raises(Unservable, match="not 111111111111"):
        shelf.bring(objects, "home-v2", "1" * 64, tmp_path / "c")
    weights = next(root.rglob(artifacts.WEIGHTS))
    weights.write_bytes(b"evil")
    with pytest.raises(Unservable, match="is not what was published"):
        shelf.bring(objects, "home-v2", digest, tmp_path / "c")
    manifest = root / "adapters" / "home-v2.json"
    document = json.loads(manifest.read_text())
    for broken in ("{", "[]", json.dumps({**document, "files": {"../../evil": "0"}})):
        manifest.write_text(broken)
        with pytest.raises(Unservable, match="is no manifest of an adapter"):
            shelf.bring(objects, "home-v2", digest, tmp_path / "c")
    assert not (tmp_path / "c").exists()
    assert not list(tmp_path.glob(".c*"))


def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that finds no room leaves nothing behind."""
    objects = Folder(tmp_path / "objects")
    digest = shelf.put(objects, adapter(tmp_path / "a"), "home-v2")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(artifacts, "sync", full)
    with pytest.raises(RemoteFault, match=r"cannot be written to .*No space left on device.* make room"):
        shelf.bring(objects, "home-v2", digest, tmp_path / "there" / "home-v2")
    assert list((tmp_path / "there").iterdir()) == []
