"""The route by which Alertmanager speaks to the agent: `POST /v1/alerts`.

Lives here: what is HTTP about it: the token, the size, JSON, which status says what.
Comes in: requests. Goes out: JSON documents to a callable of the application, and its answer.
Must never know: what an alert can ask for.

Alertmanager sends again what gets a 5xx, and gives up on a 4xx: what will never be right is a 4xx with one sentence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from agent.web.bearer import permit

MAX_BODY_BYTES = 1024 * 1024
READ_S = 30.0
"""Within this time a body must have come."""
TOKEN = "TRIMTAB_ALERT_TOKEN"  # noqa: S105  # the name of a variable


def alerts(app: FastAPI, take: Callable[[object], Mapping[str, Any]], token: str) -> None:
    """Add the route. `take(document)` blocks; InvalidInput of it becomes 422. Without a token the route is closed."""

    @app.post("/v1/alerts")
    async def taken(request: Request) -> JSONResponse:
        permit(request, token, TOKEN, "alerts are not taken")
        body = await _read(request)
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            raise HTTPException(400, "the body is not JSON: send Alertmanager's webhook payload") from None
        return JSONResponse(dict(await asyncio.to_thread(take, document)))


async def _read(request: Request) -> bytes:
    """The body, no more of it than is allowed, and not for ever."""
    too_large = HTTPException(
        413, f"the body is larger than {MAX_BODY_BYTES // 1024} KiB: set max_alerts in the webhook"
    )
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > MAX_BODY_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise too_large
    except TimeoutError:
        raise HTTPException(408, f"the body did not come within {READ_S:.0f} s") from None
    except ClientDisconnect:
        raise HTTPException(400, "the body ended early") from None
    return bytes(body)
