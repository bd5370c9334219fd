"""The working table of curation: the sets of rows, and what was taken from them at each step, with examples.

In: rows. Out: sets, steps for the report. Must never know: why a row goes; that is said by who takes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from retrain.curate.rows import Row

EXAMPLES = 5
EXAMPLE_CHARS = 300
TRAINING = ("fresh_train", "replay_train", "extra_train")
LEARNT = (*TRAINING, "validation")
HOLDOUTS = ("holdout_fresh", "holdout_old")
NAMES = (*LEARNT, *HOLDOUTS)


class Bench:
    """Six sets of rows by name, and the steps so far. Examples go through `show` before they are kept."""

    def __init__(self, show: Callable[[str], str]) -> None:
        self.sets: dict[str, list[Row]] = {name: [] for name in NAMES}
        self.steps: list[dict[str, Any]] = []
        self._show = show

    def all(self, names: Sequence[str] = NAMES) -> list[Row]:
        """The rows of some sets, one after the other."""
        return [row for name in names for row in self.sets[name]]

    def drop(self, rows: Collection[Row], names: Sequence[str] = NAMES) -> None:
        """Take these very rows out of some sets."""
        gone = {id(row) for row in rows}
        for name in names:
            self.sets[name] = [row for row in self.sets[name] if id(row) not in gone]

    def each(self, act: Callable[[Row], Row], names: Sequence[str] = NAMES) -> list[tuple[Row, Row]]:
        """Rewrite rows; returns (before, after) of those that changed."""
        changed = []
        for name in names:
            after = [act(row) for row in self.sets[name]]
            changed += [pair for pair in zip(self.sets[name], after, strict=True) if pair[0] is not pair[1]]
            self.sets[name] = after
        return changed

    def note(
        self,
        step: str,
        dropped: Sequence[tuple[Row, str]] = (),
        *,
        says: str = "",
        examples: Sequence[tuple[str, str]] | None = None,
        **more: Any,
    ) -> None:
        """Enter a step: rows dropped, each with its reason or the row it repeats; `says` explains the step."""
        shown = [(row.prompt, why) for row, why in dropped[:EXAMPLES]] if examples is None else examples[:EXAMPLES]
        self.steps.append(
            {
                "step": step,
                **{name: len(rows) for name, rows in self.sets.items()},
                "dropped": len(dropped),
                "by_source": dict(Counter(row.source for row, _ in dropped)),
                "says": says,
                "examples": [[self._short(one), self._short(two)] for one, two in shown],
                **more,
            }
        )

    def _short(self, text: str) -> str:
        text = self._show(text)
        return text if len(text) <= EXAMPLE_CHARS else text[:EXAMPLE_CHARS] + "…"
