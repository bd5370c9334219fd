"""Three small pictures as SVG text (pure).

In: names and numbers. Out: SVG; colours of text and axes come from the page. Must never know: what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

TRAIN, LIVE, GONE = "#2563eb", "#d97706", "#64748b"
WIDTH = 900
LABEL = 300
ROW = 22
NAME_CHARS = 42


def waterfall(rows: Sequence[tuple[str, int]]) -> str:
    """One grey bar a step that took rows, as long as it took many."""
    return bars([(name, float(count)) for name, count in rows], colour=GONE) if rows else "<p>Nothing was left out.</p>"


def bars(rows: Sequence[tuple[str, float]], beside: Sequence[float] | None = None, colour: str = TRAIN) -> str:
    """Named horizontal bars; `beside` gives each a second one. Whole numbers are shown as counts, others as shares."""
    if not rows:
        return "<p class=quiet>nothing</p>"
    top = max([*(value for _, value in rows), *(beside or ())]) or 1.0
    shares = beside is not None
    step = ROW if beside is None else ROW + 14
    parts = []
    for number, (name, value) in enumerate(rows):
        y = number * step
        short = name if len(name) <= NAME_CHARS else name[: NAME_CHARS - 1] + "…"
        parts.append(
            f'<text x="{LABEL - 10}" y="{y + 15}" text-anchor="end">{escape(short)}<title>{escape(name)}</title></text>'
        )
        pair = [(value, colour)] if beside is None else [(value, colour), (beside[number], LIVE)]
        height = (step - 8) / len(pair)
        for place, (size, fill) in enumerate(pair):
            width = max(1.0, size / top * (WIDTH - LABEL - 70))
            at = y + 4 + place * height
            shown = f"{size:.1%}" if shares else f"{size:,.0f}"
            parts.append(
                f'<rect x="{LABEL}" y="{at:.1f}" width="{width:.1f}" height="{height - 1:.1f}" fill="{fill}"/>'
            )
            parts.append(
                f'<text x="{LABEL + width + 6:.1f}" y="{at + height / 2 + 4:.1f}" class="quiet">{shown}</text>'
            )
    return _svg(len(rows) * step + 6, parts)


def histogram(edges: Sequence[float], ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Two histograms side by side over common bins; `edges` has one number more than each of them."""
    height, floor = 180, 156
    top = max([*ours, *theirs]) or 1.0
    bin_width = WIDTH / len(ours)
    parts = [f'<line x1="0" y1="{floor}" x2="{WIDTH}" y2="{floor}" class="axis"/>']
    for number, pair in enumerate(zip(ours, theirs, strict=True)):
        for place, (share, fill) in enumerate(zip(pair, (TRAIN, LIVE), strict=True)):
            tall = share / top * (floor - 14)
            x = number * bin_width + 4 + place * (bin_width - 8) / 2
            parts.append(
                f'<rect x="{x:.1f}" y="{floor - tall:.1f}" width="{(bin_width - 10) / 2:.1f}" height="{tall:.1f}" '
                f'fill="{fill}"><title>{share:.1%}</title></rect>'
            )
        if number % 2 == 0:
            parts.append(
                f'<text x="{number * bin_width + 2:.1f}" y="{floor + 16}" class="quiet">{edges[number]:.0f}</text>'
            )
    return _svg(height, parts)


def _svg(height: float, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )
