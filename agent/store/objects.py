"""The object store: bytes under names, in a folder or in S3, behind one small port.

Lives here: the port `Objects`, the folder, and which of the two an address means; S3 is `s3.py`.
Comes in: an address (`file:///srv/trimtab`, `s3://bucket/prefix`), keys, bytes. Goes out: bytes, or one sentence.
Must never know: what is stored; secrets (S3 takes them from the environment, as its own tools do).

Writing is conditional, always: `create` never overwrites, `swap` overwrites only what it was told is there. Either an
object is there whole or it is not there. Nothing is deleted but what `trimtab forget` takes away (`remove`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import unquote, urlsplit

from agent.types import InvalidInput, RemoteFault, TrimtabError, Unservable


class Missing(TrimtabError):
    """There is no object of this key."""


class Taken(TrimtabError):
    """There is an object of this key already, or another than was expected."""


class Objects(Protocol):
    """What is asked of an object store.

    Every method raises RemoteFault when it cannot be asked just now, and InvalidInput when an address, a bucket or a
    right has to be mended first.
    """

    url: str
    """The address, without secrets."""

    def create(self, key: str, data: bytes) -> str:
        """Put an object that is not there yet; returns its tag. Raises Taken."""

    def swap(self, key: str, data: bytes, tag: str) -> str:
        """Put an object in place of the one that has this tag; returns the new tag. Raises Taken."""

    def get(self, key: str) -> tuple[bytes, str]:
        """An object and its tag. Raises Missing."""

    def names(self, prefix: str) -> list[str]:
        """Keys under a prefix that ends in a slash, sorted."""

    def remove(self, key: str) -> None:
        """Have no object of this key; fine when there is none."""


def objects_at(url: str, *, endpoint: str | None = None, region: str | None = None) -> Objects:
    """The object store of an address. Raises InvalidInput; nothing is asked of a server yet.

    `endpoint` is the http(s) address of a server that is not Amazon's, `region` the bucket's.
    """
    parts = urlsplit(url)
    if parts.scheme == "s3" and parts.netloc and "@" not in parts.netloc:
        from agent.store.s3 import Bucket

        return Bucket(parts.netloc, parts.path.strip("/"), endpoint=endpoint, region=region)
    if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
        return Folder(Path(unquote(parts.path)))
    raise InvalidInput(f"objects.url {url!r} is no object store: write file:///folder or s3://bucket/prefix")


def get_verified(objects: Objects, key: str, sha256: str) -> bytes:
    """An object whose content is exactly what was published. Raises Missing, and Unservable when it is not."""
    data, _ = objects.get(key)
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise Unservable(f"{key} in {objects.url} is not what was published: sha256 {found[:12]}, not {sha256[:12]}")
    return data


def put_once(objects: Objects, key: str, data: bytes) -> None:
    """Put an object; fine when it is there with the same content. Raises Taken when it has another."""
    try:
        objects.create(key, data)
    except Taken:
        if objects.get(key)[0] != data:
            raise


class Folder:
    """Objects as files of a folder: a disk, a PVC. Tags are the sha256 of the content.

    A file is written beside its place, synced, and linked into it, so that it appears whole or not at all.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.url = root.absolute().as_uri()

    def create(self, key: str, data: bytes) -> str:
        """See Objects."""
        with self._faults(key), self._draft(key, data) as draft:
            try:
                os.link(draft, self._path(key))
            except FileExistsError as error:
                raise Taken(f"{key} is in {self.url} already") from error
            _sync(self._path(key).parent)
        return _tag(data)

    def swap(self, key: str, data: bytes, tag: str) -> str:
        """See Objects. Writers of one folder take turns by a lock, which the kernel frees when one dies."""
        with self._faults(key), self._draft(key, data) as draft, _turn(self._path(key)):
            if _tag(self._path(key).read_bytes()) != tag:
                raise Taken(f"{key} in {self.url} was changed by another")
            draft.replace(self._path(key))
            _sync(self._path(key).parent)
        return _tag(data)

    def get(self, key: str) -> tuple[bytes, str]:
        """See Objects."""
        with self._faults(key):
            data = self._path(key).read_bytes()
        return data, _tag(data)

    def names(self, prefix: str) -> list[str]:
        """See Objects."""
        with self._faults(prefix):
            found = [path for path in self._path(prefix).rglob("*") if path.is_file() and not path.name.startswith(".")]
            return sorted(path.relative_to(self._root).as_posix() for path in found)

    def remove(self, key: str) -> None:
        """See Objects."""
        with self._faults(key), suppress(FileNotFoundError):
            self._path(key).unlink()
            _sync(self._path(key).parent)

    def _path(self, key: str) -> Path:
        return self._root.joinpath(*checked(key).parts)

    @contextmanager
    def _draft(self, key: str, data: bytes) -> Iterator[Path]:
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
        try:
            with draft.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            yield draft
        finally:
            with suppress(OSError):
                draft.unlink()

    @contextmanager
    def _faults(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise Missing(f"there is no {key} in {self.url}") from error
        except (PermissionError, NotADirectoryError, FileExistsError) as error:
            raise InvalidInput(
                f"object store {self.url} lets {key} not be read or written ({error.strerror}): give this user a "
                "folder that it may write, as objects.url"
            ) from error
        except OSError as error:
            raise RemoteFault(f"object store {self.url} failed at {key} ({error.strerror})") from error


def checked(key: str) -> PurePosixPath:
    """A key that stays inside its store. Raises InvalidInput."""
    path = PurePosixPath(key)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise InvalidInput(f"{key!r} is no key of an object store: a relative path without ..")
    return path


@contextmanager
def _turn(path: Path) -> Iterator[None]:
    handle = os.open(path.with_name(f".{path.name}.turn"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _tag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
