"""An id names one exchange: whose an id is, and another for who comes later with the same.

Lives here: `owners`, `apart`. Comes in: a connection, exchanges that are about to be stored. Goes out: their ids.
Must never know: where an id comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, select

from agent.store.tables import EXCHANGE
from agent.types import Exchange

_IDS_AT_ONCE = 500


def owners(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """(worker, seq) of the exchange that has an id, for those of the ids that are stored."""
    c = EXCHANGE.c
    found: dict[str, tuple[str, int]] = {}
    for start in range(0, len(ids), _IDS_AT_ONCE):
        query = select(c.id, c.worker, c.seq).where(c.id.in_(ids[start : start + _IDS_AT_ONCE]))
        found |= {row.id: (row.worker, row.seq) for row in connection.execute(query)}
    return found


def apart(connection: Connection, exchanges: Sequence[Exchange]) -> list[Exchange]:
    """The exchanges, each under an id that no other has."""
    taken = owners(connection, [exchange.id for exchange in exchanges])
    found = []
    for exchange in exchanges:
        me, name = (exchange.worker, exchange.seq), exchange.id
        while taken.setdefault(name, me) != me:
            name = f"{name}-{exchange.seq}"
            if name not in taken:
                taken |= owners(connection, [name])
        found.append(exchange if name == exchange.id else replace(exchange, id=name))
    return found
