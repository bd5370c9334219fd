"""One contract of the object store, held by a folder and by a real S3 server."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.store.objects import Folder, Missing, Objects, Taken, get_verified, objects_at, put_once
from agent.store.s3 import Bucket
from agent.types import InvalidInput, RemoteFault, TrimtabError, Unservable
from tests.estate.bucket import KEYS, make_bucket, s3_server
from tests.needs import need_module

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """The address of an S3 server."""
    need_module("moto", "pip install -e '.[dev]'")
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """Give an empty store."""
    if request.param == "folder":
        return objects_at((tmp_path / "objects").as_uri())
    endpoint: str = request.getfixturevalue("endpoint")
    bucket = hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]
    make_bucket(endpoint, bucket)
    return objects_at(f"s3://{bucket}/some/prefix", endpoint=endpoint)


def test_what_is_put_is_got(objects: Objects) -> None:
    """The same bytes come back, under the same tag, and are listed."""
    tag = objects.create("a/b/c.bin", b"\x00bytes")
    assert objects.get("a/b/c.bin") == (b"\x00bytes", tag)
    objects.create("a/d", b"")
    objects.create("other/e", b"x")
    assert objects.names("a/") == ["a/b/c.bin", "a/d"]
    assert objects.names("nothing/") == []


def test_what_is_removed_is_gone(objects: Objects) -> None:
    """It is missing afterwards, its neighbour is not, and removing what is not there is fine."""
    objects.create("a/k", b"1")
    objects.create("a/l", b"2")
    objects.remove("a/k")
    objects.remove("a/k")
    assert objects.names("a/") == ["a/l"]


def test_create_never_overwrites(objects: Objects) -> None:
    """The second to create is told so, and what was there stays."""
    objects.create("k", b"first")
    with pytest.raises(Taken):
        objects.create("k", b"second")
    assert objects.get("k")[0] == b"first"
    put_once(objects, "k", b"first")
    with pytest.raises(Taken):
        put_once(objects, "k", b"second")


def test_swap_overwrites_only_what_it_was_told_of(objects: Objects) -> None:
    """A stale tag changes nothing; the right one does, and gives the next."""
    first = objects.create("k", b"1")
    second = objects.swap("k", b"2", first)
    with pytest.raises(Taken):
        objects.swap("k", b"3", first)
    assert objects.get("k") == (b"2", second)
    objects.swap("k", b"3", second)
    assert objects.get("k")[0] == b"3"


def test_nothing_there_is_said(objects: Objects) -> None:
    """A key that nobody put is missing, to readers and to swappers."""
    with pytest.raises(Missing):
        objects.get("nobody")
    with pytest.raises((Missing, Taken)):
        objects.swap("nobody", b"x", '"0123"')


def test_what_is_got_is_what_was_published(objects: Objects) -> None:
    """A digest that does not fit is refused and names both."""
    objects.create("k", b"published")
    right = hashlib.sha256(b"published").hexdigest()
    assert get_verified(objects, "k", right) == b"published"
    with pytest.raises(Unservable, match=f"sha256 {right[:12]}, not 000000000000"):
        get_verified(objects, "k", "0" * 64)


def test_one_of_many_wins(objects: Objects) -> None:
    """Of eight that create or swap at once, exactly one succeeds."""
    tag = objects.create("swapped", b"0")
    won: list[str] = []

    def attempt(number: int) -> None:
        for act in ("created", "swapped"):
            try:
                if act == "created":
                    objects.create(act, b"%d" % number)
                else:
                    objects.swap(act, b"%d" % number, tag)
            except (Taken, RemoteFault):  # a server may tell a loser to come again: 409 while another writes
                continue
            won.append(act)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == ["created", "swapped"]


@pytest.mark.parametrize("key", ["/etc/passwd", "a/../../b", ""])
def test_no_key_leads_out(objects: Objects, key: str) -> None:
    """A key is a path inside the store."""
    with pytest.raises(InvalidInput, match="no key"):
        objects.create(key, b"x")


KILLED = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from agent.store.objects import Folder
os.link = lambda *_: os.kill(os.getpid(), 9)
Folder(Path(sys.argv[1])).create("a/k", b"x" * 100_000)
"""


def test_a_writer_killed_in_the_middle_leaves_nothing_to_see(tmp_path: Path) -> None:
    """The file that was being written is no object, and the next writer succeeds."""
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == -9
    folder = Folder(tmp_path)
    assert (any((tmp_path / "a").iterdir()), folder.names("a/")) == (True, [])
    folder.create("a/k", b"whole")
    assert folder.get("a/k")[0] == b"whole"


@pytest.mark.parametrize(
    "url", ["", "folder", "file://host/x", "file:relative", "s3://", "gs://bucket/x", "s3://me:secret@bucket"]
)
def test_an_address_is_checked(url: str) -> None:
    """What is no address says what one looks like."""
    with pytest.raises(InvalidInput, match=r"write file:///folder or s3://bucket/prefix"):
        objects_at(url)


def test_a_bucket_that_is_not_there(endpoint: str) -> None:
    """Reading and writing both say so and what to do."""
    bucket = objects_at("s3://nobody-made-it", endpoint=endpoint)
    for act in (lambda: bucket.get("k"), lambda: bucket.create("k", b""), lambda: bucket.names("a/")):
        with pytest.raises(InvalidInput, match="there is no such bucket: create it"):
            act()


def test_a_server_that_is_down() -> None:
    """It says so within the retries, without a stack of causes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RemoteFault) as told:
        Bucket("b", endpoint=address, retries=0).get("k")
    assert str(told.value).startswith("object store s3://b does not answer for k (")
    assert "\n" not in str(told.value)


class Refusing(threading.Thread):
    """A server that answers every request as S3 does when a right is missing."""

    def __init__(self, code: str) -> None:
        super().__init__(daemon=True)
        self._code = code
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        """Answer one request."""
        peer, _ = self._listener.accept()
        with peer, self._listener:
            peer.recv(65536)
            body = f"<Error><Code>{self._code}</Code></Error>"
            head = f"HTTP/1.1 403 Forbidden\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            peer.sendall((head + body).encode())


def test_a_key_that_may_not_delete() -> None:
    """The right that forgetting needs is named."""
    server = Refusing("AccessDenied")
    server.start()
    with pytest.raises(InvalidInput, match="allow s3:DeleteObject"):
        Bucket("b", endpoint=server.address, retries=0).remove("k")
    server.join(5)


@pytest.mark.parametrize(
    ("code", "says"),
    [("AccessDenied", "allow s3:GetObject, s3:PutObject"), ("InvalidAccessKeyId", "it does not know this key")],
)
def test_a_right_that_is_missing(code: str, says: str) -> None:
    """The answer 403 becomes the one sentence that names the right or the key."""
    server = Refusing(code)
    server.start()
    with pytest.raises(InvalidInput, match=says):
        Bucket("b", endpoint=server.address, retries=0).create("k", b"x")
    server.join(5)


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """A path that leads through a file (and, for others than root, a folder without the right) says what to give."""
    (tmp_path / "file").write_text("not a folder")
    shut = [tmp_path / "file"]
    if os.geteuid():
        (tmp_path / "shut").mkdir(mode=0o500)
        shut.append(tmp_path / "shut")
    for root in shut:
        with pytest.raises(InvalidInput, match="give this user a folder that it may write"):
            Folder(root).create("a/k", b"x")


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written whole is not there."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrimtabError, match="No space left on device"):
        Folder(tmp_path).create("k", b"x")
    assert list(tmp_path.iterdir()) == []
