"""How one LoRA adapter is trained: the numbers, in one frozen record.

In: nothing, or a JSON object (a retraining order carries its recipe as JSON).
Out: `Recipe`, which is part of the adapter's manifest, so that every version says how it was made.
Must never know: torch, peft, transformers, files. `retrain.train` turns a recipe into a training run.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from serving.errors import InvalidInput

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
ALL_LINEAR = ATTENTION + MLP
"""Every linear layer of a Llama block: what "LoRA Without Regret" (Schulman et al. 2025) advises."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One LoRA training run. Frozen, so that what was ordered is what is recorded."""

    r: int = 16
    """Rank of the update; the engine refuses ranks above its own limit (`--max-lora-rank`)."""
    alpha: int = 32
    """Scale of the update is `alpha / r`."""
    dropout: float = 0.0
    """Dropout ratio on the adapter's input; 0 for runs as short as ours."""
    targets: tuple[str, ...] = ALL_LINEAR
    """Names of the linear modules which get an update."""
    last_layers: int | None = None
    """Only the last so many blocks get an update (the backward pass stops there); None means all."""
    lr: float = 1e-3
    """Peak learning rate."""
    steps: int = 60
    """Optimizer steps. With `batch` it fixes the cost of the run, whatever the number of rows."""
    batch: int = 8
    """Rows per step."""
    warmup_ratio: float = 0.1
    """Share of the steps over which the learning rate rises to its peak."""
    max_length: int = 64
    """Longest row in tokens, prompt and answer together; longer rows are refused, never cut."""
    seed: int = 0
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    """How the learning rate falls after the warm-up."""

    def __post_init__(self) -> None:
        for name in ("r", "alpha", "steps", "batch", "max_length"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"recipe: {name} must be at least 1, not {getattr(self, name)}")
        if self.last_layers is not None and self.last_layers < 1:
            raise InvalidInput(f"recipe: last_layers must be at least 1 or absent, not {self.last_layers}")
        if not self.targets:
            raise InvalidInput("recipe: targets must name at least one module, such as q_proj")
        if not 0.0 < self.lr < 1.0:
            raise InvalidInput(f"recipe: lr must lie between 0 and 1, not {self.lr}")
        if not 0.0 <= self.dropout < 1.0 or not 0.0 <= self.warmup_ratio < 1.0:
            raise InvalidInput("recipe: dropout and warmup_ratio must lie in [0, 1)")

    def to_json(self) -> dict[str, Any]:
        """The recipe as a JSON object; `from_json` reads it back."""
        return {**asdict(self), "targets": list(self.targets)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        """Read a recipe from a JSON object; absent keys keep their defaults.

        Raises InvalidInput for a key which no recipe has, naming those it may have.
        """
        known = [f.name for f in fields(cls)]
        unknown = sorted(set(value) - set(known))
        if unknown:
            raise InvalidInput(f"recipe: unknown key {unknown[0]!r}; write one of {', '.join(known)}")
        return cls(**{**value, **({"targets": tuple(value["targets"])} if "targets" in value else {})})

    def layers(self, total: int) -> list[int] | None:
        """Indices of the blocks to train in a model of `total` blocks: peft's `layers_to_transform`."""
        if self.last_layers is None or self.last_layers >= total:
            return None
        return list(range(total - self.last_layers, total))
