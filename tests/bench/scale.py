"""How thoroughly to measure.

In: what was asked for. Out: counts. Must never know: what is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """`quick` shows only that everything runs; its figures mean little. `overload_s` is the length of an overload."""

    quick: bool = False
    overload_s: float = 10.0

    def of(self, full: T, quick: T) -> T:
        """One of the two."""
        return quick if self.quick else full
