"""An engine in memory, for tests that would otherwise need vLLM.

`tests/contracts/test_engine.py` holds it to the real one.

In: names and folders. Out: what `serving.engine.Engine` would say. Must never know: HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.types import Unservable


class MemoryEngine:
    """Serves `base` and whatever is loaded; an adapter's answers are a function of its weights and the prompt."""

    def __init__(self) -> None:
        self.loaded: dict[str, str] = {}
        self.up = True
        self.calls: list[str] = []

    def live(self) -> bool:
        """Whether it answers; tests switch `up`."""
        return self.up

    def models(self) -> Mapping[str, str]:
        """Base and adapters."""
        return {"base": "", **self.loaded}

    def load(self, name: str, folder: Path | str) -> None:
        """Load an adapter; a folder without weights is refused like vLLM refuses it."""
        if not (Path(folder) / "adapter_model.safetensors").exists():
            raise Unservable(f"cannot load the adapter {name} from {folder}: no weights")
        self.calls.append(f"load {name}")
        self.loaded[name] = str(folder)

    def unload(self, name: str) -> None:
        """Forget it; an unknown name is fine."""
        self.calls.append(f"unload {name}")
        self.loaded.pop(name, None)

    def probe(self, name: str, probes: Sequence[Sequence[Mapping[str, str]]]) -> list[str]:
        """Deterministic answers that differ between adapters."""
        weights = (Path(self.loaded[name]) / "adapter_model.safetensors").read_bytes()
        return [f"{sum(weights) % 97} {messages[-1]['content']}" for messages in probes]

    def crash(self) -> None:
        """As after a restart of vLLM: it answers, and every adapter is gone."""
        self.loaded.clear()
