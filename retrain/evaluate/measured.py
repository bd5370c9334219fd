"""What was measured on pairs beside right and wrong, as the gate needs it (pure).

In: values of challenger and champion on the same rows. Out: `Measured`, and its JSON between two stages.
Must never know: who measured, what is enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class Measured:
    """By slice, for those that were asked for; an empty sequence: asked for, and not to be had."""

    perplexity: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Perplexity of the right answer under the challenger over that under the champion; below 1 is better."""
    grades: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """The judge's grade of the challenger's answer minus that of the champion's, in [-1, 1]."""
    preferences: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """[pairs in which the judge preferred the challenger both ways, the champion both ways, pairs]."""

    def to_json(self) -> dict[str, Any]:
        """For the stage manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read back what `to_json` gave."""
        return cls(**value)


def ratios(mine: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """Perplexity ratios of mean log-probabilities (nats a token) of the same rows; rows without both are left out."""
    pairs = [(a, b) for a, b in zip(mine, theirs, strict=True) if math.isfinite(a) and math.isfinite(b)]
    return [math.exp(min(50.0, b - a)) for a, b in pairs]
