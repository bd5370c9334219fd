"""Which part of a reference is counted and which part is ranked.

Lives here: `halves` and `thinned`. Comes in: records and a random generator. Goes out: two lists.
Must never know: what the records say; a split that looked at texts would spoil the promise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from agent.drift.records import Record

MIN_REFERENCE_ROWS = 50
MAX_REFERENCE_ROWS = 4_000
"""A longer reference is thinned evenly to this: it bounds memory and the size of the state."""
_BLOCK_ROWS = 10


def thinned(reference: Sequence[Record]) -> list[Record]:
    """At most `MAX_REFERENCE_ROWS` records, evenly spaced."""
    n = len(reference)
    if n <= MAX_REFERENCE_ROWS:
        return list(reference)
    return [reference[i * n // MAX_REFERENCE_ROWS] for i in range(MAX_REFERENCE_ROWS)]


def halves(reference: Sequence[Record], random: np.random.Generator) -> tuple[list[Record], list[Record]]:
    """Split at random by whole conversations, or by runs of ten neighbours where there are none.

    A record's own neighbours repeat it: they must not be counted while it is ranked, since nobody's are for live ones.
    """
    block = max(1, min(_BLOCK_ROWS, len(reference) // 20))
    keys = [record.conversation or i // block for i, record in enumerate(reference)]
    counted = _chosen(keys, random)
    if not 1 / 3 <= sum(key in counted for key in keys) / len(keys) <= 2 / 3:  # one conversation outweighs the rest
        keys = [i // block for i in range(len(reference))]
        counted = _chosen(keys, random)
    pick = [key in counted for key in keys]
    return (
        [record for record, yes in zip(reference, pick, strict=True) if yes],
        [record for record, yes in zip(reference, pick, strict=True) if not yes],
    )


def _chosen(keys: Sequence[str | int], random: np.random.Generator) -> set[str | int]:
    sizes: dict[str | int, int] = {}
    for key in keys:
        sizes[key] = sizes.get(key, 0) + 1
    order, chosen, rows = list(sizes), set[str | int](), 0
    for place in random.permutation(len(order)):
        if rows + sizes[order[place]] / 2 > len(keys) / 2:
            break
        chosen.add(order[place])
        rows += sizes[order[place]]
    return chosen
