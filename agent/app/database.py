"""The store that the settings name, for the agent and for every command.

Lives here: which database is meant, opening it for writing or for reading, and the name of this sidecar in it.
Comes in: settings; TRIMTAB_STORE_URL, since an address may hold a password. Goes out: a store, or one sentence.
Must never know: what is asked of it.
"""

from __future__ import annotations

import logging
import os
import socket

from sqlalchemy.exc import DatabaseError, OperationalError

from agent.intake.commit import plainly
from agent.settings import Settings
from agent.store import Store
from agent.types import InvalidInput

STORE_URL = "TRIMTAB_STORE_URL"
log = logging.getLogger("trimtab")


def url_of(settings: Settings) -> str | None:
    """The address of the database, from the environment or else from the settings; None is the one in `home`."""
    return os.environ.get(STORE_URL, "").strip() or settings.store.url


def is_shared(settings: Settings) -> bool:
    """Whether other sidecars may write to the same database, so that its disk is not ours."""
    url = url_of(settings)
    return url is not None and not url.startswith("sqlite")


def pod_of(settings: Settings) -> str:
    """The name of this sidecar among those that share a database; empty where it is alone."""
    return (settings.store.pod or socket.gethostname()) if is_shared(settings) else ""


def open_store(settings: Settings) -> Store:
    """The store, made where there is none. Raises InvalidInput where it cannot be written, RemoteFault as `Store`."""
    home, url = settings.home, url_of(settings)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = Store.at(home) if url is None else Store(url, connections=settings.store.connections)
        mode = home.stat().st_mode
    except (OSError, OperationalError) as error:
        where = f"home {home}" if url is None else url
        msg = f"{where} cannot hold the database ({plainly(error)}): give a writable folder with room as `home`"
        raise InvalidInput(msg) from error
    except DatabaseError as error:
        raise _broken(settings, error) from error
    if mode & 0o077:
        log.warning("home %s, which holds texts of users, is open to others: chmod 700 it if nobody needs in", home)
    return store


def existing_store(settings: Settings) -> Store:
    """The store of an agent that has run. Raises as `open_store`, and InvalidInput where there is no store."""
    if url_of(settings) is None and not (settings.home / "trimtab.db").exists():
        msg = f"there is no store in {settings.home.resolve()}: give the agent's own --settings, or go to its folder"
        raise InvalidInput(msg)
    return open_store(settings)


def reading_store(settings: Settings) -> Store:
    """The same, only to be read: nothing is made or changed, so a full disk does no harm."""
    url = url_of(settings)
    try:
        return Store.reading(settings.home) if url is None else Store(url, read_only=True, connections=4)
    except DatabaseError as error:
        raise _broken(settings, error) from error


def _broken(settings: Settings, error: DatabaseError) -> InvalidInput:
    where = settings.home / "trimtab.db" if url_of(settings) is None else "the database of store.url"
    return InvalidInput(f"{where} cannot be read ({error.orig}): put a backup in its place, or name another one")
