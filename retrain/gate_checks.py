"""The lines of the gate's table: each says what it claims, when it holds, and when it fails for sure (pure).

In: paired answers, a level and a bound. Out: a Check. Must never know: the other lines, what the verdict is.

A line is a claim (it must be *shown*: lower end of the interval at the gate's level) or a guard (it stops a challenger
only when there is a sign of harm). Whether it fails for sure is decided at a level that the gate shares out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev
from typing import Protocol

from agent.types import Check
from retrain.intervals import Interval, below, mean, more_pairs, paired_difference, wilson, z_of

_TINY = 1e-12
"""Slack for sums that should be equal and are not, by rounding."""


class Pairs(Protocol):
    """Paired answers; `retrain.gate.Paired` is the real one."""

    @property
    def n(self) -> int:
        """Pairs."""

    @property
    def wins(self) -> int:
        """Pairs that the challenger alone got right."""

    @property
    def losses(self) -> int:
        """Pairs that the other alone got right."""

    @property
    def difference(self) -> float:
        """Accuracy of the challenger minus the other's."""


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


@dataclass(frozen=True)
class _Difference:
    """What the lines about paired answers share."""

    name: str
    pairs: Pairs
    level: float

    @property
    def asked(self) -> float:
        """The least true difference with which a challenger does what is asked."""
        raise NotImplementedError

    @property
    def p_fails(self) -> float:
        """Small when the challenger surely does not do what is asked."""
        return below(self.asked, self.pairs.wins, self.pairs.losses, self.pairs.n)

    def ends(self, fail_level: float) -> Interval:
        """Lower end at the gate's level, upper end at the level of a sure failure."""
        counts = (self.pairs.wins, self.pairs.losses, self.pairs.n)
        return paired_difference(*counts, z_of(self.level))[0], paired_difference(*counts, z_of(fail_level))[1]

    def more(self, margin: float, truth: float) -> int | None:
        """Pairs that would show a difference above `margin`."""
        counts = (self.pairs.wins, self.pairs.losses, self.pairs.n)
        return more_pairs(*counts, margin=margin, truth=truth, alpha=self.level)

    def line(self, ends: Interval, *, holds: bool, says: str, more: int | None) -> Check:
        """The check. A line that fails for sure never holds."""
        passed = False if ends[1] < self.asked else True if holds else None
        if passed is None:
            says += f"; about {more} more pairs would show it" if more else "; no number of pairs would show it soon"
        values = (self.pairs.difference, *ends)
        said = f"{_points(*values)} {says}"
        return _check(self.name, passed, values, self.asked, self.pairs.n, said, more if passed is None else None)


@dataclass(frozen=True)
class Better(_Difference):
    """A claim: the estimate reaches `gain` and the interval lies above 0."""

    gain: float

    @property
    def asked(self) -> float:
        """The least true difference with which a challenger does what is asked."""
        return self.gain

    def check(self, fail_level: float) -> Check:
        """The line, with a sure failure decided at this level."""
        low, high = self.ends(fail_level)
        holds = low > 0 and self.pairs.difference >= self.gain - _TINY
        more = self.more(0.0, max(self.pairs.difference, self.gain, 0.005))
        says = f"against the champion; {self.gain:+.1%} are needed"
        return self.line((low, high), holds=holds, says=says, more=more)


@dataclass(frozen=True)
class NotWorse(_Difference):
    """A claim: the interval lies above a loss of `allowed`."""

    allowed: float

    @property
    def asked(self) -> float:
        """The least true difference with which a challenger does what is asked."""
        return -self.allowed

    def check(self, fail_level: float) -> Check:
        """The line, with a sure failure decided at this level."""
        low, high = self.ends(fail_level)
        more = self.more(-self.allowed, 0.0)
        says = f"against the champion; {-self.allowed:+.1%} is let pass"
        return self.line((low, high), holds=low >= -self.allowed - _TINY, says=says, more=more)


@dataclass(frozen=True)
class BeatsBase(_Difference):
    """A claim: the interval lies above 0."""

    @property
    def asked(self) -> float:
        """The least true difference with which a challenger does what is asked."""
        return 0.0

    def check(self, fail_level: float) -> Check:
        """The line, with a sure failure decided at this level."""
        low, high = self.ends(fail_level)
        more = self.more(0.0, max(self.pairs.difference, 0.02))
        says = "against the bare model; more than 0 is needed"
        return self.line((low, high), holds=low > 0, says=says, more=more)


@dataclass(frozen=True)
class Guard(_Difference):
    """Holds unless the loss is more than `allowed` and more than chance, at this line's own share of the level.

    It proves nothing: with few examples nothing is seen. It is for what is rare (a malformed answer) and for slices
    too small to prove anything on.
    """

    allowed: float

    @property
    def asked(self) -> float:
        """The least true difference with which a challenger does what is asked."""
        return -self.allowed

    def check(self, fail_level: float) -> Check:
        """The line, with a sure failure decided at this level."""
        low, high = self.ends(fail_level)
        surely = paired_difference(self.pairs.wins, self.pairs.losses, self.pairs.n, z_of(self.level))[1]
        holds = self.pairs.difference >= -self.allowed - _TINY or surely >= 0
        says = f"against the champion; guarded: a clear loss beyond {-self.allowed:+.1%} stops it"
        return self.line((low, high), holds=holds, says=says, more=self.more(-self.allowed, 0.0))


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
        return _check(self.name, passed, (found, low, high), self.share, n, says)


@dataclass(frozen=True)
class Latency:
    """A guard against a clear slowdown: machines are noisy, so only a whole interval beyond the bound fails."""

    name: str
    ratios: Sequence[float]
    level: float
    most: float

    @property
    def p_fails(self) -> float:
        """Small when the challenger surely does not do what is asked."""
        logs = self._logs
        spread = stdev(logs) if len(logs) > 1 else 0.0
        distance = math.log(self.most) - (fmean(logs) if logs else 0.0)
        if len(logs) < 2:
            return 1.0
        if spread == 0:
            return float(distance >= 0)
        return NormalDist().cdf(distance * math.sqrt(len(logs)) / spread)

    @property
    def _logs(self) -> list[float]:
        return [math.log(ratio) for ratio in self.ratios]

    def check(self, fail_level: float) -> Check:
        """The line, in times the champion's latency (geometric mean of ratios)."""
        logs = self._logs
        if not logs:
            return _check(self.name, True, (1.0, 0.0, math.inf), self.most, 0, "not measured")
        low = math.exp(min(mean(logs, z_of(fail_level))[0], 50.0))
        high = math.exp(min(mean(logs, z_of(self.level))[1], 50.0))
        ratio = math.exp(fmean(logs))
        says = f"{ratio:.2f} times the champion's latency [{low:.2f}, {high:.2f}]; up to {self.most:g} is let pass"
        return _check(self.name, low <= self.most, (ratio, low, high), self.most, len(logs), says)


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
    return _check("enough evidence", passed, values, needed, least, says, None if passed else more)


def _check(
    name: str,
    passed: bool | None,
    values: tuple[float, float, float],
    bound: float,
    n: int,
    says: str,
    more: int | None = None,
) -> Check:
    estimate, low, high = (float(value) if math.isfinite(value) else 1e9 for value in values)
    return Check(
        name=name, passed=passed, estimate=estimate, low=low, high=high, bound=float(bound), n=n, says=says, more=more
    )


def _points(difference: float, low: float, high: float) -> str:
    return f"{difference:+.1%} [{low:+.1%}, {high:+.1%}]"
