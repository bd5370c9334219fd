"""What the terminal shows while the loop runs.

Lives here: one line a happening with the elapsed time, and a line of numbers that never lets 10 s pass in silence.
Comes in: sentences and the agent's status. Goes out: text, pretty on a terminal and plain in a log.
Must never know: how any number came about.
"""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.status import Status

QUIET_S = 8.0
"""On a log (no terminal), the longest silence."""


class Timeline:
    """Prints stages, events and a heartbeat. `seconds` collects how long each stage took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self._spoke = 0.0
        self._live: Status | None = None
        self._stage = ""
        self._stage_began = self._began
        self.seconds: dict[str, float] = {}

    @property
    def elapsed_s(self) -> float:
        """Seconds since the timeline began."""
        return time.monotonic() - self._began

    def stage(self, name: str, says: str) -> None:
        """A new stage begins; the one before ends."""
        self._close_stage()
        self._stage, self._stage_began = name, time.monotonic()
        self._print(f"[bold cyan]{name:<10}[/] [bold]{escape(says)}[/]")
        if self._console.is_terminal and self._live is None:
            self._live = self._console.status("", spinner="dots")
            self._live.start()

    def say(self, text: str, style: str = "") -> None:
        """Something happened inside the stage."""
        self._print(f"           [{style}]{escape(text)}[/]" if style else f"           {escape(text)}")

    def beat(self, numbers: str) -> None:
        """The line of numbers: replaced in place on a terminal, printed now and then on a log."""
        if self._live is not None:
            self._live.update(f"[dim]{self._clock()} {self._stage}: {escape(numbers)}[/]")
        elif time.monotonic() - self._spoke > QUIET_S:
            self._print(f"           [dim]{escape(numbers)}[/]")

    def close(self) -> None:
        """The last stage ends."""
        self._close_stage()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _close_stage(self) -> None:
        if self._stage:
            spent = time.monotonic() - self._stage_began
            self.seconds[self._stage] = round(self.seconds.get(self._stage, 0.0) + spent, 1)
            self._stage = ""

    def _print(self, text: str) -> None:
        self._spoke = time.monotonic()
        self._console.print(f"[dim]{self._clock()}[/] {text}", highlight=False, soft_wrap=True)

    def _clock(self) -> str:
        return f"{int(self.elapsed_s) // 60:02d}:{int(self.elapsed_s) % 60:02d}"


def numbers(status: dict[str, Any], sent: int, failed: int, rate: float) -> str:
    """One line of what matters now, from the agent's status."""
    parts = [f"{sent} sent, {failed} failed, {rate:.1f}/s"]
    drift = status.get("drift") or {}
    if drift.get("phase") == "watching" and drift.get("evidence") is not None:
        parts.append(f"evidence 10^{drift['evidence']:.1f} of 10^{drift['threshold']:.1f}")
    elif drift.get("phase"):
        parts.append(f"detector {drift['phase']}")
    champion = (status.get("rollout") or {}).get("champion")
    parts += [
        f"quality {estimate['value']:.2f} [{estimate['low']:.2f}, {estimate['high']:.2f}]"
        for estimate in status.get("estimates", [])
        if estimate["version"] == champion
    ]
    parts += [
        f"order: {order['stage'] or 'starting'} {order['progress']:.0%}"
        for order in status.get("orders", [])[:1]
        if order["status"] == "running"
    ]
    weights = (status.get("rollout") or {}).get("weights") or {}
    if len(weights) > 1:
        parts.append(" / ".join(f"{name} {share:.0%}" for name, share in weights.items()))
    return " · ".join(parts)
