"""The live view of an order in a terminal: a bar a stage, lines above it.

In: stage, share done, words. Out: a board that rich redraws. Must never know: what the stages do.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from retrain.stages import STAGES

NOTE_CHARS = 48


class Board:
    """One bar a stage; those before the one at work are full. Use as a context manager."""

    def __init__(self, console: Console, stages: Sequence[str] = STAGES) -> None:
        columns = (
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=30),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self._bars = Progress(*columns, console=console, refresh_per_second=4)
        self._tasks: dict[str, TaskID] = {
            name: self._bars.add_task(name, start=False, total=1.0, note="") for name in stages
        }

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._fill(list(self._tasks))
        self._bars.stop()

    def say(self, line: str) -> None:
        """A line above the bars."""
        self._bars.console.print(Text(line))

    def see(self, stage: str, share: float, note: str) -> None:
        """So much of a stage is done. A stage that the board does not know is left out."""
        if stage not in self._tasks:
            return
        names = list(self._tasks)
        self._fill(names[: names.index(stage)])
        task = self._tasks[stage]
        self._bars.start_task(task)
        self._bars.update(task, completed=min(1.0, max(0.0, share)), note=note[:NOTE_CHARS], refresh=True)

    def _fill(self, names: Sequence[str]) -> None:
        for name in names:
            self._bars.update(self._tasks[name], completed=1.0, note="")
            self._bars.stop_task(self._tasks[name])
