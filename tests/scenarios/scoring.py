"""What the events of a run come to: false alarms, delays, bounds.

Lives here: `Run` (one stream as heard by some detectors), `Score` and its tables. Comes in: runs. Goes out: numbers
and Markdown. Must never know: how streams were made, or detectors.

A delay counts records from the change to the alarm, 1 for an alarm at the first changed one. A change that is missed
has an infinite delay, so a median says what half of the streams kept.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from tests.scenarios.peers import AS_SHIPPED, BY_SETTING, PLUS, SETTINGS, TRIMTAB

WINDOW_ROWS = 100
INDEPENDENT = "independent"
MOST_FALSE = 2.0
FASTER = 4.0
DEPENDENT_SLOWER = 3.0
SMALL = frozenset({"topics 5 %"})
"""Changes below the tenth that must be found."""
SLACK = 1.0
"""A delay this short is not asked to be a quarter of anything."""


@dataclass(frozen=True, slots=True)
class Run:
    """One stream: what changed in it (empty: nothing), how it depends, and `events` (row, level) by detector."""

    change: str
    shape: str
    source: str
    seed: int
    rows: int
    change_at: int | None
    events: dict[str, list[tuple[int, float]]]
    cpu_s: dict[str, float]
    learned_rows: int = 0

    def alarms(self, name: str, level: float) -> list[int]:
        """Rows at which a detector alarms at a threshold."""
        if name in BY_SETTING:
            return [row for row, found in self.events[name] if found == level]
        return [row for row, found in self.events[name] if found >= level]

    def delay(self, name: str, level: float) -> float:
        """Records from the change to the first alarm after it; infinite when missed."""
        begins = self.change_at or 0
        return next((row - begins + 1.0 for row in self.alarms(name, level) if row >= begins), math.inf)


@dataclass(frozen=True, slots=True)
class Found:
    """A detector on one scenario: how many of its streams it found, and the median delay in records."""

    name: str
    found: int
    streams: int
    early: int
    median: float

    def __str__(self) -> str:
        """As a cell of a table."""
        return f"{self.found}/{self.streams}, {_number(self.median)}"


class Score:
    """All runs, scored at a budget of so many windows of 100."""

    def __init__(self, runs: Iterable[Run], budget_windows: int) -> None:
        self.runs, self.budget_windows = list(runs), budget_windows
        self.names = [name for name in AS_SHIPPED if any(name in run.events for run in self.runs)]

    def quiet(self, name: str, shape: str) -> list[Run]:
        """Streams without a change that this detector heard."""
        return [run for run in self.runs if not run.change and run.shape == shape and name in run.events]

    def false(self, name: str, shape: str, level: float) -> tuple[int, float]:
        """(alarms, windows) on quiet streams."""
        heard = self.quiet(name, shape)
        return sum(len(run.alarms(name, level)) for run in heard), sum(run.rows for run in heard) / WINDOW_ROWS

    @cached_property
    def levels(self) -> dict[str, float | None]:
        """The threshold at which each detector keeps the budget on independent quiet streams; None: at none it does.

        For the peers it is found on the very streams it is scored on, which is more than a user could do.
        """
        return {name: AS_SHIPPED[name] if name == TRIMTAB else self._level(name) for name in self.names}

    def _level(self, name: str) -> float | None:
        shipped = AS_SHIPPED[name]
        if name in BY_SETTING:
            tried = [float(n) for n in range(1, max(map(len, SETTINGS.values())) + 1)]
        else:
            seen = {level for run in self.quiet(name, INDEPENDENT) for _, level in run.events[name] if level >= shipped}
            tried = [shipped, *(math.nextafter(level, math.inf) for level in sorted(seen))]
        return next((level for level in tried if self._keeps(name, level)), None)

    def _keeps(self, name: str, level: float) -> bool:
        alarms, windows = self.false(name, INDEPENDENT, level)
        return alarms <= windows / self.budget_windows

    def scenarios(self) -> list[tuple[str, str]]:
        """(change, shape) in the order of the runs."""
        return list(dict.fromkeys((run.change, run.shape) for run in self.runs if run.change))

    def found(self, name: str, change: str, shape: str) -> Found | None:
        """At its tuned threshold; None where it keeps the budget at no threshold, or heard nothing of this."""
        heard = [r for r in self.runs if (r.change, r.shape) == (change, shape) and name in r.events]
        level = self.levels.get(name)
        if not heard or level is None:
            return None
        delays = [run.delay(name, level) for run in heard]
        early = sum(bool(run.change_at and run.alarms(name, level)[:1] < [run.change_at]) and
                    bool(run.alarms(name, level)) for run in heard)  # fmt: skip
        return Found(name, sum(map(math.isfinite, delays)), len(heard), early, statistics.median(delays))

    def best_peer(self, change: str, shape: str, *, plus: bool) -> Found | None:
        """The quickest peer that keeps the budget; `plus`: of those that are given the share of new words."""
        peers = [n for n in self.names if n != TRIMTAB and n.endswith(PLUS) == plus]
        scored = [found for name in peers if (found := self.found(name, change, shape)) is not None]
        return min(scored, key=lambda one: (one.median, -one.found / one.streams), default=None)

    def cpu_s_per_1000(self, name: str) -> float:
        """CPU seconds per 1,000 records, those of the reference among them."""
        heard = [run for run in self.runs if name in run.cpu_s]
        return 1_000 * sum(r.cpu_s[name] for r in heard) / sum(r.rows + r.learned_rows for r in heard)


def broken(score: Score) -> list[str]:
    """Every bound that this run does not keep, a sentence each."""
    out = []
    alarms, windows = score.false(TRIMTAB, INDEPENDENT, AS_SHIPPED[TRIMTAB])
    if alarms > MOST_FALSE * windows / score.budget_windows:
        out.append(f"{alarms} false alarms on independent quiet streams, promised {windows / score.budget_windows:.1f}")
    usual = {change: score.found(TRIMTAB, change, shape) for change, shape in score.scenarios() if shape == INDEPENDENT}
    for change, shape in score.scenarios():
        mine = score.found(TRIMTAB, change, shape)
        if mine is None:
            continue
        if shape == INDEPENDENT:
            out += _broken_alone(score, change, mine)
        elif (alone := usual.get(change)) and mine.median > DEPENDENT_SLOWER * alone.median:
            times = _number(mine.median / alone.median)
            out.append(f"{change}, {shape}: {times} times the delay of independent records ({mine})")
    return out


def _broken_alone(score: Score, change: str, mine: Found) -> list[str]:
    out = []
    if change not in SMALL and mine.found < mine.streams:
        out.append(f"{change}: found in {mine.found} of {mine.streams} streams")
    peer = score.best_peer(change, INDEPENDENT, plus=False)
    if change not in SMALL and peer and math.isfinite(peer.median) and mine.median > max(peer.median / FASTER, SLACK):
        out.append(f"{change}: delay {_number(mine.median)}, {peer.name} needs {_number(peer.median)}")
    return out


def tables(score: Score) -> str:
    """Markdown: false alarms, delays, delays under dependence, and what is out of bounds."""
    return "\n".join([*_false_table(score), "", *_delay_table(score), "", *_shape_table(score), "", *_verdict(score)])


def _false_table(score: Score) -> list[str]:
    shapes = list(dict.fromkeys(run.shape for run in score.runs if not run.change))
    allowed = f"{1 / score.budget_windows:.4g}"
    out = [
        f"False alarms per window of 100 on quiet streams, each detector as it comes (the budget allows {allowed}):",
        "",
        "| detector | " + " | ".join(shapes) + " | CPU s per 1,000 |",
        "|---" * (len(shapes) + 2) + "|",
    ]
    for name in score.names:
        if name.endswith(PLUS):
            continue
        cells = []
        for shape in shapes:
            alarms, windows = score.false(name, shape, AS_SHIPPED[name])
            cells.append(f"{alarms / windows:.4f} ({alarms}/{windows:.0f})" if windows else "–")
        out.append(f"| {name} | {' | '.join(cells)} | {score.cpu_s_per_1000(name):.2f} |")
    return out


def _delay_table(score: Score) -> list[str]:
    out = [
        "Found of streams, and median delay in records since the change. Peers stand at the threshold that keeps the",
        f"same budget, chosen with hindsight; `{PLUS.strip()}`: peers that are also given the share of unknown words.",
        "",
        f"| change | Trimtab | best peer | best peer{PLUS} | quarter of the best? |",
        "|---|---|---|---|---|",
    ]
    for change, shape in score.scenarios():
        if shape != INDEPENDENT:
            continue
        mine, peer, plus = (
            score.found(TRIMTAB, change, shape),
            score.best_peer(change, shape, plus=False),
            score.best_peer(change, shape, plus=True),
        )
        cells = [str(mine), *("–" if one is None else f"{one} ({one.name.removesuffix(PLUS)})" for one in (peer, plus))]
        quick = mine is not None and (peer is None or mine.median <= max(peer.median / FASTER, SLACK))
        kept = mine is not None and quick and math.isfinite(mine.median)
        out.append(f"| {change} | {' | '.join(cells)} | {'yes' if kept else 'no'} |")
    return out


def _shape_table(score: Score) -> list[str]:
    by_change: dict[str, dict[str, Found | None]] = defaultdict(dict)
    for change, shape in score.scenarios():
        by_change[change][shape] = score.found(TRIMTAB, change, shape)
    shapes = list(dict.fromkeys(shape for _, shape in score.scenarios()))
    out = [
        "Trimtab where records depend on each other (user, conversation and time are known to it):",
        "",
        "| change | " + " | ".join(shapes) + " |",
        "|---" * (len(shapes) + 1) + "|",
    ]
    for change, found in by_change.items():
        if len(found) > 1:
            out.append(f"| {change} | " + " | ".join(str(found.get(shape) or "–") for shape in shapes) + " |")
    return out


def _verdict(score: Score) -> list[str]:
    alarms, windows = score.false(TRIMTAB, INDEPENDENT, AS_SHIPPED[TRIMTAB])
    streams = len(score.quiet(TRIMTAB, INDEPENDENT))
    said = f"{alarms} false alarms in {windows:.0f} windows of {streams} independent quiet streams"
    bounds = broken(score)
    head = f"{said}: {windows / score.budget_windows:.1f} promised. Out of bounds: {'nothing.' if not bounds else ''}"
    return [head.rstrip(), *([""] if bounds else []), *(f"- {line}" for line in bounds)]


def _number(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0")


def names_of(runs: Sequence[Run]) -> list[str]:
    """Detectors that any of the runs heard."""
    return [name for name in AS_SHIPPED if any(name in run.events for run in runs)]
