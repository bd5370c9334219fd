"""The closed doors."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from serving import guard as guards
from serving.errors import InvalidInput
from serving.guard import PATHS, TRAFFIC, Guard, bears_token, classify
from serving.middleware import TapSettings
from tests.serving.asgi import Upstream, ask

ADMIN = ["/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters", "/adapters/home-v1", "/scale_elastic_ep",
         "/sleep", "/collective_rpc", "/reset_prefix_cache"]  # fmt: skip
ODD = ["//v1/load_lora_adapter", "/v1//load_lora_adapter", "/v1/./load_lora_adapter", "/v1/load_lora_adapter/",
       "/v1/models/../load_lora_adapter", "/v1/%6coad_lora_adapter", "/V1/Load_Lora_Adapter", "/adapters/x%2f..",
       "/adapters/%2e%2e%2fhealth", "/adapters/..;/health", "/adapters/x/", "/health/../adapters", "", "*",
       "/v1/load_lora_adapter\x00", "/v1/load_lora_adapter?x", "/v1\\load_lora_adapter"]  # fmt: skip


@pytest.mark.parametrize("path", ADMIN + ODD)
def test_admin_needs_the_token(path: str) -> None:
    """No spelling of an admin path, nor any unlisted path, reaches the app without the token."""
    upstream = Upstream()
    answer = asyncio.run(ask(Guard(upstream, b"sesame"), path))
    assert answer.status == 403
    assert json.loads(answer.body)["error"]["code"] == 403
    assert upstream.scopes == []


@pytest.mark.parametrize(
    "header",
    [(b"authorization", b"Bearer sesame"), (b"authorization", b"bearer  sesame"), (b"x-trimtab-token", b"sesame")],
)
def test_the_token_opens(header: tuple[bytes, bytes]) -> None:
    """Either form of the right token opens, so that Authorization stays free for vLLM's own key."""
    answer = asyncio.run(ask(Guard(Upstream(), b"sesame"), ADMIN[0], headers=[header]))
    assert answer.status == 200


@pytest.mark.parametrize(
    "header", [(b"authorization", b"Bearer sesam"), (b"authorization", b"sesame"), (b"x-trimtab-token", b"")]
)
def test_a_wrong_token_does_not_open(header: tuple[bytes, bytes]) -> None:
    """A wrong, bare or empty token is no token."""
    assert asyncio.run(ask(Guard(Upstream(), b"sesame"), ADMIN[0], headers=[header])).status == 403


@pytest.mark.parametrize("headers", [[], [(b"authorization", b"Bearer ")], [(b"x-trimtab-token", b"")]])
def test_without_a_token_admin_is_closed_to_all(headers: list[tuple[bytes, bytes]]) -> None:
    """A server that was given no token has no admin, not an open one."""
    assert asyncio.run(ask(Guard(Upstream(), b""), ADMIN[0], headers=headers)).status == 403


@pytest.mark.parametrize(
    "path", ["/health", "/metrics", "/metrics/", "/v1/models", "/v1/responses/resp_1", *sorted(TRAFFIC)]
)
def test_the_rest_is_open(path: str) -> None:
    """Everybody may ask and look."""
    assert asyncio.run(ask(Guard(Upstream(), b"sesame"), path)).status == 200


@pytest.mark.parametrize("path", ADMIN + ODD)
@pytest.mark.parametrize("root", ["/llm", "/llm/", "/v1", "/", "/adapters", "llm"])
def test_no_root_path_opens_a_door(path: str, root: str) -> None:
    """Whatever the server believes to stand below, with the root before the path or without it, admin stays closed."""
    guard = Guard(Upstream(), b"sesame")
    for spelled in (path, root + path):
        assert asyncio.run(ask(guard, spelled, root_path=root)).status == 403


def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every candidate goes through `hmac.compare_digest`, the good one and the bad."""
    compared: list[bytes] = []

    def compare(said: bytes, token: bytes) -> bool:
        compared.append(said)
        return said == token

    monkeypatch.setattr(guards, "compare_digest", compare)
    candidates = [b"s", b"sesame", b"sesam\xe9"]
    for said in candidates:
        asyncio.run(ask(Guard(Upstream(), b"sesame"), ADMIN[0], headers=[(b"x-trimtab-token", said)]))
    assert compared == candidates


def test_a_root_path_moves_the_doors() -> None:
    """Behind a root path the same doors are closed and open."""
    guard = Guard(Upstream(), b"sesame")
    assert asyncio.run(ask(guard, "/llm/adapters", root_path="/llm")).status == 403
    assert asyncio.run(ask(guard, "/llm/health", root_path="/llm")).status == 200


def test_lifespan_and_websocket_pass() -> None:
    """What is no HTTP request is none of the guard's business."""
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    for kind in ("lifespan", "websocket"):
        asyncio.run(Guard(app, b"")({"type": kind, "path": "/adapters"}, None, None))  # type: ignore[arg-type]
    assert seen == ["lifespan", "websocket"]


def test_every_path_has_one_class() -> None:
    """The table says of each listed path what `classify` says."""
    assert {path: classify(path.replace("{}", "x")) for path in PATHS} == PATHS


def test_white_space_around_a_token_is_not_part_of_it() -> None:
    """A token out of a file, with a line break behind it, is the one that a header brings."""
    settings = TapSettings.read({"TRIMTAB_TOKEN": "  sesame \n"})
    assert settings.token == b"sesame"
    assert bears_token([(b"authorization", b"Bearer sesame")], settings.token)


@pytest.mark.parametrize("token", ["s\u00e4same", "two words", "bad\udcff", "a\nb"])
def test_a_token_that_no_header_carries_is_refused_at_the_start(token: str) -> None:
    """It would close the doors to everybody: better said in one sentence."""
    with pytest.raises(InvalidInput, match="TRIMTAB_TOKEN has letters that no header can carry"):
        TapSettings.read({"TRIMTAB_TOKEN": token})
