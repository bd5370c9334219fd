"""Adapters in the object store: up file by file with the manifest last, down whole and verified.

Lives here: where a version lies (`adapters/<name>.json`, its files below `adapters/<name>/<digest>/`), how it gets
there and back. Comes in: an object store, a sealed folder or a version's name and digest. Goes out: a folder.
Must never know: the database, the engine, how a version was made.

A version is there once its manifest is, which is created last and never overwritten: what a killed job left is no
version, and cannot be in the way of the next attempt, since its files lie under a digest of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from agent.store import artifacts
from agent.store.objects import Missing, Objects, Taken, get_verified, put_once
from agent.types import InvalidInput, RemoteFault, Unservable


def put(objects: Objects, folder: Path, name: str) -> str:
    """Put a sealed folder up under a version's name; returns its digest. Safe to call again.

    Raises InvalidInput when the name has another content already: a name never gets other weights.
    """
    digest = artifacts.verify(folder)
    for file in sorted(artifacts.manifest(folder)["files"]):
        put_once(objects, _file_key(name, digest, file), (folder / file).read_bytes())
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
        return _manifest(objects, name)[1]
    except Missing:
        return None


def bring(objects: Objects, name: str, digest: str, folder: Path) -> bool:
    """Have a version in a folder, verified; returns whether it had to be fetched.

    A copy that is there and whole is taken as it is; one that is not is replaced by one rename. Raises Unservable when
    the store has no such version or another content, RemoteFault when it cannot be asked or the disk has no room.
    """
    if _whole(folder, digest):
        return False
    try:
        raw, manifest = _manifest(objects, name)
        if manifest["digest"] != digest:
            raise Unservable(f"{name} in {objects.url} has digest {manifest['digest'][:12]}, not {digest[:12]}")
        draft = folder.with_name(f".{folder.name}.{os.getpid()}.fetch")
        try:
            _fetch(objects, name, raw, manifest, draft)
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


def _fetch(objects: Objects, name: str, raw: bytes, manifest: dict[str, Any], draft: Path) -> None:
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    for file, sha256 in manifest["files"].items():
        (draft / file).write_bytes(get_verified(objects, _file_key(name, manifest["digest"], file), sha256))
    (draft / artifacts.MANIFEST).write_bytes(raw)
    artifacts.verify(draft)
    artifacts.sync(draft)


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


def _manifest(objects: Objects, name: str) -> tuple[bytes, dict[str, Any]]:
    raw, _ = objects.get(_key(name))
    try:
        document: dict[str, Any] = json.loads(raw)
        files = {str(file): str(sha256) for file, sha256 in document["files"].items()}
        sound = document["digest"] == artifacts.digest_of(files) and all(Path(file).name == file for file in files)
    except (ValueError, KeyError, TypeError, AttributeError):
        sound, document = False, {}
    if not sound:
        said = hashlib.sha256(raw).hexdigest()[:12]
        raise Unservable(f"{_key(name)} in {objects.url} is no manifest of an adapter (sha256 {said})")
    return raw, document


def _key(name: str) -> str:
    return f"adapters/{name}.json"


def _file_key(name: str, digest: str, file: str) -> str:
    return f"adapters/{name}/{digest[:16]}/{file}"
