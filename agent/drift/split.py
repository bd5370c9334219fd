"""Which part of a reference is counted and which part is ranked.

Lives here: `halves` and `thinned`. Comes in: records and a random generator. Goes out: two lists of places.
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
_RUN_ROWS = 200


def thinned(reference: Sequence[Record]) -> list[Record]:
    """At most `MAX_REFERENCE_ROWS` records: evenly spaced runs of neighbours, so that their order still tells."""
    n = len(reference)
    if n <= MAX_REFERENCE_ROWS:
        return list(reference)
    runs = MAX_REFERENCE_ROWS // _RUN_ROWS
    starts = [i * (n - _RUN_ROWS) // (runs - 1) for i in range(runs)]
    return [record for start in starts for record in reference[start : start + _RUN_ROWS]]


def halves(
    reference: Sequence[Record], keys_: Sequence[str | None], random: np.random.Generator, *, quarters: bool = False
) -> tuple[list[int], list[int]]:
    """Places of the counted and the ranked half: split by whole users or conversations (`keys_`), else runs of ten.

    A record's own neighbours repeat it: they must not be counted while it is ranked, since nobody's are for live ones.
    `quarters`: nobody is named, and neighbours are alike over who knows how many records; two runs in four are counted.
    """
    block = len(reference) // 4 + 1 if quarters else max(1, min(_BLOCK_ROWS, len(reference) // 20))
    keys = [i // block if key is None else key for i, key in enumerate(keys_)]
    counted = _chosen(keys, random)
    if not 1 / 3 <= sum(key in counted for key in keys) / len(keys) <= 2 / 3:  # one conversation outweighs the rest
        keys = [i // block for i in range(len(reference))]
        counted = _chosen(keys, random)
    pick = [key in counted for key in keys]
    return (
        [i for i, yes in enumerate(pick) if yes],
        [i for i, yes in enumerate(pick) if not yes],
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
