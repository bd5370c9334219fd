"""How often the gate errs: contests with a known truth, many times over. `python -m retrain.gate.simulation`.

In: true differences and shares of discordant pairs. Out: a table of verdicts, the one in README.md.
Must never know: real answers. Seeded, so that the table is the same on every machine.

A pair is discordant when exactly one of the two is right. With the same difference, more discordant pairs mean more
noise; two adapters of one base, the second trained on from the first, mostly agree: 4 to 12 % are usual.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent.types import Verdict, VerdictKind
from retrain.gate.verdict import Bounds, Evidence, judge, more_needed

if TYPE_CHECKING:
    from numpy.random import Generator

CONTESTS = 10_000
ROW = "| {:<46} | {:>8} | {:>10} | {:>8} | {:<18} |"


@dataclass(frozen=True)
class Tally:
    """Paired answers, counted."""

    n: int
    wins: int
    losses: int

    @property
    def difference(self) -> float:
        """Accuracy of the challenger minus the other's."""
        return (self.wins - self.losses) / self.n if self.n else 0.0

    def __add__(self, more: Tally) -> Tally:
        return Tally(self.n + more.n, self.wins + more.wins, self.losses + more.losses)


@dataclass(frozen=True)
class Truth:
    """What is so on one slice: the difference of accuracies, the share of discordant pairs (never less)."""

    difference: float
    discordant: float
    n: int = 500

    def draw(self, dice: Generator, n: int | None = None) -> Tally:
        """So many pairs."""
        share = max(self.discordant, abs(self.difference))
        wins, losses = (share + self.difference) / 2, (share - self.difference) / 2
        count = self.n if n is None else n
        drawn = dice.multinomial(count, [wins, losses, max(0.0, 1 - wins - losses)])
        return Tally(count, int(drawn[0]), int(drawn[1]))


@dataclass(frozen=True)
class Scenario:
    """Contests of one truth, and what is promised of them."""

    says: str
    fresh: Truth
    old: Sequence[Truth]
    """Parts of the old slice; together they are the old slice."""
    kind: VerdictKind = VerdictKind.ACCEPTED
    least: float = 0.0
    most: float = 1.0
    again: bool = field(default=False)
    """Bring as many more pairs as an undecided verdict asks for, once."""

    def verdicts(self, contests: int, seed: int, bounds: Bounds) -> dict[VerdictKind, float]:
        """Share of each verdict."""
        import numpy as np

        dice = np.random.default_rng(seed)
        found = Counter(self._contest(dice, bounds).kind for _ in range(contests))
        return {kind: found[kind] / contests for kind in VerdictKind}

    def _contest(self, dice: Generator, bounds: Bounds) -> Verdict:
        fresh, old = self.fresh.draw(dice), [truth.draw(dice) for truth in self.old]
        verdict = judge(_evidence(fresh, old), bounds)
        more = more_needed(verdict)
        if not self.again or more is None:
            return verdict
        fresh += self.fresh.draw(dice, more)
        old = [tally + truth.draw(dice, more) for tally, truth in zip(old, self.old, strict=True)]
        return judge(_evidence(fresh, old), bounds)


def _evidence(fresh: Tally, old: Sequence[Tally]) -> Evidence:
    whole = sum(old, Tally(0, 0, 0))
    parts = {f"old part {number}": part for number, part in enumerate(old, 1)} if len(old) > 1 else {}
    base = Tally(fresh.n + whole.n, (fresh.n + whole.n) // 2, 0)
    return Evidence(fresh=fresh, old=whole, base=base, well_formed=[True] * 100, slowdowns=[], slices=parts)


def scenarios() -> list[Scenario]:
    """The promises at their edges, and what happens beyond them."""
    accepted, rejected = VerdictKind.ACCEPTED, VerdictKind.REJECTED
    made = [
        Scenario(f"equal; {share:.0%} discordant", Truth(0, share), [Truth(0, 0.02)], accepted, most=0.05)
        for share in (0.04, 0.08, 0.12, 0.20)
    ]
    made += [
        Scenario(f"+5 points; {new:.0%} / {old:.0%} discordant", Truth(0.05, new), [Truth(0, old)], accepted, least=0.9)
        for new, old in ((0.06, 0.02), (0.08, 0.03), (0.10, 0.03), (0.12, 0.03), (0.08, 0.04), (0.10, 0.04))
    ]
    made += [
        Scenario("+5 points; 20% / 4% (beyond the promise)", Truth(0.05, 0.20), [Truth(0, 0.04)]),
        Scenario("+5 points; 10% / 8% (beyond the promise)", Truth(0.05, 0.10), [Truth(0, 0.08)]),
    ]
    made += [
        Scenario(
            f"+20 points, -3 on the old slice; {share:.0%}",
            Truth(0.2, 0.24),
            [Truth(-0.03, share)],
            accepted,
            most=0.05,
        )
        for share in (0.03, 0.05, 0.10)
    ]
    good = Truth(0, 0.03)
    made += [
        Scenario(
            f"+20 points, -3 on one part of three; {share:.0%}",
            Truth(0.2, 0.24), [Truth(-0.03, share), good, good], accepted, most=0.05,
        )
        for share in (0.03, 0.05, 0.10)
    ]  # fmt: skip
    made += [
        Scenario("+2 points, three old parts at -3 (edge)", Truth(0.02, 0.06), [Truth(-0.03, 0.05)] * 3, rejected,
                 most=0.05),
        Scenario("-10 points on the old slice", Truth(0.2, 0.24), [Truth(-0.1, 0.14)], rejected, least=0.9),
        Scenario("200 pairs: +5; 10% / 3%", Truth(0.05, 0.10, 200), [Truth(0, 0.03, 200)]),
        Scenario("the same, and as many more as asked for", Truth(0.05, 0.10, 200), [Truth(0, 0.03, 200)], accepted,
                 least=0.8, again=True),
        Scenario("80 pairs: +35; 40% / 6%, defaults", Truth(0.35, 0.40, 80), [Truth(0, 0.06, 80)]),
    ]  # fmt: skip
    return made


def table(contests: int = CONTESTS, seed: int = 1, bounds: Bounds | None = None) -> list[str]:
    """Lines of a Markdown table; the last column says what is promised and whether it held."""
    head = ROW.format("truth (500 pairs a slice; fresh / old)", "accepted", "needs more", "rejected", "promise")
    lines = [head, "|---|---|---|---|---|"]
    for number, scenario in enumerate(scenarios()):
        shares = scenario.verdicts(contests, seed + number, bounds or Bounds())
        order = (VerdictKind.ACCEPTED, VerdictKind.NEEDS_MORE_DATA, VerdictKind.REJECTED)
        lines.append(ROW.format(scenario.says, *(f"{shares[kind]:.1%}" for kind in order), _promise(scenario, shares)))
    return lines


def kept(scenario: Scenario, shares: dict[VerdictKind, float], slack: float = 0.0) -> bool:
    """Is the promise kept?"""
    return scenario.least - slack <= shares[scenario.kind] <= scenario.most + slack


def _promise(scenario: Scenario, shares: dict[VerdictKind, float]) -> str:
    if scenario.least == 0.0 and scenario.most == 1.0:
        return ""
    edge = f">= {scenario.least:.0%}" if scenario.least else f"<= {scenario.most:.0%}"
    return f"{scenario.kind.value[:3]}. {edge}: {'kept' if kept(scenario, shares) else 'BROKEN'}"


def main() -> None:
    """Print the table."""
    print("\n".join(table()))  # noqa: T201  # this is what the command is for


if __name__ == "__main__":
    main()
