"""The gate: what a challenger must prove on paired answers before it may be served (pure).

In: who was right on which example, and the bounds. Out: a Verdict with one Check a line.
Must never know: files, the engine, how answers were compared.

Accepted needs every check to hold; Rejected needs one to fail *for sure* (its whole interval beyond the bound);
between them lies NeedsMoreData, so that a small sample is never taken for a bad adapter. All claims about accuracy
are one-sided score bounds on paired shares, at 5 % together by Bonferroni (fresh, old and base: 1.67 % each,
z = 2.13). Format and latency are guards, not claims, and take no part of the 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from agent.types import Check, Verdict, VerdictKind
from retrain.intervals import mean, paired_difference, wilson, z_of

LEVEL = 0.95
WELL_FORMED = 0.95
"""Least share of the challenger's answers that must have the form of an answer."""
SLOWER = 1.5
"""Times the champion's latency at which a challenger is too slow; both are adapters of one base, so near 1."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Who was right on the same examples, in the same order."""

    challenger: Sequence[bool]
    other: Sequence[bool]

    @property
    def n(self) -> int:
        """Examples."""
        return len(self.challenger)

    @property
    def wins(self) -> int:
        """Examples that the challenger alone got right."""
        return sum(mine and not theirs for mine, theirs in zip(self.challenger, self.other, strict=True))

    @property
    def losses(self) -> int:
        """Examples that the other alone got right."""
        return sum(theirs and not mine for mine, theirs in zip(self.challenger, self.other, strict=True))

    @property
    def difference(self) -> float:
        """Accuracy of the challenger minus the other's."""
        return (self.wins - self.losses) / self.n if self.n else 0.0

    def __add__(self, more: Paired) -> Paired:
        return Paired(challenger=[*self.challenger, *more.challenger], other=[*self.other, *more.other])


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What must be proved. `min_gain` and `max_loss` are differences of accuracy in [0, 1]."""

    min_gain: float = 0.05
    max_loss: float = 0.05
    min_rows: int = 20


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the gate looks at. Empty `old`: the order brought no old rows, and nothing is claimed of them."""

    fresh: Paired
    old: Paired
    base: Paired
    """Challenger against the bare model, on both slices."""
    well_formed: Sequence[bool]
    """For each answer of the challenger: not empty, ended by itself, in the form of the labels."""
    slowdowns: Sequence[float]
    """Latency of the challenger over the champion's, per example; above 1 is slower."""


def judge(evidence: Evidence, bounds: Bounds) -> Verdict:
    """Weigh the evidence. A challenger that is right more often is never worse off."""
    claims = 3 if evidence.old.n else 2
    z = z_of((1 - LEVEL) / claims)
    checks = [_enough(evidence, bounds), _better(evidence.fresh, bounds, z)]
    if evidence.old.n:
        checks.append(_not_worse(evidence.old, bounds, z))
    checks += [_beats_base(evidence.base, z), _formed(evidence.well_formed), _latency(evidence.slowdowns)]
    if any(check.passed is False for check in checks):
        kind = VerdictKind.REJECTED
    elif all(check.passed for check in checks):
        kind = VerdictKind.ACCEPTED
    else:
        kind = VerdictKind.NEEDS_MORE_DATA
    return Verdict(kind=kind, checks=tuple(checks))


def reasons(verdict: Verdict) -> list[str]:
    """Why the verdict is what it is: the checks that did not hold, or all of them when it is accepted."""
    open_ones = [check for check in verdict.checks if not check.passed]
    return [f"{check.name}: {check.says}" for check in (open_ones or verdict.checks)]


def _enough(evidence: Evidence, bounds: Bounds) -> Check:
    sizes = [slice_.n for slice_ in (evidence.fresh, evidence.old) if slice_.n or slice_ is evidence.fresh]
    least = min(sizes)
    says = f"{evidence.fresh.n} fresh and {evidence.old.n} old examples, of {bounds.min_rows} needed each"
    enough = True if least >= bounds.min_rows else None
    return _check("enough evidence", enough, (least, least, least), bounds.min_rows, least, says)


def _better(pairs: Paired, bounds: Bounds, z: float) -> Check:
    low, high = paired_difference(pairs.wins, pairs.losses, pairs.n, z)
    passed: bool | None = None
    if low > 0 and pairs.difference >= bounds.min_gain:
        passed = True
    elif high < bounds.min_gain:
        passed = False
    says = f"{_points(pairs.difference, low, high)} against the champion; {bounds.min_gain:+.1%} are needed"
    return _check("better on fresh", passed, (pairs.difference, low, high), bounds.min_gain, pairs.n, says)


def _not_worse(pairs: Paired, bounds: Bounds, z: float) -> Check:
    low, high = paired_difference(pairs.wins, pairs.losses, pairs.n, z)
    passed = True if low >= -bounds.max_loss else False if high < -bounds.max_loss else None
    says = f"{_points(pairs.difference, low, high)} against the champion; {-bounds.max_loss:+.1%} is let pass"
    return _check("not worse on old", passed, (pairs.difference, low, high), -bounds.max_loss, pairs.n, says)


def _beats_base(pairs: Paired, z: float) -> Check:
    low, high = paired_difference(pairs.wins, pairs.losses, pairs.n, z)
    passed = True if low > 0 else False if high < 0 else None
    says = f"{_points(pairs.difference, low, high)} against the bare model; more than 0 is needed"
    return _check("beats the bare model", passed, (pairs.difference, low, high), 0.0, pairs.n, says)


def _formed(well_formed: Sequence[bool]) -> Check:
    n = len(well_formed)
    good = sum(well_formed)
    share = good / n if n else 0.0
    low, high = wilson(good, n, z_of((1 - LEVEL) / 2))
    passed = None if n == 0 else True if share >= WELL_FORMED else False if high < WELL_FORMED else None
    says = f"{good} of {n} answers are whole and in form; {WELL_FORMED:.0%} are needed"
    return _check("format", passed, (share, low, high), WELL_FORMED, n, says)


def _latency(slowdowns: Sequence[float]) -> Check:
    """A guard against a clear slowdown: machines are noisy, so only a whole interval beyond the bound fails."""
    logs = [math.log(ratio) for ratio in slowdowns if ratio > 0]
    if not logs:
        return _check("latency", True, (1.0, 0.0, math.inf), SLOWER, 0, "not measured")
    low, high = (math.exp(min(end, 50.0)) for end in mean(logs, z_of((1 - LEVEL) / 2)))
    ratio = math.exp(fmean(logs))
    says = f"{ratio:.2f} times the champion's latency [{low:.2f}, {high:.2f}]; up to {SLOWER} is let pass"
    return _check("latency", low <= SLOWER, (ratio, low, high), SLOWER, len(logs), says)


def _check(
    name: str, passed: bool | None, values: tuple[float, float, float], bound: float, n: int, says: str
) -> Check:
    estimate, low, high = (float(value) if math.isfinite(value) else 1e9 for value in values)
    return Check(name=name, passed=passed, estimate=estimate, low=low, high=high, bound=float(bound), n=n, says=says)


def _points(difference: float, low: float, high: float) -> str:
    return f"{difference:+.1%} [{low:+.1%}, {high:+.1%}]"
