"""Trimtab inside a real vLLM: a tiny model, real adapters, real HTTP, a real socket."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import httpx
import pytest

from serving import guard
from serving.engine import Engine
from serving.errors import InvalidInput, Unservable
from tests.estate import tiny
from tests.estate.ear import ThreadedEar
from tests.estate.server import Server

pytestmark = pytest.mark.engine

CHAT = "/v1/chat/completions"
ASK = [{"role": "user", "content": "turn on the light in the kitchen"}]


@pytest.fixture
def ear(vllm_tiny: Server) -> Iterator[ThreadedEar]:
    """The agent's end of the socket, once vLLM has said who it is."""
    with ThreadedEar(vllm_tiny.socket).listening() as listening:
        listening.wait(lambda e: bool(e.hellos))
        yield listening


@pytest.fixture
def http(vllm_tiny: Server) -> Iterator[httpx.Client]:
    """An ordinary client without a token."""
    with httpx.Client(base_url=vllm_tiny.url, timeout=60.0, trust_env=False) as client:
        yield client


@pytest.fixture
def engine(vllm_tiny: Server, tiny_adapters: list[Path]) -> Iterator[Engine]:
    """A client with the token, and the adapters v1 and v2 loaded for the length of a test."""
    with vllm_tiny.engine() as client:
        for folder in tiny_adapters[:2]:
            client.load(folder.name, folder)
        yield client
        for folder in tiny_adapters:
            client.unload(folder.name)


def chat(http: httpx.Client, model: str, **more: object) -> httpx.Response:
    """One question, answered greedily."""
    body = {"model": model, "messages": ASK, "temperature": 0, "max_tokens": 8, **more}
    return http.post(CHAT, json=body)


def text(answer: httpx.Response) -> str:
    """What was answered."""
    return str(answer.raise_for_status().json()["choices"][0]["message"]["content"])


def test_every_path_of_the_server_is_classed(http: httpx.Client) -> None:
    """No path that this vLLM answers is missing in the guard's table."""
    paths = http.get("/openapi.json").raise_for_status().json()["paths"]
    assert CHAT in paths
    unlisted = {p for p in paths if re.sub(r"\{[^}]*\}", "{}", p) not in guard.PATHS}
    assert unlisted == set()


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/load_lora_adapter", "//v1/load_lora_adapter", "/v1/%6coad_lora_adapter", "/v1/./load_lora_adapter"),
        *("/v1/load_lora_adapter/", "/adapters", "/adapters/x", "/adapters/%252e%252e%252fhealth", "/scale_elastic_ep"),
    ],
)
def test_strangers_find_admin_closed(http: httpx.Client, vllm_tiny: Server, path: str) -> None:
    """Without the token no spelling loads an adapter."""
    answer = http.post(
        httpx.URL(vllm_tiny.url).copy_with(raw_path=path.encode()), json={"lora_name": "x", "lora_path": "/"}
    )
    assert answer.status_code == 403


def test_adapters_answer_differently_and_loading_twice_is_fine(engine: Engine, tiny_adapters: list[Path]) -> None:
    """Each adapter is itself, every time it is asked, and a repeated load changes nothing."""
    v1, v2 = tiny_adapters[0], tiny_adapters[1]
    first = {name: engine.probe(name, [ASK], 8) for name in ("base", v1.name, v2.name)}
    assert len({tuple(a) for a in first.values()}) == 3
    engine.load(v1.name, v1)
    assert {name: engine.probe(name, [ASK], 8) for name in first} == first
    assert engine.models()[v1.name] == str(v1)
    with pytest.raises(InvalidInput, match="own name"):
        engine.load(v1.name, v2)


def test_what_cannot_be_served_is_said(engine: Engine, tiny_model: Path, tmp_path: Path, vllm_tiny: Server) -> None:
    """A rank above the limit is told beforehand, and by vLLM itself when our limit is too generous; it lives on."""
    high = tiny.build_adapter(tmp_path / "high", tiny_model, 9, rank=32)
    with pytest.raises(Unservable, match="rank 32"):
        engine.load("high", high)
    with Engine(vllm_tiny.url, vllm_tiny.token, max_lora_rank=64) as generous:
        with pytest.raises(Unservable, match="rank 32 is greater"):
            generous.load("high", high)
        with pytest.raises(Unservable, match=r"no adapter_config\.json"):
            generous.load("none", tmp_path / "none")
        with pytest.raises(InvalidInput, match="own name"):
            generous.load("base", high)
        assert generous.live()


def test_unloading_is_fine_twice(engine: Engine, tiny_adapters: list[Path]) -> None:
    """What is gone is gone."""
    name = tiny_adapters[0].name
    assert engine.drain(name, timeout_s=10.0, quiet_s=0.2)
    engine.unload(name)
    engine.unload(name)
    assert name not in engine.models()


def test_an_exchange_through_an_alias(
    engine: Engine, http: httpx.Client, ear: ThreadedEar, tiny_adapters: list[Path]
) -> None:
    """A client asks for the alias, a version answers and says so, and the capture holds both sides."""
    name = tiny_adapters[0].name
    ear.push_table({"home": {name: 1.0}})
    assert chat_until_aliased(http) == name
    answer = chat(http, "home")
    assert text(answer) == engine.probe(name, [ASK], 8)[0]
    said = answer.json()
    ear.wait(lambda e: any(said["id"].encode() in c.response for c in e.captures))
    capture = next(c for c in ear.ear.captures if said["id"].encode() in c.response)
    assert (capture.alias, capture.version, capture.status, capture.outcome) == ("home", name, 200, "complete")
    assert capture.response == answer.content
    assert json.loads(capture.request)["messages"] == ASK
    assert said["model"] == name
    assert "authorization" not in capture.headers


def chat_until_aliased(http: httpx.Client) -> str:
    """Asks until the pushed table has arrived; the version that answered."""
    for _ in range(50):
        answer = chat(http, "home", max_tokens=1)
        if answer.status_code == httpx.codes.OK:
            return answer.headers["x-trimtab-version"]
    raise TimeoutError("the alias table never arrived")


def test_a_stream_is_captured_event_by_event(http: httpx.Client, ear: ThreadedEar) -> None:
    """A streamed answer reaches the client as without Trimtab, and the copy marks each event."""
    answer = chat(http, "base", stream=True)
    assert answer.content.endswith(b"data: [DONE]\n\n")
    ear.wait(lambda e: any(c.response == answer.content for c in e.captures))
    capture = next(c for c in ear.ear.captures if c.response == answer.content)
    marks = list(capture.marks)
    assert len(marks) > 2  # a busy engine puts several tokens into one event
    ends = list(accumulate(size for _, size in marks))
    assert ends[-1] == len(answer.content)
    assert all(answer.content[:end].endswith(b"\n\n") for end in ends)
    assert marks[0][0] < marks[-1][0] <= capture.total_us


def test_clients_that_leave_are_told_apart(http: httpx.Client, vllm_tiny: Server, ear: ThreadedEar) -> None:
    """Leaving in the midst of a stream, or before a full answer, is `client_gone` and no complete answer."""
    before = len(ear.ear.captures)
    body = {"model": "base", "messages": ASK, "max_tokens": 200, "ignore_eos": True, "temperature": 0}
    with (
        httpx.Client(base_url=vllm_tiny.url, trust_env=False) as leaver,
        leaver.stream("POST", CHAT, json={**body, "stream": True}) as answer,
    ):
        next(answer.iter_bytes())
    with (
        httpx.Client(base_url=vllm_tiny.url, trust_env=False, timeout=httpx.Timeout(5.0, read=0.05)) as leaver,
        pytest.raises(httpx.ReadTimeout),
    ):
        leaver.post(CHAT, json=body)
    ear.wait(lambda e: len(e.captures) >= before + 2)
    assert [c.outcome for c in ear.ear.captures[before:]] == ["client_gone", "client_gone"]


def test_probes_are_not_captured(engine: Engine, http: httpx.Client, ear: ThreadedEar) -> None:
    """Trimtab's own questions never become traffic."""
    engine.probe("base", ["a", "b"], 2)
    marker = text(chat(http, "base", max_tokens=2, user="marker"))
    ear.wait(lambda e: any(b"marker" in c.request for c in e.captures))
    assert marker is not None
    assert not any(json.loads(c.request)["messages"][0]["content"] in ("a", "b") for c in ear.ear.captures)


def test_a_swap_under_load_fails_no_request(
    engine: Engine, http: httpx.Client, ear: ThreadedEar, vllm_tiny: Server, tiny_adapters: list[Path]
) -> None:
    """While clients ask without pause the alias moves on, the old version drains and goes; every answer is right.

    What each version answers is known beforehand, so an answer by the wrong adapter would be seen; and the counters
    of the tap say that nothing was lost.
    """
    v1, v3 = tiny_adapters[0], tiny_adapters[2]
    ear.push_table({"home": {v1.name: 1.0}})
    chat_until_aliased(http)
    engine.load(v3.name, v3)
    expected = {name: engine.probe(name, [ASK], 8)[0] for name in (v1.name, v3.name)}
    stop, answers = threading.Event(), []

    def client(user: str) -> None:
        with httpx.Client(base_url=vllm_tiny.url, timeout=60.0, trust_env=False) as mine:
            while not stop.is_set():
                answer = chat(mine, "home", user=user)
                answers.append((answer.status_code, answer.headers.get("x-trimtab-version"), text(answer)))

    threads = [threading.Thread(target=client, args=(f"u{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    try:
        for share in (0.5, 1.0):
            seen = len(answers)
            ear.push_table({"home": {v1.name: 1 - share, v3.name: share}})
            ear.wait(lambda _, seen=seen: len(answers) >= seen + 12, 60.0)  # type: ignore[misc]
        assert engine.drain(v1.name, timeout_s=20.0, quiet_s=0.3)
        engine.unload(v1.name)
        seen = len(answers)
        ear.wait(lambda _: len(answers) >= seen + 8, 60.0)
    finally:
        stop.set()
        for thread in threads:
            thread.join(60.0)
    assert {status for status, _, _ in answers} == {200}
    assert {version for _, version, _ in answers} == {v1.name, v3.name}
    assert all(content == expected[version] for _, version, content in answers)
    ear.wait(lambda e: e.stats[-1]["seq"] == max(e.seqs) and e.stats[-1]["dropped"] == 0)
