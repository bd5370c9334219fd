"""All that a detector is made of, and what it has seen.

Lives here: `Core` and `Seen`, data without behaviour. Comes in: the parts. Goes out: the parts.
Must never know: how they are fitted, used or saved; those three know this file and not each other.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from agent.drift.bets import Evidence
from agent.drift.scores import BY_ITSELF, COMPOSED, RANKED

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.drift.conformal import Grid, Pool
    from agent.drift.dependence import Kin
    from agent.drift.learner import Learner
    from agent.drift.neighbours import Course
    from agent.drift.scores import Scorer
    from agent.drift.seasons import Seasons
    from agent.drift.units import Units

RECENT = 200
"""Live records whose scores and ids are kept: for the shift, the examples and the numbers in the reason."""
ALL: tuple[str, ...] = (*RANKED, "words.topic")
"""The fixed scores and the learned one."""
PRIOR = {
    "prompt.novelty": 0.08,
    "answer.novelty": 0.08,
    "words.novelty": 0.08,
    "words.excess": 0.16,
    "answer.cut": 0.05,
    "words.topic": 0.15,
}
"""How much of the average these scores are; the others share the rest alike. Fixed beforehand: any weights keep the
promise. Against equal ones the others pay a fifth of a nat, in units half a nat (README, Where the evidence goes)."""
UPWARD = np.array([name in (*COMPOSED, ALL[-1]) for name in ALL])
"""Which scores only bet on being high: what is new is further from the reference."""

NEEDS_TABLES = np.array([name not in (*BY_ITSELF, "template.rarity") for name in ALL])
"""Which scores compare a text's words with those of the counted half, or of what came lately."""


def shares(names: tuple[str, ...]) -> NDArray[np.float64]:
    """How much each of these scores weighs in an average: one in all."""
    plain = (1 - sum(PRIOR.values())) / sum(name not in PRIOR for name in names)
    weights = np.array([PRIOR.get(name, plain) for name in names])
    return np.asarray(weights / weights.sum())


SHARES = shares(ALL)


def evidence() -> Evidence:
    """Nothing bet yet."""
    return Evidence(SHARES, UPWARD)


@dataclass(frozen=True, slots=True)
class Seen:
    """A live record that was ranked lately: its row, id and all scores."""

    row: int
    id: str
    scores: NDArray[np.float32]


@dataclass(slots=True, eq=False, kw_only=True)
class Core:
    """`usual` and `spread` (s,) are mean and deviation of all scores over the calibration half.

    `course` is kept while nobody is named and neighbours do not seem to be alike; None otherwise.
    """

    alias: str
    version: str
    budget_rows: int
    quiet_rows: int
    reference_rows: int
    seed: int
    random: np.random.Generator
    scorer: Scorer
    grid: Grid
    seasons: Seasons
    pools: list[Pool]
    learner: Learner
    keyed_by: str
    kin: Kin
    units: Units
    usual: NDArray[np.float64]
    spread: NDArray[np.float64]
    course: Course | None = None
    bets: Evidence = field(default_factory=evidence)
    recent: deque[Seen] = field(default_factory=lambda: deque(maxlen=RECENT))
    rows: int = 0
    quiet_until: int = 0
