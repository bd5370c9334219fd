"""What is stored already, and which number comes next.

Lives here: `Tally`, the two questions that attached exchanges ask of the store.
Comes in: names of exchanges and of sources. Goes out: which names are taken; the last number given.
Must never know: how an exchange came, or what is in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice

from sqlmodel import col, func, select

from agent.store import Store
from agent.store.tables import ExchangeRow, WorkerRow

_ASK_AT_ONCE = 500


class Tally:
    """Reads the store anew at every batch, so that nothing is remembered wrongly after a fault or a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def taken(self, ids: Iterable[str]) -> set[str]:
        """Those of the ids that an exchange has, however it came: by a tap or by any other door."""
        found: set[str] = set()
        with self._store.transaction() as session:
            for some in _batched(ids, _ASK_AT_ONCE):
                found.update(session.exec(select(ExchangeRow.id).where(col(ExchangeRow.id).in_(some))))
        return found

    def last(self, worker: str) -> int:
        """The highest number that this source's exchanges have, 0 for a new one; deleted rows still count."""
        highest = select(func.max(ExchangeRow.seq)).where(ExchangeRow.worker == worker)
        with self._store.transaction() as session:
            known = session.get(WorkerRow, worker)
            return max(session.exec(highest).one() or 0, known.assigned if known else 0)

    def note(self, worker: str, last: int, now: datetime) -> None:
        """Remember how far a source has counted, as a tap's numbers are remembered: so lost = numbered - stored."""
        self._store.note_worker(worker, os.getpid(), now, last, 0)


def _batched(values: Iterable[str], size: int) -> Iterator[list[str]]:
    left = iter(values)
    while some := list(islice(left, size)):
        yield some
