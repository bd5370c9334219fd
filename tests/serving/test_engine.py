"""The client of vLLM's admin HTTP, against a fake that answers as vLLM 0.32 was seen to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.engine import Engine, busy_adapters
from serving.errors import InvalidInput, RemoteFault, Unservable

INFO = 'vllm:lora_requests_info{{max_lora="4",running_lora_adapters="{}",waiting_lora_adapters="{}"}} {}\n'


class FakeVllm(httpx.BaseTransport):
    """Keeps adapters by name; answers as the real server did, status for status."""

    def __init__(self) -> None:
        self.token = "sesame"
        self.loaded: dict[str, str] = {}
        self.healthy = True
        self.runtime_lora = True
        self.processes = 1
        self.looks = 0
        self.busy: list[str] = []
        self.fails_with: httpx.Response | Exception | None = None
        self.asked: list[dict[str, Any]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        path, body = request.url.path, json.loads(request.content or b"{}")
        if path == "/health":
            return httpx.Response(200 if self.healthy else 503)
        if isinstance(self.fails_with, Exception):
            raise self.fails_with
        if self.fails_with is not None:
            return self.fails_with
        if path == "/v1/models":
            rows = [{"id": "base", "root": "/m", "parent": None}]
            self.looks += 1
            here = self.loaded if self.looks % self.processes == 0 else {}
            rows += [{"id": n, "root": p, "parent": "base"} for n, p in here.items()]
            return httpx.Response(200, json={"data": rows})
        if path == "/metrics":
            name = self.busy.pop(0) if self.busy else ""
            return httpx.Response(200, text="# HELP x\n" + INFO.format("", "", 1.0) + INFO.format(name, "", 2.0))
        if path == "/v1/chat/completions":
            self.asked.append(body)
            content = f"{body['model']}: {body['messages'][-1]['content']}"
            return httpx.Response(200, json={"choices": [{"message": {"content": content}}]})
        if request.headers.get("x-trimtab-token") != self.token:
            return httpx.Response(403, json={"error": {"message": "closed"}})
        if not self.runtime_lora:
            return httpx.Response(404, json={"detail": "Not Found"})
        return self._admin(path, body)

    def _admin(self, path: str, body: dict[str, str]) -> httpx.Response:
        name = body["lora_name"]
        if path == "/v1/load_lora_adapter":
            if name in self.loaded or name == "base":
                return httpx.Response(400, json={"error": {"message": f"{name} has already been loaded"}})
            if "refused" in body["lora_path"]:
                return httpx.Response(
                    500, json={"error": {"message": "LoRA rank 32 is greater than max_lora_rank 16."}}
                )
            if "unseen" in body["lora_path"]:
                return httpx.Response(404, json={"error": {"message": "No adapter found for <path>"}})
            self.loaded[name] = body["lora_path"]
            return httpx.Response(200, text="Success")
        if name not in self.loaded:
            return httpx.Response(404, json={"error": {"message": "cannot be found"}})
        del self.loaded[name]
        return httpx.Response(200, text="Success")


@pytest.fixture
def fake() -> FakeVllm:
    """A fresh server."""
    return FakeVllm()


@pytest.fixture
def engine(fake: FakeVllm) -> Engine:
    """A client with the right token."""
    return Engine("http://vllm", "sesame", transport=fake)


def adapter(folder: Path) -> Path:
    """A folder that looks like an adapter of rank 8."""
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 8}')
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder


def test_load_unload_and_again(engine: Engine, fake: FakeVllm, tmp_path: Path) -> None:
    """Loading and unloading are level-triggered: said twice, done once."""
    folder = adapter(tmp_path / "v1")
    engine.load("v1", folder)
    engine.load("v1", folder)
    assert engine.models() == {"base": "/m", "v1": str(folder)}
    engine.unload("v1")
    engine.unload("v1")
    assert fake.loaded == {}


def test_a_name_is_never_given_twice(engine: Engine, tmp_path: Path) -> None:
    """Another folder under a loaded name is refused: the engine would mix their prefix caches."""
    engine.load("v1", adapter(tmp_path / "v1"))
    with pytest.raises(InvalidInput, match="give every version its own name"):
        engine.load("v1", adapter(tmp_path / "v2"))
    with pytest.raises(InvalidInput, match="own name"):
        engine.load("base", tmp_path / "v2")


@pytest.mark.parametrize(("folder", "reason"), [("refused", "rank 32 is greater"), ("unseen", "No adapter found")])
def test_what_vllm_cannot_load_is_unservable(engine: Engine, tmp_path: Path, folder: str, reason: str) -> None:
    """The refusal of vLLM itself is final and keeps its words."""
    with pytest.raises(Unservable, match=reason):
        engine.load("v1", adapter(tmp_path / folder))


def test_a_load_that_reaches_one_process_of_two_is_refused(engine: Engine, fake: FakeVllm, tmp_path: Path) -> None:
    """Where another process behind the same address does not know the adapter, the load is no success."""
    fake.processes = 2
    with pytest.raises(InvalidInput, match="Not all processes behind http://vllm have loaded the adapter v1"):
        engine.load("v1", adapter(tmp_path / "v1"))


def test_a_load_that_kills_the_engine_is_a_fault(engine: Engine, fake: FakeVllm, tmp_path: Path) -> None:
    """A 500 of a dying server says nothing about the adapter."""
    fake.healthy = False
    with pytest.raises(RemoteFault, match="500"):
        engine.load("v1", adapter(tmp_path / "refused"))


def test_the_wrong_token_and_the_missing_switch_are_our_fault(fake: FakeVllm, tmp_path: Path) -> None:
    """Both say what to set."""
    folder = adapter(tmp_path / "v1")
    with pytest.raises(InvalidInput, match="TRIMTAB_TOKEN"):
        Engine("http://vllm", "wrong", transport=fake).load("v1", folder)
    fake.runtime_lora = False
    with pytest.raises(InvalidInput, match="VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        Engine("http://vllm", "sesame", transport=fake).load("v1", folder)


def test_probes_are_greedy_and_in_order(engine: Engine, fake: FakeVllm) -> None:
    """Each probe is asked alone, at temperature 0, as text or as messages."""
    said = engine.probe("v1", ["a", [{"role": "system", "content": "s"}, {"role": "user", "content": "b"}]], 5)
    assert said == ["v1: a", "v1: b"]
    assert [(b["temperature"], b["max_tokens"], len(b["messages"])) for b in fake.asked] == [(0, 5, 1), (0, 5, 2)]


@pytest.mark.parametrize(
    ("fails", "retry_after_s"),
    [
        (httpx.Response(503, headers={"retry-after": "7"}), 7.0),
        (httpx.Response(500, text="boom"), None),
        (httpx.Response(200, text="not json"), None),
        (httpx.Response(200, json=[]), None),
        (httpx.Response(200, json={"choices": []}), None),
        (httpx.ConnectError("refused"), None),
        (httpx.ReadTimeout(""), None),
    ],
)
def test_their_faults_are_remote(engine: Engine, fake: FakeVllm, fails: Any, retry_after_s: float | None) -> None:
    """Whatever breaks over there is one error, with the wait they asked for."""
    fake.fails_with = fails
    with pytest.raises(RemoteFault) as caught:
        engine.probe("v1", ["a"])
    assert caught.value.retry_after_s == retry_after_s


def test_draining_waits_for_quiet(engine: Engine, fake: FakeVllm) -> None:
    """It looks until the adapter has been away for the quiet time, and gives up in time."""
    fake.busy = ["v1", "v2", "v1,v2", "v2"]
    assert engine.drain("v1", timeout_s=5.0, quiet_s=0.02, poll_s=0.005)
    assert fake.busy == []
    fake.busy = ["v1"] * 1000
    assert not engine.drain("v1", timeout_s=0.05, quiet_s=0.02, poll_s=0.005)


def test_the_newest_sample_counts() -> None:
    """Of vLLM's piled-up label sets the one with the latest time holds."""
    text = INFO.format("a", "b", 1.5e9) + INFO.format("", "", 1.4e9) + INFO.format("c,d", "e", 1.795564044255682e9)
    assert busy_adapters(text) == {"c", "d", "e"}
    assert busy_adapters("nothing here") == frozenset()


def test_waiting_for_readiness_ends(fake: FakeVllm) -> None:
    """Ready returns; a process that died, or a time that ran out, is a fault."""
    engine = Engine("http://vllm", transport=fake)
    engine.wait_ready(1.0)
    fake.healthy = False
    with pytest.raises(RemoteFault, match="ended before"):
        engine.wait_ready(1.0, alive=lambda: False)
    with pytest.raises(RemoteFault, match="not ready within"):
        engine.wait_ready(0.02, poll_s=0.005)
