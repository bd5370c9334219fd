"""Storing a batch so that one bad exchange harms no other.

Lives here: `commit`, which asks the store and sorts what happened.
Comes in: redacted exchanges and the store's function. Goes out: which are done, which are left, and why.
Must never know: sockets, retries, time.

A fault of the store (disk full, locked, gone) leaves the rest for later. A fault of the data is narrowed down by
halving to the exchanges that cause it; each is stored once more without its text, and is left over if even that fails.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from agent.intake.redact import blank
from agent.types import Exchange

StoreBatch = Callable[[list[Exchange]], object]


@dataclass(slots=True)
class Outcomes:
    """What became of a batch. `fault` is why something is left; `blanked` counts those stored without text."""

    done: list[Exchange] = field(default_factory=list)
    left: list[Exchange] = field(default_factory=list)
    fault: Exception | None = None
    blanked: int = 0


def is_data_fault(error: Exception) -> bool:
    """True when the exchange itself is to blame, False when the store is."""
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError)
    return isinstance(error, StatementError | ValueError | TypeError | ArithmeticError | LookupError)


def plainly(error: Exception) -> str:
    """What the store said, without the statement and the values it was about."""
    return f"{type(error).__name__}: {getattr(error, 'orig', error)}"


def commit(exchanges: Sequence[Exchange], store_batch: StoreBatch) -> Outcomes:
    """Store as many as can be stored. Never raises for a fault of store or data."""
    result = Outcomes()
    parts = [list(exchanges)]
    while parts:
        part = parts.pop()
        try:
            store_batch(part)
        except Exception as error:  # noqa: BLE001 - outer ring: sorted here, counted by the caller
            if not is_data_fault(error):
                result.fault = error
                result.left += [item for waiting in (part, *reversed(parts)) for item in waiting]
                break
            if len(part) > 1:
                middle = len(part) // 2
                parts += [part[middle:], part[:middle]]
            else:
                _without_text(part[0], store_batch, result)
        else:
            result.done += part
    return result


def _without_text(exchange: Exchange, store_batch: StoreBatch, result: Outcomes) -> None:
    try:
        store_batch([blank(exchange)])
    except Exception as error:  # noqa: BLE001 - outer ring: left over with its reason, counted by the caller
        result.fault = error
        result.left.append(exchange)
    else:
        result.blanked += 1
        result.done.append(exchange)
