"""eval.jsonl: one line an answer, so that a contest goes on after a kill and can be read by anybody.

In: answers. Out: lines by (slice, number, role). Must never know: the engine, who wins.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrain.chat import Answer
from retrain.curate.rows import Row
from retrain.metrics.right import right

FILE = "eval.jsonl"
CHAMPION, CHALLENGER, BASE = "champion", "challenger", "base"
FRESH, OLD, CANARY = "fresh", "old", "canary"

Key = tuple[str, int, str]
"""(slice, number of the row in it, role)"""
Line = Mapping[str, Any]
Said = Mapping[Key, Line]
Slices = Mapping[str, Sequence[Row]]


@dataclass(frozen=True, kw_only=True)
class Seats:
    """Served names. Without a champion the challenger contests with the bare model alone."""

    challenger: str
    base: str
    champion: str | None = None

    def names(self) -> dict[str, str]:
        """Role -> served name."""
        pairs = ((CHAMPION, self.champion), (CHALLENGER, self.challenger), (BASE, self.base))
        return {role: name for role, name in pairs if name is not None}

    @property
    def other(self) -> str:
        """The role that the challenger contests with."""
        return CHAMPION if self.champion else BASE


def line(key: Key, model: str, row: Row, answer: Answer) -> dict[str, Any]:
    """What is written down of one answer."""
    name, number, role = key
    return {
        "slice": name,
        "number": number,
        "role": role,
        "model": model,
        "id": row.id,
        "prompt": row.prompt,
        "expected": row.answer,
        "answer": answer.text,
        "right": right(row.match, row.answer, answer.text),
        "finish": answer.finish,
        "latency_s": round(answer.latency_s, 6),
        "prompt_tokens": answer.prompt_tokens,
        "tokens": answer.tokens,
        **dict(row.labels),
    }


def read(work: Path, seats: Seats) -> dict[Key, dict[str, Any]]:
    """Answers of an earlier run; a line that a kill tore is cut off the file, so that the next one starts clean."""
    path = work / FILE
    if not path.exists():
        return {}
    text = path.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        with path.open("r+b") as stream:
            stream.truncate(len(whole))
    names = seats.names()
    lines = [json.loads(line) for line in whole.split(b"\n") if line.strip()]
    return {(x["slice"], x["number"], x["role"]): x for x in lines if names.get(x["role"]) == x["model"]}
