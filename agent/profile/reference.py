"""Reference profiles: from a training set, from a stretch of stored traffic, or from a profile file.

Lives here: `profile_of_file` and `profile_of_traffic`.
Comes in: a path, or a store and a time span. Goes out: the bytes of a profile and how many rows it holds.
Must never know: distances, windows, what the profile is compared with.

A training set has texts only, so its profile has only the columns that texts have: what it cannot know is not
compared, rather than compared with zero.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.profile.features import features, features_of_texts
from agent.profile.profiler import Profiler
from agent.profile.reading import is_profile, read_view
from agent.profile.table import FEATURES
from agent.store import Store
from agent.types import Features, InvalidInput

TEXT_FEATURES = tuple(feature for feature in FEATURES if feature.texts)
_BATCH = 256


def profile_of_file(path: Path, *, language: bool = True) -> tuple[bytes, int]:
    """The profile of JSON lines (gzip is fine), or the one that the file is. Raises InvalidInput in one sentence."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror}): give JSON lines or a profile file") from error
    if is_profile(data):
        try:
            columns = read_view(data).get_columns().values()
        except InvalidInput as error:
            raise InvalidInput(f"{path}: {error}") from error
        counts = [column.get_metric("counts") for column in columns]
        return data, max((metric.n.value for metric in counts if metric is not None), default=0)
    profiler = Profiler(features=TEXT_FEATURES)
    _track(profiler, _rows_of_lines(path, data, language=language))
    if not profiler.rows:
        raise InvalidInput(f"{path} holds no rows: a reference needs some")
    return profiler.serialize(), profiler.rows


def profile_of_traffic(
    store: Store, *, alias: str, version: str | None, since: datetime, until: datetime, language: bool = True
) -> tuple[bytes, int]:
    """The profile of stored exchanges that began in [since, until), of one version or of all that answered the alias.

    Raises InvalidInput when there are none.
    """
    profiler = Profiler(since)

    def rows() -> Iterator[Features]:
        cursor = 0
        while batch := store.exchanges_after(cursor, _BATCH):
            cursor = batch[-1][0]
            for _, exchange in batch:
                wanted = exchange.alias == alias and version in {None, exchange.version}
                if wanted and exchange.profiled and since <= exchange.started_at < until:
                    yield features(exchange, language=language)

    _track(profiler, rows())
    if not profiler.rows:
        raise InvalidInput(
            f"no exchange of {version or alias} began from {since.isoformat()} to {until.isoformat()}: widen the span"
        )
    return profiler.serialize(), profiler.rows


def _track(profiler: Profiler, rows: Iterable[Features]) -> None:
    batch: list[Features] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            profiler.track(batch)
            batch = []
    profiler.track(batch)


def _rows_of_lines(path: Path, data: bytes, *, language: bool) -> Iterator[Features]:
    try:
        lines = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8").split("\n")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is neither a whylogs profile nor JSON lines in UTF-8 ({error})") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            prompt, answer = _texts(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInput(
                f"{path}, line {number}: give an object with prompt and answer (or response, completion), or messages"
            ) from error
        yield features_of_texts(str(number), prompt, answer, language=language)


def _texts(item: Mapping[str, Any]) -> tuple[str, str]:
    """Prompt and answer of one row: by name, or the last user message and the last message of a conversation."""
    if "messages" in item:
        *before, (role, answer) = [(message["role"], message["content"]) for message in item["messages"]]
        if role != "assistant":
            raise ValueError("the last message must be the assistant's")
        prompt = next((text for role, text in reversed(before) if role == "user"), "")
    else:
        prompt = item["prompt"]
        answer = item[next((name for name in ("answer", "response") if name in item), "completion")]
    if not isinstance(prompt, str) or not isinstance(answer, str):
        raise TypeError("prompt and answer must be text")
    return prompt, answer
