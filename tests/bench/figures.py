"""What a benchmark says: figures with their bound, their baseline of the same run, and the machine they were taken on.

In: measurements. Out: lines for a person, and one part of the one JSON file. Must never know: what was measured.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).absolute().parents[2]
OUT = ROOT / ".trimtab" / "bench" / "bench.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number. `baseline` is what the same run gave without it, `low` and `high` bound 95 %.

    `bound` is what was promised: at most it, or at least it. Without `ratio` it is value over baseline.
    """

    name: str
    says: str
    value: float
    unit: str
    bound: float | None = None
    at_most: bool = True
    baseline: float | None = None
    against: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def times(self) -> float | None:
        """The ratio against the baseline; None without one."""
        if self.ratio is not None:
            return self.ratio
        return self.value / self.baseline if self.baseline else None

    @property
    def kept(self) -> bool | None:
        """Whether the bound holds; None without one."""
        if self.bound is None:
            return None
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    @property
    def promise(self) -> str:
        """The bound in words."""
        if self.bound is None:
            return ""
        return f"{'at most' if self.at_most else 'at least'} {shown(self.bound)}"

    @property
    def measured(self) -> str:
        """The value with its unit, and its interval where it has one."""
        span = "" if self.low is None or self.high is None else f" [{shown(self.low)}, {shown(self.high)}]"
        return f"{shown(self.value)}{span} {self.unit}".rstrip()

    def line(self) -> str:
        """One line for a terminal."""
        verdict = {None: "", True: f"  ({self.promise}: kept)", False: f"  ({self.promise}: MISSED)"}[self.kept]
        ratio = "" if self.times is None else f"  x{shown(self.times)} of {self.against} {shown(self.baseline)}"
        return f"{self.says:58} {self.measured}{verdict}{ratio}"


def shown(number: float | None) -> str:
    """Three digits that matter, thousands apart."""
    if number is None:
        return "?"
    if number == 0 or abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.{max(0, 2 - _magnitude(number))}f}"


def _magnitude(number: float) -> int:
    return int(f"{number:e}".partition("e")[2])


def say(text: str) -> None:
    """One line now, even into a pipe."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def best_cpu_s(work: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """The least CPU seconds of this process that each piece of work took; all pieces in each round, in turn."""
    best = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, piece in work.items():
            begun = time.process_time()
            piece()
            best[name] = min(best[name], time.process_time() - begun)
    return best


def machine() -> dict[str, Any]:
    """The facts of this machine that a figure depends on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = (line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line)
        model = next(names, model)
    return {
        "cpu": model or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "commit": _commit(),
    }


def _commit() -> str:
    def git(*args: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "--short", "HEAD")
        return commit + ("+" if commit and git("status", "--porcelain", "--untracked-files=no") else "")
    except OSError:
        return ""


def keep(out: Path, name: str, figures: Sequence[Figure], facts: Mapping[str, Any]) -> None:
    """Write one part into the file, beside the parts that are there; each part brings its own machine facts."""
    try:
        document = json.loads(out.read_text())
    except (OSError, ValueError):
        document = {}
    part = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
        "figures": [
            {**asdict(f), "ratio": f.times, "promise": f.promise, "kept": f.kept, "measured": f.measured}
            for f in figures
        ],
    }
    document["machine"] = machine()
    document.setdefault("parts", {})[name] = part
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.with_suffix(".tmp")
    scratch.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    scratch.replace(out)
