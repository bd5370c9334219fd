"""What every line of the gate's table is: a name, how surely it fails, a Check (pure).

In: numbers. Out: a Check whose numbers are finite. Must never know: which lines there are.
"""

from __future__ import annotations

import math
from typing import Protocol

from agent.types import Check


class Test(Protocol):
    """One line of the table."""

    @property
    def name(self) -> str:
        """What people call it; never twice in one table."""

    @property
    def p_fails(self) -> float:
        """p-value of "the challenger does what this line asks": small when it surely does not."""

    def check(self, fail_level: float) -> Check:
        """The line, with a sure failure decided at this level."""


def line(
    name: str,
    passed: bool | None,
    values: tuple[float, float, float],
    bound: float,
    n: int,
    says: str,
    more: int | None = None,
) -> Check:
    """One line; what is infinite or no number becomes a large one, so that it can be stored as JSON."""
    estimate, low, high = (float(value) if math.isfinite(value) else 1e9 for value in values)
    return Check(
        name=name, passed=passed, estimate=estimate, low=low, high=high, bound=float(bound), n=n, says=says, more=more
    )
