"""What a person wrote, out of the files of adapters that hold people's words: probes and references.

Lives here: which entries of such a file are theirs, and the walk over adapter folders.
Comes in: a person's names and messages, folders. Goes out: shorter files, how many entries went.
Must never know: the database, the object store, where folders come from.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from agent.store import artifacts

IsTheirs = Callable[[Mapping[str, Any]], bool]


def theirs_by(names: Collection[str], texts: Iterable[str]) -> IsTheirs:
    """Whether a probe or a line is a person's: by its `user`, or because it repeats a message of theirs."""
    written = {canonical(text) for text in texts} - {""}

    def theirs(entry: Mapping[str, Any]) -> bool:
        return entry.get("user") in names or any(canonical(text) in written for text in asked(entry))

    return theirs


def asked(entry: Mapping[str, Any]) -> Iterator[str]:
    """The user's messages of a row, a probe or a line."""
    if "prompt" in entry:
        yield str(entry["prompt"])
    for message in entry.get("messages") or ():
        if isinstance(message, dict) and message.get("role") == "user":
            yield str(message.get("content"))


def canonical(text: str) -> str:
    """One spelling of a text, so that curation's normalisation hides nothing."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def keeper(theirs: IsTheirs) -> Callable[[str, bytes], bytes]:
    """(file name, content) -> the content without what is theirs; the same bytes when nothing is."""

    def keep(file: str, data: bytes) -> bytes:
        return _probes(data, theirs) if file == artifacts.PROBES else _lines(data, theirs)

    return keep


def withdraw(folder: Path, keep: Callable[[str, bytes], bytes]) -> bool:
    """Take a person's words out of an adapter folder; returns whether there were any. Safe to repeat."""
    found = False
    for name in artifacts.WORDS:
        path = folder / name
        data = path.read_bytes() if path.is_file() else b""
        stays = keep(name, data)
        if stays != data:
            artifacts.withdraw(folder, name, stays)
            found = True
    return found


def _probes(data: bytes, theirs: IsTheirs) -> bytes:
    try:
        probes = json.loads(data)
        stay = [probe for probe in probes if not theirs(probe)]
    except (ValueError, TypeError, AttributeError):
        return data
    return data if len(stay) == len(probes) else json.dumps(stay, ensure_ascii=False, indent=1).encode()


def _lines(data: bytes, theirs: IsTheirs) -> bytes:
    return b"".join(line for line in data.splitlines(keepends=True) if not _is(line, theirs))


def _is(line: bytes, theirs: IsTheirs) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and theirs(entry)
