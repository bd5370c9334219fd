"""The two charts of the status page, as SVG (pure).

Lives here: drift evidence against its threshold, and quality with its band, over the same exchanges.
Comes in: points of a snapshot. Goes out: HTML. The plot is SVG that stretches; its labels are HTML, so that they
keep their size on every screen.
Must never know: the store, HTTP, the rest of the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TypeVar

from agent.store.snapshot import EvidencePoint, QualityPoint

WIDTH, HEIGHT = 1000.0, 200.0
FEWEST = 50
"""Exchanges that the axis always has room for."""
LOWEST_EVIDENCE = -2.0
"""Evidence below this says nothing more: it is drawn here."""
LEAST_WIDTH = 0.01
"""Share of the plot's width that a version's only estimate takes: a line needs two points to be seen."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From a value in [low, high] to a share in [0, 1]; outside values are held at the ends."""

    low: float
    high: float

    def share(self, value: float) -> float:
        """Where a value lies; nan lies at the low end."""
        if math.isnan(value):
            return 0.0
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


@dataclass(frozen=True, slots=True)
class Plane:
    """The two scales of one chart."""

    x: Scale
    y: Scale

    def at(self, x: float, y: float) -> str:
        """SVG coordinates of a point."""
        return f"{self.x.share(x) * WIDTH:.1f},{(1 - self.y.share(y)) * HEIGHT:.1f}"

    def path(self, points: Iterable[tuple[float, float]]) -> str:
        """SVG path data through points."""
        return "M" + "L".join(self.at(x, y) for x, y in points)


def drift_chart(points: Sequence[EvidencePoint], alarms: Sequence[int], last: int, hue: Mapping[str, int]) -> str:
    """Evidence (log10) of the detector over exchanges 1..last, its threshold, and a mark for each alarm."""
    finite = [p.evidence for p in points if math.isfinite(p.evidence)]
    thresholds = [p.threshold for p in points if p.threshold is not None and math.isfinite(p.threshold)]
    top = max([1.0, *finite, *thresholds]) * 1.15
    plane = Plane(Scale(0, max(last, FEWEST)), Scale(max(LOWEST_EVIDENCE, min([0.0, *finite])), top))
    drawn = []
    for version, run in _by_version(points).items():
        line = [(float(p.rowid), p.evidence) for p in run]
        floor = [(line[-1][0], plane.y.low), (line[0][0], plane.y.low)]
        drawn.append(f'<path class="area hue{hue.get(version, 0)}" d="{plane.path([*line, *floor])}Z"/>')
        drawn.append(f'<path class="line hue{hue.get(version, 0)}" d="{plane.path(line)}"/>')
    notes = []
    if thresholds:
        level = thresholds[-1]
        drawn.append(f'<path class="limit" d="{plane.path([(0, level), (last, level)])}"/>')
        notes.append(_note(0, plane.y.share(level), "alarm above this", "limit-note"))
    return _frame(plane, drawn, notes, alarms, "Drift evidence over exchanges, log10", lambda y: f"{y:g}")


def quality_chart(points: Sequence[QualityPoint], alarms: Sequence[int], last: int, hue: Mapping[str, int]) -> str:
    """Estimated share of good answers with its interval over exchanges 1..last, a colour for each version."""
    lowest = min([0.5, *(p.low for p in points)])
    plane = Plane(Scale(0, max(last, FEWEST)), Scale(max(0.0, math.floor(lowest * 10) / 10), 1.0))
    drawn = []
    for version, run in _by_version(points).items():
        first = run[0].rowid - (plane.x.high * LEAST_WIDTH if len(run) == 1 else 0.0)
        run_x = [(first, run[0]), *((float(p.rowid), p) for p in run)]
        band = [*((x, p.high) for x, p in run_x), *((x, p.low) for x, p in reversed(run_x))]
        tint = f"hue{hue.get(version, 0)}"
        drawn.append(f'<path class="band {tint}" d="{plane.path(band)}Z"/>')
        drawn.append(f'<path class="line {tint}" d="{plane.path((x, p.value) for x, p in run_x)}"/>')
    return _frame(plane, drawn, [], alarms, "Quality over exchanges, share of good answers", lambda y: f"{y:.0%}")


def ticks(scale: Scale, wanted: int) -> list[float]:
    """Round values inside a scale, about `wanted` of them, at steps of 1, 2 or 5 times a power of ten."""
    rough = (scale.high - scale.low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(scale.low / step - 1e-9)
    return [n * step for n in range(first, math.floor(scale.high / step + 1e-9) + 1)]


Point = TypeVar("Point", EvidencePoint, QualityPoint)


def _by_version(points: Sequence[Point]) -> dict[str, list[Point]]:
    runs: dict[str, list[Point]] = {}
    for point in points:
        runs.setdefault(point.version, []).append(point)
    return runs


def _note(x_share: float, y_share: float, text: str, kind: str) -> str:
    return f'<span class="note {kind}" style="left:{x_share:.2%};bottom:{y_share:.2%}">{escape(text)}</span>'


def _frame(
    plane: Plane,
    drawn: Sequence[str],
    notes: Sequence[str],
    alarms: Sequence[int],
    label: str,
    written: Callable[[float], str],
) -> str:
    """Grid, plot, alarm marks and the labels around them."""
    rows, columns = ticks(plane.y, 4), ticks(plane.x, 6)
    grid = "".join(f'<path class="grid" d="{plane.path([(plane.x.low, y), (plane.x.high, y)])}"/>' for y in rows)
    marks = "".join(f'<path class="alarm" d="{plane.path([(x, plane.y.low), (x, plane.y.high)])}"/>' for x in alarms)
    side = "".join(f'<span style="bottom:{plane.y.share(y):.2%}">{written(y)}</span>' for y in rows)
    below = "".join(f'<span style="left:{plane.x.share(x):.2%}">{x:,.0f}</span>' for x in columns)
    flags = "".join(_note(plane.x.share(x), 1, "alarm", "alarm-note") for x in alarms[-1:])
    return (
        f'<div class="chart"><div class="side">{side}</div><div class="plot">'
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{grid}{''.join(drawn)}{marks}</svg>{''.join(notes)}{flags}</div>"
        f'<div class="below">{below}</div></div>'
    )
