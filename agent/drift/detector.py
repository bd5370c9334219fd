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
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

import numpy as np

from agent.drift.bets import Evidence
from agent.drift.conformal import LEAST_SPREAD, Grid, Pool
from agent.drift.reasons import kind_of, sentence
from agent.drift.records import UNKNOWN_TIME
from agent.drift.scores import NAMES, Scorer, pair_of
from agent.drift.split import MIN_REFERENCE_ROWS, halves, thinned
from agent.types import Alarm, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.drift.records import Record

RECENT = 200
"""Live records whose scores and ids are kept: for the shift, the examples and the numbers in the reason."""
NAMED = 5
"""Features that an alarm names."""
EXAMPLES = 5
CLEAR = 4.0
"""Standard errors that a feature's mean must have moved since the onset before the reason names it: what had crept up
by chance long before does not explain an alarm."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A live record that was ranked lately: its row, id and scores."""

    row: int
    id: str
    scores: NDArray[np.float32]


class Detector:
    """Build with `fit`, feed with `update`, keep with `state`, bring back with `restore`."""

    def __init__(
        self, scorer: Scorer, grid: Grid, calibration: NDArray[np.float64], *, alias: str, version: str
    ) -> None:
        """`calibration` (n, s): scores of the calibration half by `scorer`. Prefer `fit`."""
        self.scorer, self.grid = scorer, grid
        self.alias, self.version = alias, version
        self.middle, self.spread = calibration.mean(axis=0), np.maximum(calibration.std(axis=0), LEAST_SPREAD)
        self.pool, self.bets = Pool(len(NAMES)), Evidence(len(NAMES))
        for scores in calibration:
            self.pool.add(grid.levels(scores))
        self.recent: deque[Seen] = deque(maxlen=RECENT)
        self.rows = self.quiet_until = 0
        self.budget_rows, self.quiet_rows = 50_000, 200
        self.random = np.random.default_rng(0)

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
    ) -> Self:
        """Learn what normal is. With no change, alarms are at least `budget_rows` records apart on average.

        After an alarm nothing is bet for `quiet_rows` records. Raises InvalidInput if the reference is too small.
        """
        if len(reference) < MIN_REFERENCE_ROWS:
            msg = (
                f"the reference holds {len(reference)} exchanges, and at least {MIN_REFERENCE_ROWS} are needed to tell"
                " a change from chance (300 or more are better): give a longer reference"
            )
            raise InvalidInput(msg)
        if budget_rows < 1 or quiet_rows < 0:
            raise InvalidInput("the false-alarm budget must be 1 record or more, and the quiet time not negative")
        random = np.random.default_rng([seed, 0])
        counted, ranked = halves(thinned(reference), random)
        pairs = [pair_of(record) for record in counted]
        scorer = Scorer.build_from(pairs)
        one, other = Scorer.build_from(pairs[0::2]), Scorer.build_from(pairs[1::2])
        crossed = [*(other.score_pair(*p) for p in pairs[0::2]), *(one.score_pair(*p) for p in pairs[1::2])]
        calibration = np.array([scorer.score(record) for record in ranked])
        self = cls(scorer, Grid.over(np.array(crossed)), calibration, alias=alias, version=version)
        self.budget_rows, self.quiet_rows, self.random = budget_rows, quiet_rows, random
        return self

    @property
    def evidence(self) -> float:
        """log10 of the statistic, never below 0 (no evidence); the alarm comes when it reaches `threshold`."""
        return math.log10(max(self.bets.total, 1.0))

    @property
    def threshold(self) -> float:
        """log10 of the promised run length in records."""
        return math.log10(self.budget_rows)

    def update(self, record: Record) -> Alarm | None:
        """Rank one live record, settle the bets, and say so if the promised run length is passed."""
        row, self.rows = self.rows, self.rows + 1
        scores = self.scorer.score(record)
        levels = self.grid.levels(scores)
        p = self.pool.p_values(levels, self.random.random(len(NAMES)))
        self.pool.add(levels)
        self.recent.append(Seen(row, record.id, scores.astype(np.float32)))
        if row < self.quiet_until:
            return None
        self.bets.update(p, row, math.nan if record.at == UNKNOWN_TIME else record.at.timestamp())
        if self.bets.total < self.budget_rows:
            return None
        alarm = self._alarm(row, record.at)
        self.bets = Evidence(len(NAMES))
        self.quiet_until = self.rows + self.quiet_rows
        return alarm

    def leaders(self, n: int = NAMED) -> list[tuple[str, float, float]]:
        """The `n` features with most evidence: (feature, log10 evidence, shift in reference standard deviations)."""
        return self._leaders(n, self.bets.onset()[0])

    def _leaders(self, n: int, onset_row: int) -> list[tuple[str, float, float]]:
        evidence, shift = self.bets.by_score, self._shift(onset_row)
        order = np.argsort(-evidence, kind="stable")[:n]
        return [(NAMES[i], math.log10(max(float(evidence[i]), 1.0)), float(shift[i])) for i in order]

    def _since(self, row: int) -> list[Seen]:
        return [seen for seen in self.recent if seen.row >= row] or list(self.recent)[-1:]

    def _shift(self, onset_row: int) -> NDArray[np.float64]:
        since = self._since(onset_row)
        if not since:
            return np.zeros(len(NAMES))
        return np.asarray((np.mean([seen.scores for seen in since], axis=0) - self.middle) / self.spread)

    def _alarm(self, row: int, at: datetime) -> Alarm:
        onset_row, onset_s = self.bets.onset()
        onset_at = None if math.isnan(onset_s) else datetime.fromtimestamp(onset_s, UTC)
        everything = self._leaders(len(NAMES), onset_row)
        root = math.sqrt(len(self._since(onset_row)))
        moved = [leader for leader in everything if abs(leader[2]) * root >= CLEAR] or everything
        features, kind = tuple(everything[:NAMED]), kind_of(moved)
        usual = dict(zip(NAMES, self.middle.tolist(), strict=True))
        lately = dict(zip(NAMES, np.mean([s.scores for s in self._since(onset_row)], axis=0).tolist(), strict=True))
        return Alarm(
            alias=self.alias,
            version=self.version,
            row=row,
            onset_row=onset_row,
            at=at,
            onset_at=onset_at or at,
            kind=kind,
            evidence=self.evidence,
            threshold=self.threshold,
            features=features,
            examples=self._examples(features, onset_row),
            reason=sentence(moved, kind, usual, lately, onset_row=onset_row, onset_at=onset_at),
        )

    def _examples(self, features: Sequence[tuple[str, float, float]], onset_row: int) -> tuple[str, ...]:
        """Ids of the records since the onset that lie furthest out in the leading features."""
        leading = [(NAMES.index(name), math.copysign(1.0, shift)) for name, _, shift in features[:3]]

        def far(seen: Seen) -> float:
            z = [sign * (float(seen.scores[i]) - self.middle[i]) / self.spread[i] for i, sign in leading]
            return float(np.clip(z, -6, 6).sum())

        return tuple(seen.id for seen in sorted(self._since(onset_row), key=far, reverse=True)[:EXAMPLES])

    def state(self) -> bytes:
        """Everything, reference part included, as one npz file without pickles: 0.3-1 MB."""
        from agent.drift.state import pack

        return pack(self)

    @classmethod
    def restore(cls, state: bytes) -> Detector:
        """The detector that wrote `state`; it goes on exactly where that one stood. Raises InvalidInput."""
        from agent.drift.state import unpack

        return unpack(state)
