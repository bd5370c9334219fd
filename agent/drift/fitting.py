"""From a reference to a detector that has seen nothing yet.

Lives here: `fit_core` and `rows_needed`. Comes in: reference records. Goes out: a `Core`.
Must never know: live records.
"""

from __future__ import annotations

import math
import zlib
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from agent.drift.bets import Evidence
from agent.drift.conformal import Grid, Pool, moments, normal_scores
from agent.drift.core import NEEDS_TABLES, Core
from agent.drift.dependence import Dependence, Kin, keys_by, measure, unexplained
from agent.drift.learner import Learner, fold_of, words_of_many
from agent.drift.neighbours import Course, alike
from agent.drift.scores import BY_ITSELF, NAMES, RANKED, Scorer, composed, pairs_of
from agent.drift.seasons import Seasons
from agent.drift.split import MIN_REFERENCE_ROWS, halves, thinned
from agent.drift.units import Units
from agent.types import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.drift.records import Record
    from agent.drift.texts import Text

_FOLD_RUN = 10
_AT_ONCE = 64
_BY_ITSELF = np.array([name in BY_ITSELF for name in RANKED])
_LEARNED_LIKE, _ONE_TOPIC = 0.75, 0.5
"""The learned score is taken to depend on users and neighbours like this quantile of the fixed scores; and where users
differ at all, as much as this at least, for most people stay with their topic."""


def fit_core(
    reference: Sequence[Record], *, alias: str, version: str, budget_rows: int, quiet_rows: int, seed: int
) -> Core:
    """Split, count, score, rank. Raises InvalidInput if the reference is too small for the budget.

    By users, by conversations, by nobody: the first names that tell who is alike. Where nobody's do, and neighbours are
    alike all the same, the halves are long runs. The dice are of the seed and of the reference's words, so that those
    who leave the seed as it is do not all throw alike.
    """
    _refuse(len(reference), budget_rows, quiet_rows)
    records = thinned(reference)
    pairs = [pair for i in range(0, len(records), _AT_ONCE) for pair in pairs_of(records[i : i + _AT_ONCE])]
    words = words_of_many(pairs)
    seed = zlib.crc32(np.concatenate(words).tobytes(), seed & 0xFFFFFFFF)
    for keyed_by, quarters in [*((name, False) for name in keys_by(reference)), ("", True)]:
        core, unsaid = _fitted(
            records, pairs, words, keyed_by, alias, version, budget_rows, quiet_rows, seed, quarters=quarters
        )
        if not unsaid:
            break
    return core


def _fitted(
    records: Sequence[Record],
    pairs: Sequence[tuple[Text, Text]],
    words: Sequence[NDArray[np.uint16]],
    keyed_by: str,
    alias: str,
    version: str,
    budget_rows: int,
    quiet_rows: int,
    seed: int,
    *,
    quarters: bool,
) -> tuple[Core, bool]:
    """With these names, and whether neighbours are alike in a way that they do not tell."""
    random = np.random.default_rng([seed, 0])
    keys = [getattr(record, keyed_by) if keyed_by else None for record in records]
    counted, ranked = halves(records, keys, random, quarters=quarters)
    scorer, scores = _scored(records, pairs, counted, ranked)
    grid = _grid(Grid.over(scores[counted]))
    levels = grid.levels(scores)
    z = _z(levels, [counted, ranked])
    at = [record.at for record in records]
    seasons = Seasons.found(at, z, len(ranked), random)
    season = np.array([seasons.of(t) for t in at])
    if len(seasons) > 1:
        apart = [[i for i in half if season[i] == s] for half in (counted, ranked) for s in range(len(seasons))]
        z = _z(levels, apart)
    calibration = levels.copy()
    calibration[np.ix_(np.array(counted), ~_BY_ITSELF)] = -1
    pools = [Pool(len(RANKED)) for _ in range(len(seasons))]
    for s, pool in enumerate(pools):
        pool.add(calibration[season == s])
    own = [fold_of(f"run {k // _FOLD_RUN}" if keys[i] is None else str(keys[i]), seed) for k, i in enumerate(ranked)]
    usual, spread = moments(scores[ranked])
    threaded = not keyed_by and alike(words, season, np.random.default_rng([seed, 2]))
    dependence = measure(z, keys, np.random.default_rng([seed, 1]), gathered=threaded)
    gathered = not keyed_by and bool(threaded or (dependence.slow > 1).any())
    unsaid = gathered and not quarters
    if keyed_by:
        unsaid = unexplained(z, dependence, np.random.default_rng([seed, 1]))
    core = Core(
        alias=alias,
        version=version,
        budget_rows=budget_rows,
        quiet_rows=quiet_rows,
        reference_rows=len(records),
        seed=seed,
        random=random,
        scorer=scorer,
        grid=grid,
        seasons=seasons,
        pools=pools,
        learner=Learner.build(
            [words[i] for i in counted],
            [(words[i], int(season[i]), records[i].id, fold) for i, fold in zip(ranked, own, strict=True)],
        ),
        keyed_by=keyed_by,
        kin=Kin(_with_learned(dependence, gathered=gathered, threaded=threaded), budget_rows),
        units=Units.build(calibration, keys),
        course=None if keyed_by or threaded else Course(words),
        usual=np.append(usual, 0.0),
        spread=np.append(spread, 1.0),
    )
    return core, unsaid


def _scored(
    records: Sequence[Record], pairs: Sequence[tuple[Text, Text]], counted: Sequence[int], ranked: Sequence[int]
) -> tuple[Scorer, NDArray[np.float64]]:
    """The scorer that `counted` builds, and the scores of all, shape (rows, scores).

    Each half of `counted` is scored by the other one, so that no row is scored by tables that it helped to build.
    """
    scorer = _scorer(records, pairs, counted)
    scores = np.full((len(records), len(NAMES)), np.nan)
    for mine, theirs in ((counted[0::2], counted[1::2]), (counted[1::2], counted[0::2])):
        _score(scores, _scorer(records, pairs, theirs), records, pairs, mine)
    _score(scores, scorer, records, pairs, ranked)
    return scorer, composed(scores, Grid.over(scores[counted]))


def _score(
    scores: NDArray[np.float64],
    scorer: Scorer,
    records: Sequence[Record],
    pairs: Sequence[tuple[Text, Text]],
    rows: Sequence[int],
) -> None:
    """Fill in these rows."""
    for i in range(0, len(rows), _AT_ONCE):
        some = rows[i : i + _AT_ONCE]
        scores[some] = scorer.score_many([records[k] for k in some], [pairs[k] for k in some])


def _grid(grid: Grid) -> Grid:
    """The same, but constant where scores are ranked in the whole reference."""
    fixed = np.array([BY_ITSELF.get(name, (np.nan, np.nan)) for name in RANKED]).T
    return Grid(*np.where(_BY_ITSELF, fixed, [grid.middle, grid.spread]))


def _scorer(records: Sequence[Record], pairs: Sequence[tuple[Text, Text]], rows: Sequence[int]) -> Scorer:
    return Scorer.build([records[i] for i in rows], [pairs[i] for i in rows])


def _z(levels: NDArray[np.intp], groups: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Normal scores, each group ranked by itself."""
    z = np.full(levels.shape, np.nan)
    for rows in groups:
        if rows:
            z[rows] = normal_scores(levels[rows])
    return z


def _with_learned(dependence: Dependence, *, gathered: bool, threaded: bool) -> Dependence:
    """Where neighbours are alike and nobody is known, one burst teaches and is tested: nothing learned is staked.

    Where people stay side by side (`threaded`), those whom the calibration half holds are known to the tables, and
    those who come later are not: then nothing that needs tables is staked either.
    """
    kin, slow = (float(np.quantile(x, _LEARNED_LIKE)) for x in (dependence.kin, dependence.slow))
    slow = math.inf if gathered else slow
    kin = max(kin, _ONE_TOPIC) if kin > 0 else 0.0
    fixed = np.where(NEEDS_TABLES[:-1] & threaded, math.inf, dependence.slow)
    return Dependence(np.append(dependence.kin, kin), np.append(fixed, slow), dependence.together)


def _refuse(rows: int, budget_rows: int, quiet_rows: int) -> None:
    if budget_rows < 1 or quiet_rows < 0:
        raise InvalidInput("the false-alarm budget must be 1 record or more, and the quiet time not negative")
    if rows < (needed := rows_needed(budget_rows)):
        raise InvalidInput(
            f"the reference holds {rows} exchanges, and at least {needed} are needed to tell a change from chance with"
            f" one false alarm in {budget_rows} (300 or more are better): give a longer reference"
        )


@lru_cache(maxsize=64)
def rows_needed(budget_rows: int) -> int:
    """The least reference with which a change of every record, seen by a tenth of the scores, would be proved.

    New records rank above all `m` calibration records, and at random among themselves: the k-th at k / 2 / (m + k).
    """
    for rows in range(MIN_REFERENCE_ROWS, 100_000, 10):
        m, bets = rows // 2, Evidence(np.ones(1), np.array([False]))
        best = 0.0
        for k in range(1, 4 * m):
            bets.update(np.array([k / 2 / (m + k)]), k, 0.0)
            best = max(best, bets.total)
        if best / 10 >= budget_rows:
            return rows
    return 100_000
