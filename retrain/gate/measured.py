"""The lines of the gate's table about what is measured: format, latency, length, perplexity, the judge's grades (pure).

In: a number an example, a level and a bound. Out: a Check. Must never know: who measured, the other lines.

All are guards: machines are noisy and judges err, so only a whole interval beyond the bound fails, and what was not
measured holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

from agent.types import Check
from retrain.gate.intervals import mean, wilson, z_of
from retrain.gate.lines import line

LEAST_VALUES = 10
"""With fewer, the normal interval of a mean says nothing, and neither does its line."""


@dataclass(frozen=True)
class Formed:
    """A guard without a champion: the share of answers in form."""

    name: str
    well_formed: Sequence[bool]
    level: float
    share: float

    @property
    def p_fails(self) -> float:
        """Small when the challenger surely does not do what is asked."""
        n = len(self.well_formed)
        if n == 0:
            return 1.0
        distance = sum(self.well_formed) - n * self.share
        return NormalDist().cdf(distance / math.sqrt(n * self.share * (1 - self.share)))

    def check(self, fail_level: float) -> Check:
        """The line: holds by its estimate, fails by its interval."""
        n, good = len(self.well_formed), sum(self.well_formed)
        found = good / n if n else 0.0
        low, high = wilson(good, n, z_of(self.level))[0], wilson(good, n, z_of(fail_level))[1]
        passed = None if n == 0 else True if found >= self.share else False if high < self.share else None
        says = f"{good} of {n} answers are whole and in form; {self.share:.0%} are needed"
        return line(self.name, passed, (found, low, high), self.share, n, says)


@dataclass(frozen=True)
class Ratio:
    """A guard on the challenger's value over the champion's, per example: the geometric mean is at most `most`."""

    name: str
    ratios: Sequence[float]
    """What is no positive number is left out."""
    level: float
    most: float
    what: str

    @property
    def p_fails(self) -> float:
        """Small when the challenger surely does not do what is asked."""
        return _p_below([-value for value in self._logs], -math.log(self.most))

    @property
    def _logs(self) -> list[float]:
        return [math.log(ratio) for ratio in self.ratios if math.isfinite(ratio) and ratio > 0]

    def check(self, fail_level: float) -> Check:
        """The line, in times the champion's value."""
        logs = self._logs
        if not logs:
            return line(self.name, True, (1.0, 0.0, math.inf), self.most, 0, "not measured")
        low, high = (math.exp(min(end, 50.0)) for end in _ends(logs, fail_level, self.level))
        ratio = math.exp(fmean(logs))
        says = f"{ratio:.2f} times the champion's {self.what} [{low:.2f}, {high:.2f}]; up to {self.most:g} is let pass"
        return line(self.name, low <= self.most, (ratio, low, high), self.most, len(logs), says)


@dataclass(frozen=True)
class Shift:
    """A guard on the challenger's value minus the champion's, per example: the mean falls by at most `allowed`."""

    name: str
    shifts: Sequence[float]
    level: float
    allowed: float
    what: str

    @property
    def p_fails(self) -> float:
        """Small when the challenger surely does not do what is asked."""
        return _p_below(self.shifts, -self.allowed)

    def check(self, fail_level: float) -> Check:
        """The line, in units of the value."""
        if not self.shifts:
            return line(self.name, True, (0.0, -math.inf, math.inf), -self.allowed, 0, "not measured")
        low, high = _ends(self.shifts, self.level, fail_level)
        found = fmean(self.shifts)
        says = f"{found:+.3f} [{low:+.3f}, {high:+.3f}] {self.what}; {-self.allowed:+.2f} is let pass"
        return line(self.name, high >= -self.allowed, (found, low, high), -self.allowed, len(self.shifts), says)


def enough(sizes: Mapping[str, int], needed: int, answers: int | None) -> Check:
    """Is there anything to judge by: every slice has the rows, and the fresh one more than one right answer."""
    least = min(sizes.values())
    says = f"{', '.join(f'{n} {name}' for name, n in sizes.items())} examples, of {needed} needed each"
    varied = answers is None or answers > 1 or sizes["fresh"] == 0
    if not varied:
        says += "; all fresh examples have the same right answer, which proves nothing: label other kinds too"
    passed = True if least >= needed and varied else None
    more = max(0, needed - least) or None
    values = (float(least),) * 3
    return line("enough evidence", passed, values, needed, least, says, None if passed else more)


def _ends(values: Sequence[float], low_level: float, high_level: float) -> tuple[float, float]:
    """Both ends of the mean's interval, each at a level of its own; without end where values are too few."""
    if len(values) < LEAST_VALUES:
        return -math.inf, math.inf
    return mean(values, z_of(low_level))[0], mean(values, z_of(high_level))[1]


def _p_below(values: Sequence[float], bound: float) -> float:
    """p-value of "the true mean is `bound` or more"; 1 when values are too few."""
    if len(values) < LEAST_VALUES:
        return 1.0
    spread, distance = stdev(values), fmean(values) - bound
    if spread == 0:
        return float(distance >= 0)
    return NormalDist().cdf(distance * math.sqrt(len(values)) / spread)
