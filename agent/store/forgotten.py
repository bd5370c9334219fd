"""People who asked to be forgotten: their marks, and the blanking of what is stored of them.

Lives here: the marks under which a person stands in rows, the list of the forgotten, the update that takes texts away.
Comes in: an engine, marks. Goes out: counts. Must never know: how a name becomes its keyed hash.

A mark says who, not what: it must stay, or that person's later traffic would be learnt again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Any

from sqlalchemy import Engine, Table, select, update

from agent.store.dialect import upsert, writing
from agent.store.tables import EXCHANGE, GRADE, StateRow

GONE = "forgotten"
_PREFIX = "forgotten:"
_FILE_KEY = b"trimtab: user of a data file"
_BATCH = 500
_STATE: Table = StateRow.__table__  # type: ignore[attr-defined]


def file_mark(user: str) -> str:
    """What stands for a user that a data file names: 32 hex digits, so that no name is copied out of it."""
    return "file-" + blake2b(user.encode("utf-8", "surrogatepass"), key=_FILE_KEY, digest_size=16).hexdigest()


def forget(engine: Engine, marks: Collection[str]) -> int:
    """Enter marks into the list and blank all that is stored under them; returns how many exchanges were blanked.

    Numbers (times, tokens, versions) stay, so that counts and profiles still add up; who and what is said goes.
    """
    enter(engine, marks)
    c = EXCHANGE.c
    with engine.connect() as connection:
        rowids = connection.execute(select(c.rowid).where(c.user.in_(marks)).order_by(c.rowid)).scalars().all()
    for start in range(0, len(rowids), _BATCH):
        _blank(engine, rowids[start : start + _BATCH])
    return len(rowids)


def enter(engine: Engine, marks: Collection[str]) -> None:
    """Enter marks into the list: from now on nothing under them is learnt."""
    with writing(engine) as connection:
        values = [{"key": _PREFIX + mark, "cursor": 0, "state": b""} for mark in sorted(marks)]
        connection.execute(upsert(connection, _STATE).on_conflict_do_nothing(index_elements=["key"]), values)


def said(engine: Engine, marks: Collection[str]) -> set[str]:
    """What these people wrote, as far as it is stored."""
    query = select(EXCHANGE.c.messages).where(EXCHANGE.c.user.in_(marks))
    with engine.connect() as connection:
        stored = connection.execute(query).scalars().all()
    return {str(message["text"]) for messages in stored for message in messages if message["role"] == "user"}


def marks(engine: Engine) -> frozenset[str]:
    """The marks of everybody who is to be left out."""
    query = select(_STATE.c.key).where(_STATE.c.key.startswith(_PREFIX, autoescape=True))
    with engine.connect() as connection:
        return frozenset(key.removeprefix(_PREFIX) for key in connection.execute(query).scalars())


def _blank(engine: Engine, rowids: Sequence[int]) -> None:
    c = EXCHANGE.c
    chosen = c.rowid.in_(rowids)
    nothing: dict[str, Any] = {
        "messages": [],
        "answer": "",
        "reasoning": "",
        "tool_calls": [],
        "user": None,
        "conversation": None,
    }
    with writing(engine) as connection:
        theirs = select(c.id).where(chosen)
        connection.execute(update(GRADE).where(GRADE.c.exchange_id.in_(theirs)).values(correction=None))
        connection.execute(update(EXCHANGE).where(chosen).values(**nothing, features=None, text_gone=GONE))
