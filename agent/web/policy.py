"""The routes by which a person stops the automation: `POST /v1/policy/freeze` and `/v1/policy/thaw`.

Lives here: what is HTTP about it: the token, the body's shape.
Comes in: requests. Goes out: calls of two behaviours, and what they say.
Must never know: what frozen means.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from agent.web.bearer import permit

TOKEN = "TRIMTAB_POLICY_TOKEN"  # noqa: S105  # the name of a variable
MOST_HOURS = 24 * 366
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=300)]


class _Thaw(BaseModel):
    model_config = ConfigDict(extra="forbid")

    by: Words


class _Freeze(_Thaw):
    reason: Words
    hours: float | None = Field(default=None, gt=0, le=MOST_HOURS, allow_inf_nan=False)


def policy(
    app: FastAPI, freeze: Callable[[str, str, float | None], str], thaw: Callable[[str], str], token: str
) -> None:
    """Add the routes. `freeze(by, reason, hours)` and `thaw(by)` say what was done. Without a token both are closed."""

    def permitted(request: Request) -> None:
        permit(request, token, TOKEN, "the policy is not steered by HTTP")

    first = [Depends(permitted)]  # before a body is looked at

    @app.post("/v1/policy/freeze", dependencies=first)
    def frozen(said: _Freeze) -> dict[str, str]:
        return {"says": freeze(said.by, said.reason, said.hours)}

    @app.post("/v1/policy/thaw", dependencies=first)
    def thawed(said: _Thaw) -> dict[str, str]:
        return {"says": thaw(said.by)}
