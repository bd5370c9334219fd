"""What the watch must remember over a restart, as rows of the table `state`.

Lives here: `load` and `save`. Comes in: a store, or a session. Goes out: `Remembered`, or rows in the caller's commit.
Must never know: what is looked at, or when.

The row `watch` has the cursor and what is small, as JSON. What is large and seldom changes has rows of its own:
`watch/detector/<version>`, written when that detector has heard something, `watch/window/<version>`, written once, and
`watch/notes/<version>`, for whoever shows what that detector cannot do.
Programs before kept those within the JSON, as base64; and before that a single stream beside the rest. Both are read.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col

from agent.app.streams import Stream
from agent.store import Store
from agent.store.looks import DETECTOR_NOTES
from agent.store.tables import StateRow

STATE = "watch"
_DETECTOR, _WINDOW = f"{STATE}/detector/", f"{STATE}/window/"
_OF_A_STREAM = ("learning", "detector", "reference_rows")


@dataclass
class Remembered:
    """All of it. `first_windows` are profiles that have no row of their own yet, `detectors` names of those that have.

    A detector without a row of its own has `moved`.
    """

    cursor: int = 0
    begun: dict[str, int] = field(default_factory=dict)
    text_off: bool = False
    streams: dict[str, Stream] = field(default_factory=dict)
    first_windows: dict[str, bytes] = field(default_factory=dict)
    detectors: frozenset[str] = frozenset()
    notes: dict[str, list[str]] = field(default_factory=dict)


def load(store: Store) -> Remembered:
    """What was saved last; nothing when there was never a commit.

    A stream whose detector is of another version of this program is left out, and then followed anew.
    """
    cursor, state = store.load_state(STATE)
    said: dict[str, Any] = json.loads(state) if state else {}
    found = Remembered(cursor=cursor, begun=said.get("window_from", {}), text_off=said.get("text_off", False))
    found.first_windows = {name: base64.b64decode(text) for name, text in said.get("reference_window", {}).items()}
    for name, kept in _streams(said).items():
        inside = base64.b64decode(kept["detector"]) if kept.get("detector") else b""
        own = b"" if inside else store.load_state(_DETECTOR + name)[1]
        stream = Stream.restored(
            kept.get("learning", []), kept.get("reference_rows", 0), inside or own, kept.get("after", 0)
        )
        if stream is not None:
            stream.moved = bool(inside)
            found.streams[name] = stream
        if own:
            found.detectors |= {name}
        if notes := store.load_state(DETECTOR_NOTES + name)[1]:
            found.notes[name] = json.loads(notes)
    return found


def first_window(store: Store, version: str, after: int = 0) -> bytes:
    """The profile of a version's first window; empty when none was saved after row `after`."""
    cursor, profile = store.load_state(_WINDOW + version)
    return profile if cursor > after else b""


def save(
    store: Store, session: Session, now: Remembered, moved: Mapping[str, bytes], noted: Mapping[str, list[str]]
) -> frozenset[str]:
    """Write it within the caller's transaction, with the detectors that have moved and the notes that are new.

    Returns which detectors then have rows.
    """
    streams = {
        name: {"learning": s.learning, "reference_rows": s.reference_rows, "after": s.after}
        for name, s in now.streams.items()
    }
    small = {"window_from": now.begun, "text_off": now.text_off, "streams": streams}
    for name, detector in moved.items():
        store.save_state(session, _DETECTOR + name, now.cursor, detector)
    for name, notes in noted.items():
        store.save_state(session, DETECTOR_NOTES + name, now.cursor, json.dumps(notes).encode())
    for name, profile in now.first_windows.items():
        store.save_state(session, _WINDOW + name, now.cursor, profile)
    have = frozenset(name for name, stream in now.streams.items() if stream.detector is not None)
    if gone := now.detectors - have:
        keys = [prefix + name for name in gone for prefix in (_DETECTOR, DETECTOR_NOTES)]
        session.execute(delete(StateRow).where(col(StateRow.key).in_(keys)))
    store.save_state(session, STATE, now.cursor, json.dumps(small).encode())
    return have


def _streams(said: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The streams by version; one that stands beside the rest is that of `version`."""
    streams: dict[str, dict[str, Any]] = dict(said.get("streams", {}))
    if version := said.get("version"):
        streams[version] = {name: said[name] for name in _OF_A_STREAM if name in said}
    return streams
