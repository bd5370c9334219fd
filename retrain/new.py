"""`trimtab retrain new`: an order written by hand, filled in from the agent's settings and what its store knows.

In: settings, a store, a reason. Out: an order document that `retrain.order` accepts. Must never know: how it is done.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agent.policy.order import next_name, order_document
from agent.settings import Settings
from agent.store import Store
from agent.types import Action, Decision
from retrain.order import parse
from serving.errors import InvalidInput


def new_order(
    settings: Settings,
    store: Store,
    *,
    reason: str,
    now: datetime,
    challenger: str | None = None,
    since: int | None = None,
) -> dict[str, Any]:
    """An order over the newest exchanges, or those after row `since`, against the version that answers now.

    Raises InvalidInput when nobody answers yet, or the settings do not say enough for an order.
    """  # fmt: skip
    rollout = store.rollout(settings.alias)
    adapters = store.adapters(settings.alias)
    champion = next((v for v in adapters if rollout is not None and v.name == rollout.champion), None)
    if champion is None:
        raise InvalidInput(
            f"no version answers for {settings.alias!r} in this store: start the agent once, so that it enters the "
            "champion of its settings"
        )
    taken = [*(v.name for v in adapters), *(str(o.document["challenger"]) for o in store.orders())]
    last, retrain = store.last_rowid(), settings.retrain
    document = order_document(
        Decision(at=now, alias=settings.alias, action=Action.RETRAIN, reasons=(reason,)),
        settings,
        alias=settings.alias,
        order_id=f"{settings.alias}-{now:%Y%m%dT%H%M%S}",
        store_url=store.url,
        champion=champion,
        challenger=challenger or next_name(settings.alias, taken),
        since_rowid=max(0, last - retrain.max_fresh_rows - retrain.holdout_rows) if since is None else since,
        until_rowid=last,
    )
    if document["challenger"] in taken:
        raise InvalidInput(f"the name {challenger!r} was used before: every version needs a new one")
    parse(document, "the new order")
    return document
