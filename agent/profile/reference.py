"""Reference profiles: from a training set, from a stretch of stored traffic, or from a profile file.

Lives here: `profile_of_file` and `profile_of_traffic`.
Comes in: a path and a reader of texts, or a store and a time span.
Goes out: the bytes of a profile and how many rows it holds.
Must never know: distances, windows, what the profile is compared with.

A training set has texts only, so its profile has only the columns that texts have: what it cannot know is not
compared, rather than compared with zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from agent.profile.features import features, features_of_texts
from agent.profile.profiler import Profiler
from agent.profile.reading import is_profile, read_view
from agent.profile.table import FEATURES
from agent.store import Store
from agent.types import Features, InvalidInput

TEXT_FEATURES = tuple(feature for feature in FEATURES if feature.texts)
Pairs = Callable[[Path], Iterable[tuple[str, str]]]
"""Reads prompts and answers; which forms of a line there are, the reader knows."""
_BATCH = 256
_HEAD_BYTES = 4


def profile_of_file(path: Path, pairs: Pairs, *, language: bool = True) -> tuple[bytes, int]:
    """The profile that the file is, or that of the texts which `pairs` reads in it. Raises InvalidInput.

    What is no plain file (a pipe, a dash) can be read once only, hence holds texts.
    """
    try:
        data = _profile_in(path) if path.is_file() else b""
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror}): give JSON lines or a profile file") from error
    if data:
        try:
            columns = read_view(data).get_columns().values()
        except InvalidInput as error:
            raise InvalidInput(f"{path}: {error}") from error
        counts = [column.get_metric("counts") for column in columns]
        return data, max((metric.n.value for metric in counts if metric is not None), default=0)
    profiler = Profiler(features=TEXT_FEATURES)
    rows = (features_of_texts(str(n), *pair, language=language) for n, pair in enumerate(pairs(path), 1))
    _track(profiler, rows)
    if not profiler.rows:
        raise InvalidInput(f"{path} holds no rows: a reference needs some")
    return profiler.serialize(), profiler.rows


def _profile_in(path: Path) -> bytes:
    """The whole file when it begins as a profile does, else nothing."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        return head + file.read() if is_profile(head) else b""


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
