"""Adapters in the object store: the same contract over a folder and over a real S3 server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from agent.app.forget import forget
from agent.app.main import redactor_of
from agent.app.withdraw import keeper, theirs_by, withdraw
from agent.settings import Settings
from agent.store import Store, artifacts, shelf
from agent.store.objects import Folder, Objects, objects_at
from agent.types import AdapterVersion, Exchange, InvalidInput, Message, Outcome, RemoteFault, Unservable
from tests.estate.bucket import KEYS, make_bucket, s3_server
from tests.needs import need_module

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EXCHANGE = Exchange(
    id="x1", worker="w", seq=1, started_at=NOW, path="/v1/chat/completions", alias="home", version="home-v1",
    status=200, outcome=Outcome.COMPLETE, answer="said",
    messages=(Message(role="user", text="hers  "),), user="",
)  # fmt: skip


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


def words(*texts: str) -> bytes:
    """Probes that ask these texts."""
    return json.dumps([{"messages": [{"role": "user", "content": text}], "answer": "a"} for text in texts]).encode()


def speaking(folder: Path, *texts: str) -> Path:
    """A sealed folder whose probes and reference repeat these texts."""
    folder.mkdir(parents=True)
    (folder / artifacts.PROBES).write_bytes(words(*texts))
    lines = [json.dumps({"prompt": text, "answer": "a", "user": "ann"[:n]}) for n, text in enumerate(texts)]
    (folder / artifacts.REFERENCE).write_text("\n".join(lines) + "\n")
    (folder / artifacts.CONFIG).write_text("{}")
    (folder / artifacts.WEIGHTS).write_bytes(b"weights")
    artifacts.seal(folder, {"order": "o1", "name": folder.name})
    return folder


def asks(folder: Path) -> list[str]:
    """What the probes and the reference of a folder ask."""
    probes = [probe["messages"][0]["content"] for probe in json.loads((folder / artifacts.PROBES).read_text())]
    return probes + [json.loads(line)["prompt"] for line in (folder / artifacts.REFERENCE).read_text().splitlines()]


def objects_hold(objects: Objects, text: str) -> bool:
    """Whether any object holds a text."""
    return any(text.encode() in objects.get(key)[0] for key in objects.names("adapters/"))


def test_a_persons_words_go_and_the_version_stays(objects: Objects, tmp_path: Path) -> None:
    """What is left comes back whole under the same digest; dead attempts' words go too, a job's in work stay."""
    digest = shelf.put(objects, speaking(tmp_path / "here", "hers", "his"), "home-v2")
    shelf.put(objects, speaking(tmp_path / "else", "his"), "home-v1")
    objects.create("adapters/home-v2/0000/probes.json", words("hers"))
    objects.create("adapters/home-v3/1111/probes.json", words("hers"))
    keep = keeper(theirs_by((), ["hers"]))
    assert shelf.sift(objects, keep, unfinished=False) == (["home-v2"], [])
    assert objects.names("adapters/home-v3/")
    assert not any(b"hers" in objects.get(key)[0] for key in objects.names("adapters/home-v2/"))
    assert shelf.sift(objects, keep, unfinished=True) == ([], [])
    assert not objects_hold(objects, "hers")
    assert shelf.bring(objects, "home-v2", digest, tmp_path / "there")
    assert (asks(tmp_path / "there"), artifacts.verify(tmp_path / "there")) == (["his", "his"], digest)
    assert shelf.put(objects, tmp_path / "here", "home-v2") == digest
    assert not objects_hold(objects, "hers")
    assert withdraw(tmp_path / "here", keep)
    assert (asks(tmp_path / "here"), artifacts.verify(tmp_path / "here")) == (["his", "his"], digest)
    assert not withdraw(tmp_path / "here", keep)


def test_forgetting_that_is_cut_off_is_completed(
    objects: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each write that could be the last, the version is whole; the next run ends what was begun."""
    digest = shelf.put(objects, speaking(tmp_path / "here", "hers", "his"), "home-v2")
    keep, kind, left = keeper(theirs_by((), ["hers"])), type(objects), [0]

    def counted(name: str) -> None:
        real = getattr(kind, name)

        def act(self: Objects, *args: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise RemoteFault("killed")
            return real(self, *args)

        monkeypatch.setattr(kind, name, act)

    for name in ("create", "swap", "remove"):
        counted(name)
    for cut in range(20):
        left[0] = cut + 1
        try:
            shelf.sift(objects, keep, unfinished=True)
        except RemoteFault:
            assert shelf.bring(objects, "home-v2", digest, tmp_path / f"after {cut}")
            continue
        break
    assert cut == 3
    assert not objects_hold(objects, "hers")


def test_a_folder_is_whole_at_every_instant_of_forgetting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between its two renames, a folder still verifies and the next run ends it; weights are never excused."""
    folder = speaking(tmp_path / "here", "hers", "his")
    digest, keep, real = artifacts.verify(folder), keeper(theirs_by(("an",), ["hers"])), Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target.name != artifacts.MANIFEST:
            raise KeyboardInterrupt
        return real(self, target)

    with monkeypatch.context() as cut:
        cut.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            withdraw(folder, keep)
    assert artifacts.verify(folder) == digest
    assert withdraw(folder, keep)
    assert (asks(folder), artifacts.verify(folder)) == (["his", "his"], digest)
    sealed = json.loads((folder / artifacts.MANIFEST).read_text())
    (folder / artifacts.WEIGHTS).write_bytes(b"evil")
    sealed[artifacts.WITHDRAWN][artifacts.WEIGHTS] = artifacts.file_sha256(folder / artifacts.WEIGHTS)
    (folder / artifacts.MANIFEST).write_text(json.dumps(sealed))
    with pytest.raises(Unservable, match="is not what was published"):
        artifacts.verify(folder)


def test_the_command_reaches_what_lies_in_the_object_store(objects: Objects, endpoint: str, tmp_path: Path) -> None:
    """An order worked off elsewhere is known by its record: its adapter is named, its probes lose their words."""
    on = {"url": objects.url} if isinstance(objects, Folder) else {"url": objects.url, "endpoint": endpoint}
    settings = Settings.model_validate({"home": str(tmp_path / "home"), "objects": on})
    store = Store.at(tmp_path / "home")
    ann = redactor_of(settings).hash("ann")
    store.add_exchanges([replace(EXCHANGE, user=ann)])
    digest = shelf.put(objects, speaking(tmp_path / "job", "hers", "his"), "home-v2")
    shelf.record_people(objects, "o1", json.dumps({"users": {ann: 3}}).encode())
    for name, order in (("home-v2", "o1"), ("home-v3", "o9")):
        store.put_adapter(
            AdapterVersion(
                name=name, alias="home", path=str(tmp_path / "none" / name), digest=digest, base_digest="b",
                parent=None, status="live", created_at=NOW, order_id=order,
            )
        )  # fmt: skip
    (line, taken, named, unlearn, unknown) = forget(settings, "ann").lines()
    assert line.startswith("1 exchanges blanked")
    assert taken == f"their messages taken out of the probes and the reference of adapter home-v2 in {objects.url}"
    assert named == "adapter home-v2: was trained on their data by order o1 (live)"
    assert unlearn.startswith("weights cannot unlearn")
    assert unknown.startswith("adapter home-v3: whose data order o9 used is on record neither here nor")
    assert not objects_hold(objects, "hers")
    store.close()


def test_a_version_comes_back_whole(objects: Objects, tmp_path: Path) -> None:
    """What another machine fetches verifies to the same digest, once; a copy that is there is not fetched again."""
    digest = shelf.put(objects, adapter(tmp_path / "here"), "home-v2")
    assert shelf.put(objects, tmp_path / "here", "home-v2") == digest
    there = tmp_path / "other machine" / "home-v2"
    assert shelf.bring(objects, "home-v2", digest, there)
    assert artifacts.verify(there) == digest
    assert not shelf.bring(objects, "home-v2", digest, there)
    assert [path.name for path in there.parent.iterdir()] == ["home-v2"]


def test_two_loops_that_want_one_version_fetch_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch and the rollout of one process ask at the same time: each finds it whole, neither the other's draft."""
    objects, made, here = Folder(tmp_path / "objects"), adapter(tmp_path / "made"), tmp_path / "here"
    digest = shelf.put(objects, made, "home-v1")
    fetch, begun, tries = shelf._fetch, threading.Event(), list[Path]()

    def slowly(of: Objects, name: str, wanted: str, draft: Path) -> None:
        tries.append(draft)
        begun.set()
        time.sleep(0.1)  # long enough for the other to come in between, if it can
        fetch(of, name, wanted, draft)

    monkeypatch.setattr(shelf, "_fetch", slowly)
    with ThreadPoolExecutor(2) as loops:
        first = loops.submit(shelf.bring, objects, "home-v1", digest, here)
        assert begun.wait(10)
        second = loops.submit(shelf.bring, objects, "home-v1", digest, here)
        assert (first.result(), second.result()) == (True, False)
    assert len(tries) == 1
    assert artifacts.verify(here) == digest


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
