"""A detector as bytes and back, exactly.

Lives here: `pack` and `unpack`. Comes in: a detector, or bytes. Goes out: bytes, or a detector.
Must never know: where the bytes are kept. The file is an npz of plain arrays and one JSON text; nothing is unpickled.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.drift.conformal import LEVELS, Grid
from agent.drift.ngrams import Table
from agent.drift.scores import NAMES, Scorer
from agent.types import InvalidInput

if TYPE_CHECKING:
    from agent.drift.detector import Detector

FORMAT = 1


def pack(detector: Detector) -> bytes:
    """One npz file with the reference part and the changing part."""
    d = detector
    meta = {
        "format": FORMAT,
        "names": NAMES,
        "alias": d.alias,
        "version": d.version,
        "budget_rows": d.budget_rows,
        "quiet_rows": d.quiet_rows,
        "rows": d.rows,
        "quiet_until": d.quiet_until,
        "ranked": d.pool.rows,
        "texts": d.scorer.texts,
        "random": d.random.bit_generator.state,
        "ids": [seen.id for seen in d.recent],
        "tables": sorted(d.scorer.tables),
    }
    arrays: dict[str, Any] = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "grid": np.array([d.grid.middle, d.grid.spread, d.middle, d.spread]),
        "pool": -np.diff(d.pool.at_least, axis=1),
        "m": d.bets.m,
        "c": d.bets.c,
        "since": d.bets.since,
        "since_s": d.bets.since_s,
        "recent_rows": np.array([seen.row for seen in d.recent], np.int64),
        "recent": np.array([seen.scores for seen in d.recent], np.float32).reshape(len(d.recent), len(NAMES)),
    }
    for name, table in {**d.scorer.tables, "spread": d.scorer.spread}.items():
        arrays[f"keys {name}"], arrays[f"counts {name}"] = table.keys, table.counts
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def unpack(state: bytes) -> Detector:
    """The detector that was packed. Raises InvalidInput for bytes that are not one, or from another set of scores."""
    try:
        with np.load(io.BytesIO(state), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays["meta"].tobytes())
        known = meta["format"] == FORMAT and tuple(meta["names"]) == NAMES
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput("these bytes are not the state of a drift detector: fit a new one") from error
    if not known:
        raise InvalidInput("this drift state was written by another version of the detector: fit a new one")
    return _rebuild(meta, arrays)


def _rebuild(meta: dict[str, Any], arrays: dict[str, Any]) -> Detector:
    from agent.drift.detector import Detector, Seen

    tables = {name: Table(arrays[f"keys {name}"], arrays[f"counts {name}"]) for name in [*meta["tables"], "spread"]}
    spread = tables.pop("spread")
    middle, width, usual, usual_width = arrays["grid"]
    d = Detector(
        Scorer(tables, spread, meta["texts"]),
        Grid(middle, width),
        np.zeros((1, len(NAMES))),
        alias=meta["alias"],
        version=meta["version"],
    )
    d.middle, d.spread = usual, usual_width
    d.budget_rows, d.quiet_rows = meta["budget_rows"], meta["quiet_rows"]
    d.rows, d.quiet_until = meta["rows"], meta["quiet_until"]
    d.pool.rows = meta["ranked"]
    d.pool.at_least[:, :LEVELS] = np.cumsum(arrays["pool"][:, ::-1], axis=1)[:, ::-1]
    d.pool.at_least[:, LEVELS] = 0
    d.bets.m, d.bets.c = arrays["m"], arrays["c"]
    d.bets.since, d.bets.since_s = arrays["since"], arrays["since_s"]
    d.random.bit_generator.state = meta["random"]
    seen = zip(arrays["recent_rows"].tolist(), meta["ids"], arrays["recent"], strict=True)
    d.recent = deque((Seen(row, name, scores) for row, name, scores in seen), maxlen=d.recent.maxlen)
    return d
