"""The lines of the gate's table about paired answers: what each claims, when it holds, when it fails for sure (pure).

In: paired answers, a level and a bound. Out: a Check. Must never know: the other lines, what the verdict is.

A line is a claim (it must be *shown*: lower end of the interval at the gate's level) or a guard (it stops a challenger
only when there is a sign of harm). Whether it fails for sure is decided at a level that the gate shares out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agent.types import Check
from retrain.gate.intervals import Interval, below, more_pairs, paired_difference, z_of
from retrain.gate.lines import line

_TINY = 1e-12
"""Slack for sums that should be equal and are not, by rounding."""


class Pairs(Protocol):
    """Paired answers; `retrain.gate.verdict.Paired` is the real one."""

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

    def settle(self, ends: Interval, *, holds: bool, says: str, more: int | None) -> Check:
        """The check. A line that fails for sure never holds."""
        passed = False if ends[1] < self.asked else True if holds else None
        if passed is None:
            says += f"; about {more} more pairs would show it" if more else "; no number of pairs would show it soon"
        values = (self.pairs.difference, *ends)
        said = f"{_points(*values)} {says}"
        return line(self.name, passed, values, self.asked, self.pairs.n, said, more if passed is None else None)


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
        return self.settle((low, high), holds=holds, says=says, more=more)


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
        return self.settle((low, high), holds=low >= -self.allowed - _TINY, says=says, more=more)


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
        return self.settle((low, high), holds=low > 0, says=says, more=more)


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
        return self.settle((low, high), holds=holds, says=says, more=self.more(-self.allowed, 0.0))


def _points(difference: float, low: float, high: float) -> str:
    return f"{difference:+.1%} [{low:+.1%}, {high:+.1%}]"
