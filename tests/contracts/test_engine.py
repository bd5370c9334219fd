"""One suite for the engine that tests keep in memory and for the real vLLM: what a rollout may rely on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.rollout.hold import EnginePort
from agent.types import Unservable
from serving.engine import Engine
from tests.estate.engines import MemoryEngine

CHATS = [[{"role": "user", "content": text}] for text in ("turn on the light", "close the garage door")]


@pytest.fixture(params=["memory", pytest.param("vllm", marks=pytest.mark.engine)])
def engine(request: pytest.FixtureRequest) -> Iterator[EnginePort]:
    """An engine without adapters."""
    if request.param == "memory":
        yield MemoryEngine()
        return
    server = request.getfixturevalue("vllm_tiny")
    with Engine(server.url, server.token) as real:
        yield real
        for name in ("contract-a", "contract-b"):
            real.unload(name)


def test_an_adapter_is_there_after_load_and_gone_after_unload(engine: EnginePort, tiny_adapters: list[Path]) -> None:
    """Loading twice and unloading twice is fine; `models` names the folder."""
    assert engine.live()
    assert "base" in engine.models()
    for _ in range(2):
        engine.load("contract-a", tiny_adapters[0])
    assert engine.models()["contract-a"] == str(tiny_adapters[0])
    for _ in range(2):
        engine.unload("contract-a")
    assert "contract-a" not in engine.models()


def test_a_probe_tells_adapters_apart_and_repeats_itself(engine: EnginePort, tiny_adapters: list[Path]) -> None:
    """Greedy answers are the same each time, and each adapter has its own."""
    engine.load("contract-a", tiny_adapters[0])
    engine.load("contract-b", tiny_adapters[1])
    assert engine.probe("contract-a", CHATS) == engine.probe("contract-a", CHATS)
    assert engine.probe("contract-a", CHATS) != engine.probe("contract-b", CHATS)


def test_a_folder_that_is_no_adapter_is_unservable(engine: EnginePort, tmp_path: Path) -> None:
    """The engine says so, lives on, and does not list the name."""
    with pytest.raises(Unservable):
        engine.load("contract-a", tmp_path)
    assert engine.live()
    assert "contract-a" not in engine.models()
