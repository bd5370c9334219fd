"""Which rows of a window also get a profile of their own: those of one template, those of one language (pure).

Lives here: `sliced`. Comes in: the rows of one window of one adapter version. Goes out: rows by slice name.
Must never know: profiles, the store, earlier windows.

Bounded however many templates there are: of each label the commonest few values with enough rows, the rest together.
A slice as large as its window is left out, because the window's own profile says the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.types import Features

SLICED = ("template", "prompt_language")
OTHER = "other"
ALL = "all"
LEAST_ROWS = 20
"""Fewer rows make no distribution worth keeping; they are in the window's own profile."""
_NOTHING = frozenset({"", "none", "off"})


def sliced(rows: Sequence[Features], most: int) -> dict[str, list[Features]]:
    """Rows by slice, `template=x` and `template=other` and so on: at most `most` values of each label and the rest."""
    out: dict[str, list[Features]] = {}
    if most < 1:
        return out
    for label in SLICED:
        by_value: dict[str, list[Features]] = {}
        for row in rows:
            by_value.setdefault(row.labels.get(label, ""), []).append(row)
        for nothing in _NOTHING & by_value.keys():
            del by_value[nothing]
        ranked = sorted(by_value, key=lambda value: (-len(by_value[value]), value))
        kept = [value for value in ranked[:most] if len(by_value[value]) >= LEAST_ROWS]
        rest = [row for value in ranked if value not in kept for row in by_value[value]]
        found = {f"{label}={value}": by_value[value] for value in kept} | {f"{label}={OTHER}": rest}
        out |= {name: part for name, part in found.items() if LEAST_ROWS <= len(part) < len(rows)}
    return out
