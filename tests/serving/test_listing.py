"""What clients see of the models."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from serving.alias import Alias
from serving.guard import Message, Receive, Scope, Send
from serving.listing import listed
from tests.serving.asgi import Answer, Headers, ask

JSON_HEADERS: Headers = [(b"content-type", b"application/json")]


def card(name: str, parent: str | None, **more: Any) -> dict[str, Any]:
    """A card as vLLM writes it."""
    return {"id": name, "object": "model", "created": 1, "owned_by": "vllm", "root": f"/m/{name}", "parent": parent,
            "max_model_len": None, "permission": [], **more}  # fmt: skip


BODY = json.dumps(
    {"object": "list", "data": [card("base", None, max_model_len=256), card("home-v1", "base"),
                                card("home-v2", "base"), card("home-judge", "base")]}
).encode()  # fmt: skip
TABLE = {"aliases": {"home": {"home-v1": 0.3, "home-v2": 0.7}, "gone": {"gone-v1": 1.0}, "empty": {}}}


def look(
    chunks: list[bytes], headers: Headers, *, status: int = 200, asks: Headers = (), method: str = "GET",
    path: str = "/v1/models", ends: bool = True, table: dict[str, Any] = TABLE,
) -> Answer:  # fmt: skip
    """What a client gets when vLLM answers so."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        start: Message = {"type": "http.response.start", "status": status, "headers": list(headers)}
        await send(start)
        for i, chunk in enumerate(chunks):
            more = not ends or i + 1 < len(chunks)
            await send({"type": "http.response.body", "body": chunk, "more_body": more})

    alias = Alias(app, b"sesame")
    alias.adopt(table)
    return asyncio.run(ask(alias, path, b"", method=method, headers=asks))


@pytest.mark.parametrize("chunks", [[BODY], [BODY[:50], BODY[50:]]])
def test_clients_see_aliases_and_base_models(chunks: list[bytes]) -> None:
    """An alias is a card of vLLM's shape whose parent is the heaviest version served; adapters do not show."""
    answer = look(chunks, [*JSON_HEADERS, (b"content-length", b"%d" % len(BODY))])
    cards = json.loads(answer.body)["data"]
    assert [c["id"] for c in cards] == ["home", "base"]
    assert cards[0] == card("home", "home-v2", root="/m/home-v2", max_model_len=256)
    assert cards[1] == card("base", None, max_model_len=256)
    assert answer.headers[b"content-length"] == b"%d" % len(answer.body)


def test_an_alias_may_carry_the_name_of_a_model() -> None:
    """Where alias and base model share a name, the alias shows, as it is the alias that answers."""
    cards = json.loads(listed(BODY, {"base": {"home-v1": 1.0}}))["data"]
    assert [(c["id"], c["parent"]) for c in cards] == [("base", "home-v1")]


def test_the_token_shows_all() -> None:
    """The agent sees what is loaded, byte by byte as vLLM says it."""
    for asks in ([(b"x-trimtab-token", b"sesame")], [(b"authorization", b"Bearer sesame")]):
        assert look([BODY], JSON_HEADERS, asks=asks).body == BODY


@pytest.mark.parametrize(
    ("chunks", "headers", "more"),
    [
        ([BODY], [*JSON_HEADERS, (b"content-encoding", b"gzip")], {}),
        ([BODY], [(b"content-type", b"text/html")], {}),
        ([BODY], [], {}),
        ([BODY[:40], BODY[40:]], JSON_HEADERS, {"status": 500}),
        ([b"{not json"], JSON_HEADERS, {}),
        ([b"[]"], JSON_HEADERS, {}),
        ([b'{"data":[{"id":"x"}]}'], JSON_HEADERS, {}),
        ([b'{"data":[7]}'], JSON_HEADERS, {}),
        ([b'{"data":null}'], JSON_HEADERS, {}),
        ([b""], JSON_HEADERS, {}),
        ([BODY[:40], BODY[40:]], JSON_HEADERS, {"ends": False}),
        ([BODY], JSON_HEADERS, {"path": "/version"}),
        ([BODY], JSON_HEADERS, {"method": "HEAD"}),
        ([BODY], JSON_HEADERS, {"table": {"aliases": {}}}),
    ],
)
def test_what_is_no_plain_list_passes_untouched(chunks: list[bytes], headers: Headers, more: dict[str, Any]) -> None:
    """Compressed, odd, failed, cut or other answers reach the client message by message as they came."""
    answer = look(chunks, headers, **more)
    assert [m.get("body") for m in answer.messages[1:]] == chunks
    assert answer.messages[0]["headers"] == list(headers)
