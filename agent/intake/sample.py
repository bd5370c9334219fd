"""The last captures that nobody could read, for a person to look at.

Lives here: `Sample`, a small file of JSON lines.
Comes in: captures with the reason. Goes out: `<folder>/last.jsonl`, newest last, mode 0600.
Must never know: the store. Nothing here is ever fatal: what cannot be written is counted.

What is kept is redacted as well as can be done without understanding it. A stream splits words over its events, where
no rule sees them, so of a stream only the frame is kept: keys and numbers, no words.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.intake.bodies import unpacked
from serving.wire import Capture

KEPT = 20
MAX_CHARS = 4096
_AHEAD_CHARS = 2048  # redacted beyond what is kept, so that no secret is cut in half
_STREAM = re.compile(rb"\s*(?:data|event|id|retry):")
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|([nrt/]))")
_STRING = re.compile(r'"((?:[^"\\\n]|\\.)*+)"?(\s*:)?')
_WORD = re.compile(r"[^\W\d_]+|\d{5,}")
_FRAME = frozenset(("data", "event", "id", "retry", "DONE", "true", "false", "null"))


class Sample:
    """Keeps the last 20 in `folder`; `redact` passes over every text."""

    def __init__(self, folder: Path, redact: Callable[[str], str]) -> None:
        self._path, self._redact = folder / "last.jsonl", redact
        self._lines: deque[str] | None = None
        self.faults = 0
        """Times that the file could not be written."""

    def keep(self, found: Iterable[tuple[Capture, str]]) -> None:
        """Add captures with why they could not be read, and write the file anew. Never raises."""
        try:
            if self._lines is None:
                self._lines = deque(self._known(), maxlen=KEPT)
            self._lines.extend(json.dumps(self._entry(capture, why)) for capture, why in list(found)[-KEPT:])
            self._write("".join(f"{line}\n" for line in self._lines))
        except Exception:  # noqa: BLE001 - outer ring: a sample is worth nobody's trouble; it is counted
            self.faults += 1

    def _known(self) -> list[str]:
        try:
            return self._path.read_text(encoding="utf-8").splitlines()[-KEPT:]
        except OSError:
            return []

    def _write(self, text: str) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        scratch = self._path.with_suffix(".tmp")
        with suppress(FileNotFoundError):
            scratch.unlink()
        scratch.touch(mode=0o600)
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(self._path)

    def _entry(self, capture: Capture, why: str) -> dict[str, Any]:
        at = datetime.fromtimestamp(capture.started_at, UTC).isoformat() if 0 < capture.started_at < 4e9 else None
        return {
            "at": at,
            "worker": capture.worker,
            "seq": capture.seq,
            "path": self._redact(capture.path)[:200],
            "status": capture.status,
            "outcome": capture.outcome,
            "why": self._redact(why)[:400],
            "request_bytes": len(capture.request),
            "request": self._shown(capture.request),
            "response_bytes": len(capture.response),
            "response": self._shown(capture.response),
        }

    def _shown(self, raw: bytes) -> str:
        with suppress(ValueError):
            raw, _ = unpacked(raw, strict=False)
        head = raw[: MAX_CHARS + _AHEAD_CHARS]
        try:
            text = head.decode("utf-8", "strict" if len(head) == len(raw) else "ignore")
        except UnicodeDecodeError:
            return f"({len(raw)} bytes that are no UTF-8)"
        if _STREAM.match(raw):
            text = frame_of(text)
        return self._redact(_ESCAPE.sub(_resolved, text))[:MAX_CHARS]


def frame_of(text: str) -> str:
    """A stream without its words: of strings their lengths, other words and long numbers as `#`."""
    parts, done = [], 0
    for found in _STRING.finditer(text):
        parts.append(_outside(text[done : found.start()]))
        parts.append(found.group() if found[2] and len(found[1]) < 32 else f'"({len(found[1])})"{found[2] or ""}')
        done = found.end()
    return "".join(parts) + _outside(text[done:])


def _outside(text: str) -> str:
    return _WORD.sub(lambda word: word.group() if word.group() in _FRAME else "#", text)


def _resolved(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else {"/": "/"}.get(escape[2], " ")
