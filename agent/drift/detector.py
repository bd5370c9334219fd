"""The sequential detector: record by record, one promise about false alarms, however often one looks.

Lives here: `Detector`. Comes in: a reference once, then live records one at a time. Goes out: alarms, evidence, state.
Must never know: the clock, the store, or what is done about an alarm.

The reference is split: one half builds the n-gram tables and is never ranked again, the other half is the calibration
that live records are ranked with. Given the first half, calibration and live records are scored by one fixed rule, so
if nothing changed they are exchangeable, exactly. (Scoring a reference record against tables that it helped to build,
with or without its own counts taken out, is not the same rule: see README.)
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from agent.drift.conformal import Pool
from agent.drift.core import ALL, NEEDS_TABLES, RECENT, Seen, evidence
from agent.drift.fitting import fit_core
from agent.drift.learner import fold_of, words_of_many
from agent.drift.reasons import kind_of, sentence
from agent.drift.records import UNKNOWN_TIME
from agent.drift.saved import load, save
from agent.drift.scores import RANKED, composed, pairs_of
from agent.drift.split import MAX_REFERENCE_ROWS
from agent.drift.units import SHARE, rows_for_a_tenth
from agent.types import Alarm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from agent.drift.core import Core
    from agent.drift.records import Record

    _Ranked = tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.intp], NDArray[np.float64]]

__all__ = ["RECENT", "Detector"]

NAMED = 5
"""Features that an alarm names."""
EXAMPLES = 5
WITHIN_ROWS = 2_000
"""Live records after which a change that takes a tenth of all users should be proved."""
CLEAR = 4.0
"""Standard errors that a feature's mean must have moved since the onset before the reason names it: what had crept up
by chance long before does not explain an alarm."""
_FOLD_RUN = 25
"""Live neighbours that belong to one fold of the learner, where users are unknown."""
_AT_ONCE = 32
_FEW, _TIMES = 0.02, 3.0
"""Share of empty answers that is worth a word, and how many times what it was."""
_ALIKE = 0.8
"""Share of records beyond the usual 2 standard deviations, same side, that says: everything moved at once."""


class Detector:
    """Build with `fit`, feed with `update`, keep with `state`, bring back with `restore`."""

    def __init__(self, core: Core) -> None:
        """Prefer `fit` or `restore`."""
        self.core = core
        self._unknown = (core.usual[:-1] == 0.0) & (core.spread[:-1] == 1.0)
        """Scores that no record of the reference has ((0, 1) by `moments`): live ones have nothing to differ from."""

    @classmethod
    def fit(
        cls,
        reference: Sequence[Record],
        *,
        alias: str,
        version: str,
        budget_rows: int,
        seed: int = 0,
        quiet_rows: int = 200,
    ) -> Detector:
        """Learn what is normal from `reference`; at most one false alarm per `budget_rows` live records on average.

        At most 4,000 reference rows are used. Raises InvalidInput if there are too few for the budget.
        """
        return cls(
            fit_core(reference, alias=alias, version=version, budget_rows=budget_rows, quiet_rows=quiet_rows, seed=seed)
        )

    @property
    def evidence(self) -> float:
        """log10 of the statistic, never below 0 (no evidence); the alarm comes when it reaches `threshold`."""
        return math.log10(max(self._total, 1.0))

    @property
    def _total(self) -> float:
        """The average of what records and units have won."""
        core = self.core
        if not core.units.playing:
            return core.bets.total
        return (1 - SHARE) * core.bets.total + SHARE * core.units.bets.total

    def _by_score(self) -> NDArray[np.float64]:
        """The same, score by score (s,)."""
        core = self.core
        if not core.units.playing:
            return core.bets.by_score
        units = np.append(core.units.by_score, 0.0)
        return (1 - SHARE) * core.bets.by_score + SHARE * units

    def _onset(self) -> tuple[int, float]:
        """Row and time where those began to win that have won most."""
        core = self.core
        leads = core.units.playing and SHARE * core.units.bets.total > (1 - SHARE) * core.bets.total
        return (core.units.bets if leads else core.bets).onset()

    @property
    def threshold(self) -> float:
        """log10 of the promised run length in records."""
        return math.log10(self.core.budget_rows)

    @property
    def rows(self) -> int:
        """Live records seen."""
        return self.core.rows

    @property
    def notes(self) -> list[str]:
        """What this reference cannot do, and what would; a sentence each."""
        units = self.core.units
        if self.core.kin.in_the_dark:
            alike = "exchanges that follow each other are alike in this reference, and no user or conversation says why"
            return [f"{alike}: changes are found late, if at all; give every exchange its user or its conversation"]
        if not units.playing:
            return []
        needed = rows_for_a_tenth(units.size, self.core.budget_rows, WITHIN_ROWS)
        if needed <= self.core.reference_rows:
            return []
        what = f"give {needed:,} to have it proved within {WITHIN_ROWS:,} exchanges"
        if needed > MAX_REFERENCE_ROWS:
            what = f"none of at most {MAX_REFERENCE_ROWS:,} proves that within {WITHIN_ROWS:,} exchanges"
        come = f"exchanges come about {units.size:.0f} at a time from one user or conversation"
        known = f"a reference of {self.core.reference_rows:,} exchanges"
        return [f"{come}; if a tenth of these change as a whole, {known} is too small: {what}"]

    def update(self, record: Record) -> Alarm | None:
        """Rank one live record, settle the bets, and say so if the promised run length is passed."""
        return self.update_many([record])[0]

    def update_many(self, records: Sequence[Record]) -> list[Alarm | None]:
        """What `update` would say of each record in turn, to the last digit, at half the price (32 or more at once)."""
        said: list[Alarm | None] = []
        for begin in range(0, len(records), _AT_ONCE):
            some = records[begin : begin + _AT_ONCE]
            for record, ranked in zip(some, self._ranked(some), strict=True):
                said.append(self._bet(record, *ranked))
        return said

    def _bet(
        self,
        record: Record,
        p: NDArray[np.float64],
        scores: NDArray[np.float32],
        levels: NDArray[np.intp],
        ties: NDArray[np.float64],
    ) -> Alarm | None:
        core = self.core
        row, core.rows = core.rows, core.rows + 1
        core.recent.append(Seen(row, record.id, scores))
        key, quiet = self._key(record), row < core.quiet_until
        at_s = math.nan if record.at == UNKNOWN_TIME else record.at.timestamp()
        core.units.add(levels, row, key, at_s, ties, quiet=quiet)
        if quiet:
            return None
        whose = core.kin.whose(key, row)
        stakes, open_ = core.kin.stakes(whose, row)
        gains = core.bets.update(p, row, at_s, stakes, open_)
        core.kin.settle(whose, row, stakes, gains)
        if self._total < core.budget_rows or self._threaded():
            return None
        alarm = self._alarm(row, record.at)
        core.bets = evidence()
        core.units.restart()
        core.quiet_until = core.rows + core.quiet_rows
        if core.course is not None:
            core.course.changes.append(alarm.onset_row)
        return alarm

    def _threaded(self) -> bool:
        """Before an alarm where nobody is named: were neighbours alike all the while? Then all begins anew, slower."""
        core = self.core
        if core.course is None or not core.course.alike(
            core.rows, self._onset()[0], np.random.default_rng([core.seed, 3])
        ):
            return False
        core.kin.slow_down(core.reference_rows, NEEDS_TABLES)
        core.bets, core.course = evidence(), None
        core.units.restart()
        return True

    def _key(self, record: Record) -> str | None:
        return getattr(record, self.core.keyed_by) if self.core.keyed_by else None

    def _ranked(self, records: Sequence[Record]) -> Iterator[_Ranked]:
        """P-values and scores (s,) of each record, which then joins those that the next ones are ranked with."""
        core, n = self.core, len(records)
        texts = pairs_of(records)
        fixed = composed(core.scorer.score_many(records, texts), core.grid)
        fixed[:, self._unknown] = math.nan
        levels, chance = core.grid.levels(fixed), core.random.random((n, len(ALL) + len(RANKED) + 1))
        season = [core.seasons.of(record.at) for record in records]
        p, scores = np.empty((n, len(ALL))), np.empty((n, len(ALL)), np.float32)
        scores[:, :-1] = fixed
        for s in set(season):
            rows = [i for i in range(n) if season[i] == s]
            p[rows, :-1] = core.pools[s].rank(levels[rows], chance[rows, : levels.shape[1]])
        for i, (record, words) in enumerate(zip(records, words_of_many(texts), strict=True)):
            key, apart = self._key(record), season[i] if len(core.seasons) > 1 else -1
            fold = fold_of(f"run {core.rows // _FOLD_RUN}" if key is None else key, core.seed)
            p[i, -1], scores[i, -1] = core.learner.p_value(words, apart, fold, float(chance[i, -2]))
            core.learner.learn(words, season[i], fold, float(chance[i, -1]))
            if core.course is not None:
                core.course.add(words)
            yield p[i], scores[i], levels[i], chance[i, levels.shape[1] : -2]

    def leaders(self, n: int = NAMED) -> list[tuple[str, float, float]]:
        """The `n` features with most evidence: (feature, log10 evidence, shift in reference standard deviations)."""
        return self._leaders(n, self._onset()[0])

    def _leaders(self, n: int, onset_row: int) -> list[tuple[str, float, float]]:
        weight, shift = self._by_score(), self._shift(onset_row)
        order = np.argsort(-weight, kind="stable")[:n]
        return [(ALL[i], math.log10(max(float(weight[i]), 1.0)), float(shift[i])) for i in order]

    def _since(self, row: int) -> list[Seen]:
        return [seen for seen in self.core.recent if seen.row >= row] or list(self.core.recent)[-1:]

    def _far(self, since: Sequence[Seen]) -> NDArray[np.float64]:
        """Scores (n, s) in reference standard deviations; 0 where a record has none."""
        scores = np.array([seen.scores for seen in since], np.float64).reshape(len(since), len(ALL))
        return np.nan_to_num((scores - self.core.usual) / self.core.spread)

    def _shift(self, onset_row: int) -> NDArray[np.float64]:
        since = self._since(onset_row)
        return np.asarray(self._far(since).mean(axis=0)) if since else np.zeros(len(ALL))

    def _alarm(self, row: int, at: datetime) -> Alarm:
        core = self.core
        onset_row, onset_s = self._onset()
        onset_at = None if math.isnan(onset_s) else datetime.fromtimestamp(onset_s, UTC)
        since = self._since(onset_row)
        everything = self._leaders(len(ALL), onset_row)
        root = math.sqrt(len(since))
        moved = [leader for leader in everything if abs(leader[2]) * root >= CLEAR] or everything
        features = tuple(everything[:NAMED])
        by_chance = math.log10(max(row - core.quiet_until, 1))
        kind = kind_of(moved, by_chance, self._prompts_moved(since), core.learner.prompt_share())
        shift = self._shift(onset_row)
        return Alarm(
            alias=core.alias,
            version=core.version,
            row=row,
            onset_row=onset_row,
            at=at,
            onset_at=onset_at or at,
            kind=kind,
            evidence=self.evidence,
            threshold=self.threshold,
            features=features,
            examples=self._examples(moved, since),
            vanished=core.learner.vanished(EXAMPLES),
            reason=sentence(
                moved,
                kind,
                dict(zip(ALL, core.usual.tolist(), strict=True)),
                dict(zip(ALL, (core.usual + shift * core.spread).tolist(), strict=True)),
                onset_row=onset_row,
                onset_at=onset_at,
                upstream=self._all_alike(moved, since),
                empty=self._empty(since),
            ),
        )

    def _prompts_moved(self, since: Sequence[Seen]) -> float:
        """How surely prompts stand elsewhere than usual: the most of any of their scores, in standard errors."""
        core = self.core
        levels = core.grid.levels(np.array([seen.scores[:-1] for seen in since], np.float64))
        far = self._every_hour().standing(levels)
        return float(max(abs(far[i]) for i, name in enumerate(RANKED) if name.startswith("prompt.")))

    def _every_hour(self) -> Pool:
        """All that was ranked, whatever the hour."""
        return Pool.of(np.sum([pool.counts for pool in self.core.pools], axis=0))

    def _empty(self, since: Sequence[Seen]) -> float:
        """The share of empty answers, where it is several times what it was; else 0."""
        core, length = self.core, ALL.index("answer.length")
        lately = float(np.mean([seen.scores[length] <= 0 for seen in since]))
        none = int(core.grid.levels(np.where(np.arange(len(RANKED)) == length, 0.0, np.nan))[length])
        counts = self._every_hour().counts[length]
        before = max(counts[: none + 1].sum() - lately * len(since), 0.0) / max(counts.sum(), 1)
        return lately if lately > max(_FEW, _TIMES * before) else 0.0

    def _all_alike(self, moved: Sequence[tuple[str, float, float]], since: Sequence[Seen]) -> bool:
        """Did nearly every prompt move, the same way?"""
        for name, _, shift in moved[:3]:
            if name.startswith("prompt."):
                far = self._far(since)[:, ALL.index(name)] * math.copysign(1.0, shift)
                return bool(np.mean(far > 2) >= _ALIKE)
        return False

    def _examples(self, moved: Sequence[tuple[str, float, float]], since: Sequence[Seen]) -> tuple[str, ...]:
        """Ids of the records since the onset that lie furthest out in the leading features."""
        leading = moved[:3]
        places, signs = [ALL.index(name) for name, _, _ in leading], [math.copysign(1.0, s) for _, _, s in leading]
        far = np.clip(self._far(since)[:, places] * signs, -6, 6).sum(axis=1)
        return tuple(dict.fromkeys(since[i].id for i in np.argsort(-far, kind="stable")))[:EXAMPLES]

    def state(self) -> bytes:
        """Everything, reference part included, as one npz file without pickles: 0.5-1.5 MB."""
        return save(self.core)

    @classmethod
    def restore(cls, state: bytes) -> Detector:
        """The detector that wrote `state`; it goes on exactly where that one stood. Raises InvalidInput."""
        return cls(load(state))
