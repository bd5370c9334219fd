"""How an alias gets its first champion: the one that the settings name.

Lives here: `adopt`. Comes in: settings. Goes out: an adapter version and the stand of its alias, in the store.
Must never know: how an alias moves on from there.
"""

from __future__ import annotations

from datetime import datetime

from agent.settings import Settings
from agent.store import Store, shelf
from agent.store.artifacts import manifest, verify
from agent.store.objects import Objects
from agent.store.tables import RolloutRow
from agent.types import AdapterVersion, InvalidInput, TrimtabError


def adopt(settings: Settings, store: Store, now: datetime, objects: Objects | None = None) -> None:
    """Make the settings' first champion the stand of the alias, once; where none is named, nobody is moved.

    It goes into `objects` too, so that Jobs can start from it. Raises InvalidInput when it cannot be used, RemoteFault
    when the object store does not answer.
    """
    if settings.champion is None or store.rollout(settings.alias) is not None:
        return
    try:
        digest = verify(settings.champion)
    except TrimtabError as error:
        msg = f"champion {settings.champion} cannot be used: {error}"
        raise InvalidInput(msg) from error
    name = settings.first_version
    if objects is not None:
        shelf.put(objects, settings.champion, name)
    store.put_adapter(
        AdapterVersion(
            name=name,
            alias=settings.alias,
            path=str(settings.champion.resolve()),
            digest=digest,
            base_digest=str(manifest(settings.champion).get("base_digest", "")),
            parent=None,
            status="live",
            created_at=now,
        )
    )
    store.put_rollout(RolloutRow(alias=settings.alias, champion=name, phase="steady", updated_at=now))
    store.record("adopted", f"{name} answers for {settings.alias}", now, version=name, digest=digest)
