"""The doors of a real vLLM, tried as no well-behaved client would: raw bytes on a socket."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from serving.engine import Engine
from tests.estate.ear import ThreadedEar
from tests.estate.server import Server

pytestmark = pytest.mark.engine

LOAD = "/v1/load_lora_adapter"
SPELLINGS = [
    *(LOAD, LOAD + "/", "/" + LOAD, "/v1//load_lora_adapter", "/v1/./load_lora_adapter", "/./v1/load_lora_adapter"),
    *("/health/.." + LOAD, "/v1/models/../load_lora_adapter", "/v1/%6coad_lora_adapter", "/%76%31/load_lora_adapter"),
    *("/v1%2fload_lora_adapter", "/v1/%256coad_lora_adapter", "/V1/LOAD_LORA_ADAPTER", "/v1/load_lora_adapter%00"),
    *("/v1/load_lora_adapter%20", "/v1/load_lora_adapter;x", "/v1\\load_lora_adapter", "/v1/%c0%afload_lora_adapter"),
    *(LOAD + "?x=/health", LOAD + "#/health", "http://127.0.0.1" + LOAD),
    *("http://x/health/.." + LOAD, "//127.0.0.1" + LOAD, "/adapters"),
    *("/adapters/", "//adapters", "/%61dapters", "/Adapters", "/adapters/..%2fx"),
]  # fmt: skip


def status_of(server: Server, request: bytes) -> int:
    """The status of the answer to raw bytes; 0 when the server hangs up without one."""
    address = httpx.URL(server.url)
    with socket.create_connection((address.host, address.port), timeout=20.0) as wire:
        wire.sendall(request)
        said = b""
        while b"\r\n" not in said and (more := wire.recv(4096)):
            said += more
    match = re.match(rb"HTTP/1\.[01] (\d{3})", said)
    return int(match[1]) if match else 0


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("target", SPELLINGS)
def test_no_spelling_of_a_path_loads_an_adapter(
    vllm_tiny: Server, tiny_adapters: list[Path], target: str, version: str
) -> None:
    """A request that would load a real adapter is refused by the guard, or is no HTTP to the server at all."""
    name, path = "burglar", str(tiny_adapters[0])
    body = json.dumps({"lora_name": name, "lora_path": path, "name": name, "src": path}).encode()
    head = f"POST {target} HTTP/{version}\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    more = f"X-Forwarded-Prefix: /v1\r\nX-Original-URL: /health\r\nContent-Length: {len(body)}\r\n\r\n"
    assert status_of(vllm_tiny, (head + more).encode("latin-1") + body) in (403, 400)


def test_the_same_request_with_the_token_loads_it(vllm_tiny: Server, tiny_adapters: list[Path]) -> None:
    """It is the guard that refuses, not a mistake in the request; and nothing got in before."""
    with vllm_tiny.engine() as engine:
        assert "burglar" not in engine.models()
        body = json.dumps({"lora_name": "burglar", "lora_path": str(tiny_adapters[0])}).encode()
        head = f"POST {LOAD} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        token = f"X-Trimtab-Token: {vllm_tiny.token}\r\n\r\n"
        assert status_of(vllm_tiny, (head + token).encode() + body) == 200
        assert "burglar" in engine.models()
        engine.unload("burglar")


def test_clients_see_aliases_and_the_agent_sees_all(
    vllm_tiny: Server, tiny_adapters: list[Path], ear: ThreadedEar, engine: Engine
) -> None:
    """The real list, as strangers see it: the alias with its version as parent, the base model, no adapter."""
    name = tiny_adapters[0].name
    ear.push_table({"home": {name: 0.9, tiny_adapters[1].name: 0.1}})
    url = f"{vllm_tiny.url}/v1/models"
    for _ in range(100):
        cards = {card["id"]: card for card in httpx.get(url, trust_env=False).json()["data"]}
        if "home" in cards:
            break
    assert set(cards) == {"home", "base"}
    assert cards["home"]["parent"] == name
    assert cards["home"].keys() == cards["base"].keys()
    assert cards["home"]["max_model_len"] == cards["base"]["max_model_len"]
    assert {"base", name} <= engine.models().keys()
    assert "home" not in engine.models()


@pytest.fixture
def ear(vllm_tiny: Server) -> Iterator[ThreadedEar]:
    """The agent's end of the socket, once vLLM has said who it is."""
    with ThreadedEar(vllm_tiny.socket).listening() as listening:
        listening.wait(lambda e: bool(e.hellos))
        yield listening


@pytest.fixture
def engine(vllm_tiny: Server, tiny_adapters: list[Path]) -> Iterator[Engine]:
    """A client with the token, and the adapters v1 and v2 loaded for the length of a test."""
    with vllm_tiny.engine() as client:
        for folder in tiny_adapters[:2]:
            client.load(folder.name, folder)
        yield client
        for folder in tiny_adapters[:2]:
            client.unload(folder.name)


CASES: dict[str, tuple[str, object, int]] = {
    "a batch": ("/v1/chat/completions/batch", {"messages": [[{"role": "user", "content": "a"}]] * 2}, 200),
    "the other door": ("/invocations", {"messages": [{"role": "user", "content": "a"}]}, 200),
    "the Anthropic form": ("/v1/messages", {"messages": [{"role": "user", "content": "a"}]}, 200),
    "responses": ("/v1/responses", {"input": "a", "max_output_tokens": 2}, 200),
    "embeddings, which this model has not": ("/v1/embeddings", {"input": "a"}, 404),  # and vLLM reads no body
    "a model that is not there": ("/v1/completions", {"model": "nobody", "prompt": "a"}, 404),
    "a body that makes no sense": ("/v1/completions", {"prompt": {"a": 1}}, 400),
}


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_traffic_is_captured(vllm_tiny: Server, ear: ThreadedEar, case: str) -> None:
    """Every door of inference has its exchange with path, status and bytes, refusals too."""
    path, asks, status = CASES[case]
    body = {"model": "base", "max_tokens": 2, "user": case, **asks}  # type: ignore[dict-item]
    answer = httpx.post(vllm_tiny.url + path, json=body, timeout=60.0, trust_env=False)
    assert answer.status_code == status, answer.text
    ear.wait(lambda e: any(c.response == answer.content for c in e.captures))
    capture = next(c for c in ear.ear.captures if c.response == answer.content)
    assert (capture.path, capture.status, capture.outcome) == (path, status, "complete")
    assert case.encode() in capture.request or "has not" in case


def test_a_chunked_request_is_captured_whole(vllm_tiny: Server, ear: ThreadedEar) -> None:
    """A body without a stated length, in pieces, is one request."""
    body = json.dumps({"model": "base", "prompt": "a", "max_tokens": 1, "user": "in pieces"}).encode()
    pieces = (body[i : i + 7] for i in range(0, len(body), 7))
    headers = {"content-type": "application/json"}
    answer = httpx.post(
        f"{vllm_tiny.url}/v1/completions", content=pieces, headers=headers, timeout=60.0, trust_env=False
    )
    assert answer.status_code == 200
    ear.wait(lambda e: any(c.request == body for c in e.captures))


def test_a_compressed_request_is_captured_as_it_came(vllm_tiny: Server, ear: ThreadedEar) -> None:
    """vLLM reads no gzip and says so; the copy holds the very bytes."""
    body = gzip.compress(b'{"model":"base","prompt":"a"}')
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    answer = httpx.post(f"{vllm_tiny.url}/v1/completions", content=body, headers=headers, trust_env=False)
    assert answer.status_code in (400, 422)
    ear.wait(lambda e: any(c.request == body for c in e.captures))
