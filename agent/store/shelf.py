"""Adapters in the object store: up file by file with the manifest last, down whole and verified.

Lives here: where a version lies (`adapters/<name>.json`, its files below `adapters/<name>/<digest>/`), how it gets
there and back. Comes in: an object store, a sealed folder or a version's name and digest. Goes out: a folder.
Must never know: the database, the engine, how a version was made.

A version is there once its manifest is, which is created last and never overwritten: what a killed job left is no
version, and cannot be in the way of the next attempt, since its files lie under a digest of their own.

When a person is forgotten, what is left of a file goes up under a new key, one swap of the manifest points there, and
the old object is removed: whoever reads meanwhile reads the one or the other whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.store import artifacts
from agent.store.objects import Missing, Objects, Taken, get_verified, put_once
from agent.types import InvalidInput, RemoteFault, Unservable

_FOLDER, _ORDERS, _PEOPLE, _SUFFIX = "adapters/", "orders/", "data-", ".json"
_FETCHING = threading.Lock()
"""The watch and the rollout of one process may want the same version: the second finds it whole."""


def put(objects: Objects, folder: Path, name: str) -> str:
    """Put a sealed folder up under a version's name; returns its digest. Safe to call again.

    Raises InvalidInput when the name has another content already: a name never gets other weights.
    """
    digest, sealed = artifacts.verify(folder), artifacts.manifest(folder)
    if (published(objects, name) or {}).get("digest") == digest:
        return digest
    for file in sorted(sealed["files"]):
        put_once(objects, _file_key(name, sealed, file), (folder / file).read_bytes())
    try:
        put_once(objects, _key(name), (folder / artifacts.MANIFEST).read_bytes())
    except Taken as error:
        there = published(objects, name) or {}
        if there.get("digest") != digest:
            raise InvalidInput(
                f"adapter {name} is in {objects.url} already with digest {str(there.get('digest'))[:12]}, this one has "
                f"{digest[:12]}: give a new name"
            ) from error
    return digest


def published(objects: Objects, name: str) -> dict[str, Any] | None:
    """The manifest of a version; None when there is no such version. Raises Unservable when it cannot be read."""
    try:
        return _manifest(objects, name)[2]
    except Missing:
        return None


def names(objects: Objects) -> list[str]:
    """The versions that are published, sorted."""
    keys = [key.removeprefix(_FOLDER) for key in objects.names(_FOLDER)]
    return [key.removesuffix(_SUFFIX) for key in keys if "/" not in key and key.endswith(_SUFFIX)]


def sift(objects: Objects, keep: Callable[[str, bytes], bytes], *, unfinished: bool) -> tuple[list[str], list[str]]:
    """Pass every file of people's words through `keep`, (file name, content) -> what stays of it.

    Returns (names of versions that lost something, why others could not be looked at). Objects that no manifest points
    to go whole when they hold such words; those of names that are not published only with `unfinished`, since a job may
    be putting them up. Safe to repeat after a crash anywhere; digests stay. Raises Taken when another wrote meanwhile.
    """
    lost, faults, pointed = [], [], set()
    there = names(objects)
    for name in there:
        try:
            _, tag, manifest = _manifest(objects, name)
            for file in manifest["files"].keys() & set(artifacts.WORDS):
                data = _file(objects, name, manifest, file)
                stays = keep(file, data)
                if stays != data:
                    written = artifacts.with_withdrawn(manifest, file, stays)
                    manifest = json.loads(written)
                    put_once(objects, _file_key(name, manifest, file), stays)
                    tag = objects.swap(_key(name), written, tag)
                    lost.append(name)
                pointed.add(_file_key(name, manifest, file))
        except (Missing, Unservable) as error:
            faults.append(str(error))
    for key in objects.names(_FOLDER):
        file = next((file for file in artifacts.WORDS if key.endswith(file)), None)
        if file is None or key in pointed or not (unfinished or key.split("/")[1] in there):
            continue
        data, _ = objects.get(key)
        if keep(file, data) != data:
            objects.remove(key)
    return list(dict.fromkeys(lost)), faults


def record_people(objects: Objects, order_id: str, data: bytes) -> None:
    """Put up whose data an order learnt from (its data.json), for `trimtab forget` on other machines."""
    put_once(objects, f"{_ORDERS}{order_id}/{_PEOPLE}{hashlib.sha256(data).hexdigest()[:16]}{_SUFFIX}", data)


def people(objects: Objects) -> Iterator[tuple[str, bytes]]:
    """(order, data.json) of what was recorded; one line an attempt that came to publishing."""
    for key in objects.names(_ORDERS):
        order, _, file = key.removeprefix(_ORDERS).partition("/")
        if file.startswith(_PEOPLE):
            yield order, objects.get(key)[0]


def bring(objects: Objects, name: str, digest: str, folder: Path) -> bool:
    """Have a version in a folder, verified; returns whether it had to be fetched.

    A copy that is there and whole is taken as it is; one that is not is replaced by one rename. Raises Unservable when
    the store has no such version or another content, RemoteFault when it cannot be asked or the disk has no room.
    """
    if _whole(folder, digest):
        return False
    try:
        with _FETCHING:
            if _whole(folder, digest):
                return False
            draft = folder.with_name(f".{folder.name}.{os.getpid()}.fetch")
            try:
                _fetch(objects, name, digest, draft)
                _exchange(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except Missing as error:
        raise Unservable(f"adapter {name} is neither in {folder} nor whole in {objects.url}: {error}") from error
    except OSError as error:
        raise RemoteFault(
            f"adapter {name} cannot be written to {folder} ({error.strerror}): make room, or give the right to write"
        ) from error
    return True


def _fetch(objects: Objects, name: str, digest: str, draft: Path) -> None:
    """A version into a draft folder, as its manifest says now; once more when the manifest was changed meanwhile."""
    raw, _, manifest = _manifest(objects, name)
    if manifest["digest"] != digest:
        raise Unservable(f"{name} in {objects.url} has digest {manifest['digest'][:12]}, not {digest[:12]}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        for file in manifest["files"]:
            (draft / file).write_bytes(_file(objects, name, manifest, file))
    except Missing:
        if objects.get(_key(name))[0] == raw:
            raise
        return _fetch(objects, name, digest, draft)
    (draft / artifacts.MANIFEST).write_bytes(raw)
    artifacts.verify(draft)
    artifacts.sync(draft)
    return None


def _file(objects: Objects, name: str, manifest: Mapping[str, Any], file: str) -> bytes:
    sha256 = artifacts.withdrawn(manifest).get(file, manifest["files"][file])
    return get_verified(objects, _file_key(name, manifest, file), sha256)


def _exchange(draft: Path, folder: Path) -> None:
    """Put the draft in a folder's place; what was there is no whole copy and goes."""
    if folder.exists():
        old = draft.with_suffix(".old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
        shutil.rmtree(old)
    draft.rename(folder)


def _whole(folder: Path, digest: str) -> bool:
    try:
        return artifacts.verify(folder) == digest
    except (Unservable, OSError):
        return False


def _manifest(objects: Objects, name: str) -> tuple[bytes, str, dict[str, Any]]:
    """(as written, its tag, the document)."""
    raw, tag = objects.get(_key(name))
    try:
        document: dict[str, Any] = json.loads(raw)
        files = {str(file): str(sha256) for file, sha256 in document["files"].items()}
        sound = document["digest"] == artifacts.digest_of(files) and all(Path(file).name == file for file in files)
    except (ValueError, KeyError, TypeError, AttributeError):
        sound, document = False, {}
    if not sound:
        said = hashlib.sha256(raw).hexdigest()[:12]
        raise Unservable(f"{_key(name)} in {objects.url} is no manifest of an adapter (sha256 {said})")
    return raw, tag, document


def _key(name: str) -> str:
    return f"{_FOLDER}{name}{_SUFFIX}"


def _file_key(name: str, manifest: Mapping[str, Any], file: str) -> str:
    left = artifacts.withdrawn(manifest).get(file)
    return f"{_FOLDER}{name}/{manifest['digest'][:16]}/{file if left is None else f'{left[:16]}.{file}'}"
