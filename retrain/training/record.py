"""What a run leaves for people: training.json and the picture of its losses.

In: what was expected, what was measured, the trainer's history. Out: two files in the order's folder.
Must never know: the model, the store. A picture that cannot be drawn is said, never a fault.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE, PICTURE = "training.json", "loss.png"
KEPT = ("step", "loss", "learning_rate", "grad_norm", "eval_loss")


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What this process did; a run that went on after a kill counts its own part only.

    `tokens` are prompt and answer tokens learnt from, padding left out; `seconds` those of the steps, looks at the
    validation rows included. `peak_bytes` is the process's peak, or the GPU's where one computes.
    """

    steps: int
    tokens: int
    seconds: float
    tokens_per_s: float
    cpu_seconds: float
    peak_bytes: int
    device: str

    def to_json(self) -> dict[str, Any]:
        """For the record."""
        return asdict(self)

    @property
    def says(self) -> str:
        """One line for a person."""
        return (
            f"{self.tokens:,} tokens in {self.seconds:.0f} s ({self.tokens_per_s:,.0f} tokens/s on {self.device}), "
            f"peak {self.peak_bytes / 1e9:.1f} GB"
        )


def peak() -> tuple[int, str]:
    """(peak bytes, the device they are counted on)."""
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated()), torch.cuda.get_device_name()
    return resident_peak(), "cpu"


def resident_peak() -> int:
    """The most memory that this process ever held, in bytes."""
    import resource

    kilo = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo


def curve(history: Sequence[Mapping[str, Any]]) -> list[dict[str, float]]:
    """The trainer's history as one entry a step; a step logged twice (a run that went on) stands once."""
    steps: dict[int, dict[str, float]] = {}
    for entry in history:
        found = {key: entry[key] for key in KEPT if key in entry}
        if len(found) > 1:
            steps.setdefault(int(found["step"]), {}).update(found)
    return [steps[step] for step in sorted(steps)]


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """Leave training.json in the folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{FILE}.tmp"
    draft.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draft.replace(folder / FILE)


def picture(folder: Path, points: Sequence[Mapping[str, float]], title: str) -> str | None:
    """Draw loss.png; returns why there is none, when there is none."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return "no picture of the losses: matplotlib is not installed"
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for key, label, style in (("loss", "training", "-"), ("eval_loss", "validation", "o-")):
        line = [(point["step"], point[key]) for point in points if key in point]
        if line:
            axes.plot(*zip(*line, strict=True), style, label=label, linewidth=1.2, markersize=4)
    axes.set(xlabel="step", ylabel="loss (nats a token of the answers)", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    draft = folder / f".{PICTURE}"
    figure.savefig(draft, format="png")
    draft.replace(folder / PICTURE)
    return None
