"""Closes vLLM's admin doors to everybody who does not bear the token.

In: ASGI scopes. Out: the request passed on, or 403 as JSON; and `classify`, the one table of vLLM's paths.
Must never know: captures, aliases, the agent. Standard library only.

Every path that vLLM answers stands in `PATHS` as `open` (anybody), `traffic` (anybody, and worth capturing) or
`admin` (token only). A path that does not stand there is `admin`: a new vLLM's new door stays shut until read.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from hmac import compare_digest
from typing import Any, Literal

from serving.errors import InvalidInput

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]
Class = Literal["open", "traffic", "admin"]

_TRAFFIC = """
/v1/chat/completions /v1/chat/completions/batch /v1/completions /v1/responses /v1/messages /invocations
/v1/embeddings
"""
_OPEN = """
/health /ping /load /metrics /version /v1/models /docs /docs/oauth2-redirect /redoc /openapi.json
/tokenize /detokenize /tokenizer_info /generative_scoring /is_scaling_elastic_ep
/v1/chat/completions/render /v1/chat/completions/derender
/v1/completions/render /v1/completions/derender /v1/responses/render /v1/responses/{} /v1/responses/{}/cancel
/v1/messages/count_tokens /v1/messages/render /v1/systemone /v1/realtime
/v1/audio/transcriptions /v1/audio/translations
/classify /pooling /score /v1/score /rerank /v1/rerank /v2/rerank /v2/embed /cohere/v2/chat /cohere/v2/chat/render
"""
_ADMIN = """
/v1/load_lora_adapter /v1/unload_lora_adapter /adapters /adapters/{} /scale_elastic_ep /kv_event_sources
/inference/v1/generate /abort_requests /collective_rpc /sleep /wake_up /is_sleeping /pause /resume /is_paused
/start_profile /stop_profile /reset_prefix_cache /reset_mm_cache /reset_encoder_cache /release_kv_cache_memory
/server_info /get_world_size /weight_info /weight_checker /update_weights /update_weight_version
/init_weight_transfer_engine /shutdown_weight_transfer_engine /start_weight_update /start_draft_weight_update
/finish_weight_update /fault_tolerance/status /fault_tolerance/apply
"""

PATHS: dict[str, Class] = {
    **dict.fromkeys(_TRAFFIC.split(), "traffic"),
    **dict.fromkeys(_OPEN.split(), "open"),
    **dict.fromkeys(_ADMIN.split(), "admin"),
}
TRAFFIC = frozenset(path for path, kind in PATHS.items() if kind == "traffic")
_PATTERNS: list[tuple[re.Pattern[str], Class]] = [
    (re.compile(path.replace("{}", "[^/]+")), kind) for path, kind in PATHS.items() if "{" in path
]

_REFUSAL = (
    b'{"error":{"message":"This path is closed: it needs the Trimtab admin token.",'
    b'"type":"PermissionDenied","code":403}}'
)
_REFUSAL_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(_REFUSAL)).encode()),
]


def classify(path: str) -> Class:
    """The class of a path; `admin` for what is not listed letter by letter.

    So no odd spelling (`//`, `/./`, `%2e`, capitals) opens a door: whatever the router makes of it, it is not
    listed. One trailing slash is allowed, vLLM answers it with a redirect.
    """
    known = PATHS.get(path) or PATHS.get(path.removesuffix("/"))
    if known is not None:
        return known
    return next((kind for pattern, kind in _PATTERNS if pattern.fullmatch(path)), "admin")


def path_of(scope: Scope) -> str:
    """The path below the server's root path."""
    path: str = scope["path"]
    root: str | None = scope.get("root_path")
    return path[len(root) :] if root and path.startswith(root + "/") else path


def usable_token(text: str, name: str) -> str:
    """A token as both sides use it, without the white space around it that files and shells leave.

    Raises InvalidInput, naming the variable it stands in, for what no HTTP header can carry.
    """
    token = text.strip()
    if not all("!" <= letter <= "~" for letter in token):
        raise InvalidInput(f"{name} has letters that no header can carry: make one with `openssl rand -hex 16`")
    return token


def bears_token(headers: Iterable[tuple[bytes, bytes]], token: bytes) -> bool:
    """Whether a request carries the token, as `Authorization: Bearer` or as `x-trimtab-token`.

    The second form leaves `Authorization` to vLLM's own API key. No token configured: nobody bears it.
    """
    if not token:
        return False
    found = False
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            found |= compare_digest(value[7:].strip(), token)
        elif name == b"x-trimtab-token":
            found |= compare_digest(value.strip(), token)
    return found


class Guard:
    """ASGI: admin paths need the token; everything else passes."""

    def __init__(self, app: ASGIApp, token: bytes) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        closed = scope["type"] == "http" and classify(path_of(scope)) == "admin"
        if closed and not bears_token(scope["headers"], self._token):
            await send({"type": "http.response.start", "status": 403, "headers": list(_REFUSAL_HEADERS)})
            await send({"type": "http.response.body", "body": _REFUSAL})
        else:
            await self._app(scope, receive, send)
