"""What `GET /v1/models` shows to clients: the names that they may use, aliases first.

In: vLLM's answer and the alias table. Out: the same cards with each alias as a card of its own, the base models, and no
adapter; or the answer untouched, byte by byte, when it is not the plain JSON list that is expected.
Must never know: requests for answers, the agent. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from serving.guard import ASGIApp, Message, Receive, Scope, Send

MODELS = "/v1/models"

Table = Mapping[str, Mapping[str, float]]


def listed(body: bytes, table: Table) -> bytes:
    """vLLM's list of models as clients should see it. Raises `ValueError` and the like when it is no such list. Pure.

    An alias is shown when one of its versions is served: as that version's card with the alias for its `id` and, for
    its `parent`, the version that has most weight. Adapters (cards with a parent) are left out.
    """
    answer = json.loads(body)
    cards: dict[str, dict[str, Any]] = {card["id"]: card for card in answer["data"]}
    bases = [card for name, card in cards.items() if card["parent"] is None and name not in table]
    longest = next((card.get("max_model_len") for card in bases), None)
    aliases = []
    for alias, weights in table.items():
        served = [version for version in weights if version in cards]
        if served:
            heaviest = max(served, key=lambda version: weights[version])
            card = {**cards[heaviest], "id": alias, "parent": heaviest}
            card["max_model_len"] = card.get("max_model_len") or longest  # vLLM tells it of base models only
            aliases.append(card)
    return json.dumps({**answer, "data": aliases + bases}, separators=(",", ":")).encode()


async def list_models(app: ASGIApp, scope: Scope, receive: Receive, send: Send, table: Table) -> None:
    """Serves one `GET /v1/models` with `listed` applied, where the answer allows it."""
    held: list[Message] = []  # the answer so far, from its start on
    passes = False  # from here on the answer goes out as it comes

    async def hold(message: Message) -> None:
        nonlocal passes
        if not held:
            passes = passes or not _is_plain_json(message)
        if passes:
            await send(message)
            return
        held.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            passes = True
            for each in _rewritten(held, table):
                await send(each)

    await app(scope, receive, hold)
    if not passes:  # the app stopped in the midst of its answer
        for each in held:
            await send(each)


def _is_plain_json(start: Message) -> bool:
    headers = dict(start.get("headers", ()))
    return (
        start["type"] == "http.response.start"
        and start["status"] == 200
        and headers.get(b"content-type", b"").startswith(b"application/json")
        and b"content-encoding" not in headers
    )


def _rewritten(held: list[Message], table: Table) -> list[Message]:
    """The held messages with the list rewritten; as they are when it cannot be."""
    start, *rest = held
    try:
        body = listed(b"".join(message.get("body", b"") for message in rest), table)
    except (ValueError, TypeError, KeyError, AttributeError):
        return held
    headers = [(k, str(len(body)).encode() if k == b"content-length" else v) for k, v in start["headers"]]
    return [{**start, "headers": headers}, {"type": "http.response.body", "body": body}]
