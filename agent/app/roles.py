"""What a process does for its alias: everything, what belongs beside an engine, or what decides.

Lives here: the three roles, and the settings that contradict one.
Comes in: settings. Goes out: `Role`, or InvalidInput in one sentence.
Must never know: what any loop does.

Whatever their roles, the processes of one database share two offices (agent/store/leader.py): one of those that decide
decides, one of those beside an engine moves versions. So any mixture is safe, also in the midst of an upgrade.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.app.database import is_shared
from agent.settings import Settings
from agent.types import InvalidInput


@dataclass(frozen=True, kw_only=True, slots=True)
class Role:
    """`beside_engine`: hears taps, loads its engine, moves versions. `decides`: watches, judges, orders, tells."""

    beside_engine: bool
    decides: bool


ROLES = {
    "all": Role(beside_engine=True, decides=True),
    "sidecar": Role(beside_engine=True, decides=False),
    "controller": Role(beside_engine=False, decides=True),
}


def role_of(settings: Settings) -> Role:
    """The role of the settings. Raises InvalidInput where another setting contradicts it."""
    for sentence in contradictions(settings):
        raise InvalidInput(sentence)
    return ROLES[settings.role]


def contradictions(settings: Settings) -> Iterator[str]:
    """Every contradiction, a sentence each, that says what to write instead."""
    role, retrain = settings.role, settings.retrain
    if role == "all":
        return
    if not is_shared(settings):
        yield (
            f"role {role} does a part of the work and SQLite is for one process that does it all: set store.url (or "
            "TRIMTAB_STORE_URL) to the PostgreSQL of sidecars and controller, or leave role out"
        )
    if role == "sidecar":
        return
    if settings.objects.url is None and (settings.champion or retrain.base_model_path):
        yield (
            "role controller fetches the references of versions from the object store, and objects.url names none: "
            "set it to s3://bucket/prefix, or to a folder that sidecars and controller mount"
        )
    if retrain.base_model_path is not None and retrain.launcher == "local":
        yield (
            "role controller has no engine in which a new version could be held against the old one, so "
            "retrain.launcher local cannot work there: set it to kubernetes or ray, or leave "
            "retrain.base_model_path out"
        )
