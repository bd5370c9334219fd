"""The one class named in `vllm serve --middleware serving.middleware.Trimtab`.

In: vLLM's ASGI app, and the environment (vLLM constructs middleware with the app alone). Out: guard(alias(tap(app))).
Must never know: what the agent does with the captures. Standard library only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from serving.alias import Alias
from serving.errors import InvalidInput
from serving.guard import ASGIApp, Guard, Receive, Scope, Send, usable_token
from serving.spool import Spool
from serving.tap import Tap

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TapSettings:
    """What the environment says. An empty socket: nothing is captured. An empty token: admin is closed to all."""

    socket: str = ""
    token: bytes = b""
    buffer_bytes: int = 64 * MIB
    body_cap_bytes: int = MIB

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> TapSettings:
        """Raises `InvalidInput` for a size that is no whole number of bytes, and for a token that no header carries."""
        return cls(
            socket=environ.get("TRIMTAB_SOCKET", ""),
            token=usable_token(environ.get("TRIMTAB_TOKEN", ""), "TRIMTAB_TOKEN").encode(),
            buffer_bytes=_size(environ, "TRIMTAB_BUFFER_BYTES", 64 * MIB),
            body_cap_bytes=_size(environ, "TRIMTAB_BODY_CAP_BYTES", MIB),
        )


def _size(environ: Mapping[str, str], name: str, default: int) -> int:
    text = environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        raise InvalidInput(f"{name} is {text!r}: write a whole number of bytes, such as {default}.")
    return int(text)


class Trimtab:
    """ASGI middleware: closes admin doors, resolves aliases, captures exchanges."""

    def __init__(self, app: ASGIApp, settings: TapSettings | None = None) -> None:
        settings = settings or TapSettings.read(os.environ)
        self.spool: Spool | None = None
        if settings.socket:
            self.spool = Spool(settings.socket, uuid4().hex, settings.buffer_bytes, self._adopt)
            app = Tap(app, self.spool, settings.body_cap_bytes, settings.token)
        self.alias = Alias(app, settings.token)
        self._app = Guard(self.alias, settings.token)

    def _adopt(self, table: Mapping[str, Any]) -> None:
        self.alias.adopt(table)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the server's first breath starts the spool."""
        if self.spool is not None and scope["type"] == "lifespan":
            self.spool.start()
        await self._app(scope, receive, send)
