"""Adapter artifacts: immutable folders that prove their own content.

Lives here: the digest of an adapter, how a folder is sealed with a manifest, and how it is checked.
Comes in: a folder. Goes out: a digest, or Unservable in one sentence.
Must never know: the database, the engine, how the weights were made.

The digest of an adapter is the sha256 over its sorted list of (file name, sha256 of the file), one a line.
The manifest holds that list, so it is the only file that the digest does not cover.

Files that hold people's words (WORDS) may lose some of them later, when a person is forgotten: the manifest then says
under `withdrawn` what is left of such a file, and the digest stays that of what was published. Weights never change.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.types import Unservable

MANIFEST = "manifest.json"
CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PROBES = "probes.json"
REFERENCE = "reference.jsonl"
WORDS = (PROBES, REFERENCE)
"""Files that hold messages of people; they are also the only ones that a manifest may call withdrawn."""
WITHDRAWN = "withdrawn"
DRAFT = ".draft"
"""Ends the name of a file that is being written; what a kill leaves of it is no part of the artifact."""

BASE_SUFFIXES = (".safetensors", ".json", ".model", ".jinja", ".txt")
"""Files of a base model that decide what it answers: weights, configuration, tokenizer, chat template."""
TOKENIZER = (
    "added_tokens.json", "chat_template.jinja", "merges.txt", "special_tokens_map.json", "tokenizer.json",
    "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt",
)  # fmt: skip
"""Files of a base model that decide how text becomes tokens."""


def file_sha256(path: Path) -> str:
    """The sha256 of one file as 64 hex digits; reads it in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of(files: Mapping[str, str]) -> str:
    """The digest of a set of files, given as name -> sha256 hex, in any order (pure)."""
    lines = "".join(f"{name} {files[name]}\n" for name in sorted(files))
    return hashlib.sha256(lines.encode()).hexdigest()


def list_files(folder: Path) -> dict[str, str]:
    """Name -> sha256 of every file of an adapter folder but its manifest; folders in it are not read."""
    ours = (MANIFEST, MANIFEST + DRAFT, *(name + DRAFT for name in WORDS))
    found = (item for item in folder.iterdir() if item.is_file() and item.name not in ours)
    return {item.name: file_sha256(item) for item in found}


def base_digest(folder: Path) -> str:
    """The digest of a base model's folder: an adapter belongs to exactly these weights and this tokenizer."""
    found = (item for item in folder.iterdir() if item.is_file() and item.suffix in BASE_SUFFIXES)
    return digest_of({item.name: file_sha256(item) for item in found})


def tokenizer_digest(folder: Path) -> str:
    """The digest of a base model's tokenizer and chat template, of whichever files it has."""
    return digest_of({name: file_sha256(folder / name) for name in TOKENIZER if (folder / name).is_file()})


def seal(folder: Path, facts: Mapping[str, Any]) -> str:
    """Write the manifest of a folder, last and by a rename; returns the digest.

    `facts` (base digest, order id, recipe, metrics ...) stand beside `files` and `digest` in the manifest.
    Everything is on disk when this returns. Before it, nobody takes the folder for an adapter.
    """
    files = list_files(folder)
    digest = digest_of(files)
    document = {**facts, "files": dict(sorted(files.items())), "digest": digest}
    draft = folder / (MANIFEST + DRAFT)
    draft.write_bytes(_written(document))
    sync(folder)
    draft.replace(folder / MANIFEST)
    _sync(folder)
    return digest


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an adapter folder. Raises Unservable when there is none or it cannot be read."""
    path = folder / MANIFEST
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Unservable(f"adapter {folder} has no readable {MANIFEST}: `trimtab adopt {folder}` seals one") from error
    if not isinstance(document, dict) or not isinstance(document.get("files"), dict):
        raise Unservable(f"adapter {folder}: {MANIFEST} names no files, so nothing can be checked")
    return document


def verify(folder: Path) -> str:
    """Check every file of an adapter folder against its manifest; returns the digest.

    Raises Unservable when the manifest is missing, a file is missing, changed or not listed, or the weights
    or their configuration are not among the listed files.
    """
    document = manifest(folder)
    listed: dict[str, str] = {str(name): str(value) for name, value in document["files"].items()}
    for name in (CONFIG, WEIGHTS):
        if name not in listed:
            raise Unservable(f"adapter {folder}: {MANIFEST} does not list {name}")
    present, left = list_files(folder), withdrawn(document)
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            raise Unservable(f"adapter {folder}: {name} is listed in {MANIFEST} but missing")
        if name not in listed:
            raise Unservable(f"adapter {folder}: {name} is not listed in {MANIFEST}: artifacts never change")
        if present[name] not in (listed[name], left.get(name)):
            raise Unservable(f"adapter {folder}: {name} is not what was published (its sha256 differs)")
    return digest_of(listed)


def withdrawn(document: Mapping[str, Any]) -> dict[str, str]:
    """Name -> sha256 of what is left of a file from which a person's words were taken (pure)."""
    said = document.get(WITHDRAWN)
    return {name: str(said[name]) for name in WORDS if name in said} if isinstance(said, dict) else {}


def with_withdrawn(document: Mapping[str, Any], name: str, data: bytes) -> bytes:
    """A manifest that says what is left of one of its files, as it is written down (pure)."""
    left = {**withdrawn(document), name: hashlib.sha256(data).hexdigest()}
    return _written({**document, WITHDRAWN: left})


def withdraw(folder: Path, name: str, data: bytes) -> None:
    """Put what is left of a file of WORDS in its place. The digest stays; on disk when this returns; safe to repeat.

    The manifest says it first and allows both contents, so the folder verifies at every instant and after every crash.
    """
    if (folder / MANIFEST).exists():
        _replace(folder / MANIFEST, with_withdrawn(manifest(folder), name, data))
    _replace(folder / name, data)


def _replace(path: Path, data: bytes) -> None:
    draft = path.with_name(path.name + DRAFT)
    draft.write_bytes(data)
    _sync(draft)
    draft.replace(path)
    _sync(path.parent)


def _written(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def sync(folder: Path) -> None:
    """Have a folder and every file of it on disk."""
    for item in folder.iterdir():
        _sync(item)
    _sync(folder)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
