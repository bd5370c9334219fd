"""A detector's parts as bytes and back, exactly.

Lives here: `save` and `load`. Comes in: a `Core`, or bytes. Goes out: bytes, or a `Core`.
Must never know: how the parts work, or where the bytes are kept.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from agent.drift.conformal import Grid, Pool
from agent.drift.core import ALL, RECENT, Core, Seen, evidence
from agent.drift.dependence import Kin
from agent.drift.learner import Learner
from agent.drift.neighbours import Course
from agent.drift.ngrams import Table
from agent.drift.scores import RANKED, Scorer
from agent.drift.seasons import Seasons
from agent.drift.state import named, pack, part, unpack
from agent.drift.units import Units
from agent.types import InvalidInput

if TYPE_CHECKING:
    from agent.drift.state import Arrays

FORMAT = 6
_PLAIN = ("alias", "version", "budget_rows", "quiet_rows", "reference_rows", "seed", "rows", "quiet_until", "keyed_by")


def save(core: Core) -> bytes:
    """One npz file with the reference part and the changing part."""
    meta = {name: getattr(core, name) for name in _PLAIN} | {
        "format": FORMAT,
        "names": ALL,
        "texts": core.scorer.texts,
        "templates": dict(core.scorer.templates),
        "seasons": core.seasons.ends,
        "random": core.random.bit_generator.state,
        "ids": [seen.id for seen in core.recent],
        "tables": sorted(core.scorer.tables),
        "kin": list(core.kin.known),
        "units": [list(core.units.open), list(core.units.known)],
        "pool_ids": core.learner.ids,
    }
    arrays: Arrays = {
        "grid": np.array([core.grid.middle, core.grid.spread]),
        "usual": np.array([core.usual, core.spread]),
        "pools": np.array([pool.levels() for pool in core.pools]),
        "m": core.bets.m,
        "c": core.bets.c,
        "since": core.bets.since,
        "since_s": core.bets.since_s,
        "recent_rows": np.array([seen.row for seen in core.recent], np.int64),
        "recent": np.array([seen.scores for seen in core.recent], np.float32).reshape(len(core.recent), len(ALL)),
        **named("kin", core.kin.arrays()),
        **named("units", core.units.arrays()),
        **named("learner", core.learner.arrays()),
        **named("course", core.course.arrays() if core.course else {}),
    }
    for name, table in {**core.scorer.tables, "spread": core.scorer.spread}.items():
        arrays[f"keys {name}"], arrays[f"counts {name}"] = table.keys, table.counts
    return pack(meta, arrays)


def load(state: bytes) -> Core:
    """What was saved. Raises InvalidInput for other bytes, or from another set of scores."""
    meta, arrays = unpack(state)
    if meta.get("format") != FORMAT or tuple(meta.get("names", ())) != ALL:
        raise InvalidInput("this drift state was written by another version of the detector: fit a new one")
    tables = {name: Table(arrays[f"keys {name}"], arrays[f"counts {name}"]) for name in [*meta["tables"], "spread"]}
    spread = tables.pop("spread")
    random = np.random.default_rng(0)
    random.bit_generator.state = meta["random"]
    bets = evidence()
    bets.m, bets.c, bets.since, bets.since_s = (arrays[name] for name in ("m", "c", "since", "since_s"))
    seen = zip(arrays["recent_rows"].tolist(), meta["ids"], arrays["recent"], strict=True)
    return Core(
        **{name: meta[name] for name in _PLAIN},
        random=random,
        scorer=Scorer(tables, spread, meta["texts"], meta["templates"]),
        grid=Grid(*arrays["grid"]),
        seasons=Seasons(tuple(meta["seasons"])),
        pools=[Pool.of(counts) for counts in arrays["pools"]],
        learner=Learner.from_arrays(part(arrays, "learner"), meta["pool_ids"]),
        kin=Kin.from_arrays(part(arrays, "kin"), meta["kin"], meta["budget_rows"]),
        units=Units.from_arrays(part(arrays, "units"), len(RANKED), *meta["units"]),
        usual=arrays["usual"][0],
        spread=arrays["usual"][1],
        course=Course.from_arrays(course) if (course := part(arrays, "course")) else None,
        bets=bets,
        recent=deque((Seen(row, name, scores) for row, name, scores in seen), maxlen=RECENT),
    )
