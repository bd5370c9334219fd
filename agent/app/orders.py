"""Which launcher works orders off, and whether its jobs can reach what they need.

Lives here: the one choice by `retrain.launcher`; Ray's token out of the environment.
Comes in: settings, the store. Goes out: a launcher. Must never know: how any launcher works.
"""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import Protocol

from sqlalchemy import URL

from agent.app.database import is_shared
from agent.launch.local import LocalLauncher
from agent.settings import Settings
from agent.store import Store
from agent.store.objects import Objects, objects_at
from agent.types import InvalidInput

RETRAIN = (sys.executable, "-m", "retrain.cli")
"""How a retraining order is run here: a process of its own; the agent never imports what it needs."""
RETRAIN_BY_ID = ("trimtab", "retrain", "by-id")
"""How it is run elsewhere: the job takes the order itself from the database, by its id."""
RAY_TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105  # the name of a variable


class Launcher(Protocol):
    """What the agent asks of any launcher."""

    def tick(self, now: datetime) -> str:
        """Look after running orders and start the next one; says what it did."""

    def stop(self) -> None:
        """The agent ends."""


def objects_of(settings: Settings) -> Objects | None:
    """The object store of the settings; None when adapters stay in `home`. Raises InvalidInput."""
    of = settings.objects
    return None if of.url is None else objects_at(of.url, endpoint=of.endpoint, region=of.region)


def launcher_of(settings: Settings, store: Store) -> Launcher:
    """The launcher of the settings. Raises InvalidInput when its jobs could not work."""
    retrain, home, most = settings.retrain, settings.home.absolute(), settings.retrain.max_attempts
    if retrain.launcher == "local":
        return LocalLauncher(store, settings.home, RETRAIN, max_attempts=most, memory_mb=retrain.memory_mb)
    from agent.launch.remote import RemoteLauncher

    reachable(settings)
    if retrain.launcher == "kubernetes":
        from agent.launch.kubernetes import Kubernetes

        owner = _owner(settings.alias, store.engine.url)
        jobs = Kubernetes(retrain.kubernetes, home, RETRAIN_BY_ID, owner=owner, max_attempts=most)
        return RemoteLauncher(store, jobs, max_attempts=most)
    from agent.launch.ray import Ray

    token = os.environ.get(RAY_TOKEN, "").strip()
    return RemoteLauncher(store, Ray(retrain.ray, RETRAIN_BY_ID, token), max_attempts=most)


def _owner(alias: str, database: URL) -> str:
    """Whose orders they are: an alias and its database. User and password may change while a Job runs, so they go."""
    host = database.host or database.query.get("host", "")
    return f"{alias}@{host}:{database.port or ''}/{database.database}"


def reachable(settings: Settings) -> None:
    """Jobs on other machines see the database and the object store, and nothing of this machine's disk.

    Raises InvalidInput where they could not.
    """
    name = settings.retrain.launcher
    if not settings.home.is_absolute():
        raise InvalidInput(
            f"retrain.launcher {name}: jobs use `home` under the same name, so write it in full, not {settings.home}"
        )
    if not is_shared(settings):
        raise InvalidInput(
            f"retrain.launcher {name} needs a database that its jobs reach: set store.url (or TRIMTAB_STORE_URL) to "
            "PostgreSQL"
        )
    if settings.objects.url is None:
        raise InvalidInput(
            f"retrain.launcher {name} needs an object store that its jobs reach: set objects.url to "
            "s3://bucket/prefix, or to a folder that both mount"
        )
