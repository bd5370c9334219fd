"""The gate: what a challenger must prove on paired answers before it may be served (pure).

In: who was right on which example, and the bounds. Out: a Verdict with one Check a line.
Must never know: files, the engine, how answers were compared.

Accepted needs every check to hold, Rejected needs one to fail *for sure*; between them lies NeedsMoreData, which says
how many more pairs would settle it, so that a small sample is never taken for a bad adapter.

Multiplicity, at `level` each (4.5 %: the score test is an approximation, and 5 % is promised):
- Accepting is an intersection-union test (Berger 1982, Technometrics 24:295): every claim is tested at the full
  level, and because *all* must hold, a challenger that breaks any one of them is accepted with at most that chance.
  Taken as a list in the order of the table it is a fixed-sequence procedure, so the claims of an accepted verdict
  hold together at that level too. Bonferroni here would only cost power.
- Rejecting is the union of many tests, so there Holm's procedure shares the level out over all checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from agent.types import Check, Verdict, VerdictKind
from retrain.gate import checks, measured
from retrain.gate.intervals import holm
from retrain.gate.lines import Test

WELL_FORMED = 0.95
"""Least share of answers in form, where there is no champion to compare with."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Who was right on the same examples, in the same order."""

    challenger: Sequence[bool]
    other: Sequence[bool]

    @property
    def n(self) -> int:
        """Examples."""
        return len(self.challenger)

    @cached_property
    def wins(self) -> int:
        """Examples that the challenger alone got right."""
        return sum(mine and not theirs for mine, theirs in zip(self.challenger, self.other, strict=True))

    @cached_property
    def losses(self) -> int:
        """Examples that the other alone got right."""
        return sum(theirs and not mine for mine, theirs in zip(self.challenger, self.other, strict=True))

    @property
    def difference(self) -> float:
        """Accuracy of the challenger minus the other's."""
        return (self.wins - self.losses) / self.n if self.n else 0.0

    def __add__(self, more: Paired) -> Paired:
        return Paired(challenger=[*self.challenger, *more.challenger], other=[*self.other, *more.other])


NOTHING = Paired(challenger=(), other=())


@dataclass(frozen=True)
class Counted:
    """Pairs of which only the counts are known."""

    wins: int
    losses: int
    n: int

    @property
    def difference(self) -> float:
        """Share of wins minus share of losses."""
        return (self.wins - self.losses) / self.n if self.n else 0.0


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What must be proved. Gains and losses are differences of shares in [0, 1]; `retrain.order.GatePart` says more."""

    min_gain: float = 0.02
    max_loss: float = 0.03
    canary_max_loss: float = 0.05
    guard_max_loss: float = 0.02
    max_slowdown: float = 1.5
    max_lengthening: float = 1.5
    max_perplexity: float = 1.5
    judge_max_loss: float = 0.1
    level: float = 0.045
    min_rows: int = 20
    slice_rows: int = 200


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that the gate looks at. An empty `old` or `canary`: the order brought none, and nothing is claimed of it."""

    fresh: checks.Pairs
    old: checks.Pairs
    base: checks.Pairs
    """Challenger against the bare model, on both slices."""
    well_formed: Sequence[bool]
    """For each answer of the challenger: not empty, ended by itself, in the form of the labels."""
    slowdowns: Sequence[float]
    """Latency of the challenger over the champion's, per example; above 1 is slower. What is no number is left out."""
    slices: Mapping[str, checks.Pairs] = field(default_factory=dict)
    """Parts of the old slice by what rows are labelled with, such as `intent=timer`."""
    canary: checks.Pairs = NOTHING
    guards: Mapping[str, checks.Pairs] = field(default_factory=dict)
    """Whose answer was in order, by name of what could be out of it: format, refusals, safety."""
    lengths: Sequence[float] = ()
    """Tokens of the challenger's answer over the champion's, where the task is the old one (old, canary)."""
    perplexity: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """By slice: perplexity of the right answer under the challenger over that under the champion."""
    grades: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """By slice: the judge's grade of the challenger's answer minus that of the champion's."""
    preferences: Mapping[str, checks.Pairs] = field(default_factory=dict)
    """By slice: whom the judge preferred in both orders; all else is a tie."""
    answers: int | None = None
    """Different right answers on the fresh slice; None when nobody counted."""


def judge(evidence: Evidence, bounds: Bounds) -> Verdict:
    """Weigh the evidence. A challenger that is right more often is never worse off."""
    tests = _tests(evidence, bounds)
    levels = holm({test.name: test.p_fails for test in tests}, bounds.level)
    checks = [
        measured.enough(_sizes(evidence), bounds.min_rows, evidence.answers),
        *(test.check(levels[test.name]) for test in tests),
    ]
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


def _sizes(evidence: Evidence) -> dict[str, int]:
    sizes = {"fresh": evidence.fresh.n}
    for name, pairs in (("old", evidence.old), ("canary", evidence.canary)):
        if pairs.n:
            sizes[name] = pairs.n
    return sizes


def _tests(evidence: Evidence, bounds: Bounds) -> list[Test]:
    """The lines of the table, in the order of the fixed sequence."""
    level, loss = bounds.level, bounds.max_loss
    small = {name: pairs for name, pairs in evidence.slices.items() if 0 < pairs.n < bounds.slice_rows}
    guards = {f"not worse on {name}": (pairs, loss) for name, pairs in small.items()}
    guards |= {f"{name} not worse": (p, bounds.guard_max_loss) for name, p in evidence.guards.items()}
    tests: list[Test] = [checks.Better("better on fresh", evidence.fresh, level, bounds.min_gain)]
    if evidence.old.n:
        tests.append(checks.NotWorse("not worse on old", evidence.old, level, loss))
    for name, pairs in evidence.slices.items():
        if pairs.n >= bounds.slice_rows:
            tests.append(checks.NotWorse(f"not worse on {name}", pairs, level, loss))
    if evidence.canary.n:
        tests.append(checks.NotWorse("not worse on canary", evidence.canary, level, bounds.canary_max_loss))
    tests.append(checks.BeatsBase("beats the bare model", evidence.base, level))
    tests += [checks.Guard(name, p, level / len(guards), allowed) for name, (p, allowed) in guards.items()]
    if "format" not in evidence.guards:
        tests.append(measured.Formed("format", evidence.well_formed, level, WELL_FORMED))
    return [*tests, *_measured(evidence, bounds)]


def _measured(evidence: Evidence, bounds: Bounds) -> list[Test]:
    """The guards on what was measured; a slice that nobody asked to measure has no line."""
    level, most = bounds.level, bounds.max_perplexity
    made: list[Test] = [measured.Ratio("latency", evidence.slowdowns, level, bounds.max_slowdown, "latency")]
    if evidence.lengths:
        made.append(measured.Ratio("answer length", evidence.lengths, level, bounds.max_lengthening, "tokens"))
    for name, ratios in evidence.perplexity.items():
        made.append(measured.Ratio(f"perplexity on {name}", ratios, level, most, "perplexity of the right answer"))
    for name, shifts in evidence.grades.items():
        says = "the judge's mean grade, against the champion's"
        made.append(measured.Shift(f"judge's grades on {name}", shifts, level, bounds.judge_max_loss, says))
    for name, pairs in evidence.preferences.items():
        made.append(checks.Guard(f"judge's preference on {name}", pairs, level, bounds.judge_max_loss))
    return made


def more_needed(verdict: Verdict) -> int | None:
    """Pairs that the most demanding open check still wants; None when nothing is open or nobody can say."""
    wanted = [check.more for check in verdict.checks if check.passed is None and check.more]
    return max(wanted, default=None)


__all__ = ["NOTHING", "Bounds", "Check", "Counted", "Evidence", "Paired", "judge", "more_needed", "reasons"]
