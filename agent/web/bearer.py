"""Who may: a bearer token, compared in constant time.

Lives here: the two refusals: the agent has no token, or the request has not this one.
Comes in: a request, the token and the name of its variable. Goes out: nothing, or a refusal in one sentence.
Must never know: routes.
"""

from __future__ import annotations

from hmac import compare_digest

from fastapi import Request
from starlette.exceptions import HTTPException


def permit(request: Request, token: str, variable: str, closed: str) -> None:
    """Let a request pass that carries the token. `closed` says what is so without one, e.g. `alerts are not taken`."""
    if not token:
        raise HTTPException(403, f"{closed}: give the agent a token in its environment as {variable}")
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not compare_digest(given.strip().encode(), token.encode()):
        wanted = f"this needs the header Authorization: Bearer with the agent's {variable}"
        raise HTTPException(401, wanted, {"www-authenticate": "Bearer"})
