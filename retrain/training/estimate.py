"""What a run will need, said before it begins: memory and time.

In: the shapes of the base's weights, the recipe, the rows' lengths, the machine's speed. Out: `Estimate`.
Must never know: the model itself (only the headers of its files are read), the trainer.

Arithmetic, not measurement. Forward and backward through frozen weights cost 4 operations a weight and token (the
weights' own gradients, another 2, are never computed); the output layer costs as much at the kept columns only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from retrain.recipe import LORAS, PROMPTS, Recipe
from serving.errors import InvalidInput

RUNTIME_BYTES = 450_000_000
"""Python with torch, transformers and peft loaded and idle."""
LEARNT_BYTES = 16
"""A learnt weight in fp32, its gradient, and Adam's two moments."""
FOUR_BITS = 0.56
"""Bytes of a weight in 4 bits with its scales (NF4, scales quantised too)."""
HEADER_LIMIT = 100_000_000
REACHED = {"cpu": 0.2, "cuda": 0.35}
"""Share of the bare products' speed that a training step reaches. cpu: measured, 135 million weights, 8 rows of 48
tokens, two cores with bf16 instructions: 71 of 350 billion operations a second (the rest goes into the fp32 adapter's
small operations). cuda: what such runs are reported to reach; not measured here."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """`memory_bytes` is the peak of the process, everything in it; `seconds` the whole of the steps."""

    base_weights: int
    learnt_weights: int
    base_bytes: int
    activation_bytes: int
    memory_bytes: int
    operations_per_step: float
    operations_per_s: float
    seconds_per_step: float
    seconds: float

    def to_json(self) -> dict[str, float]:
        """For the record."""
        return asdict(self)

    @property
    def says(self) -> str:
        """One line for a person."""
        return (
            f"expected: {self.memory_bytes / 1e9:.1f} GB, {self.seconds_per_step:.2g} s a step, "
            f"{self.seconds / 60:.1f} min; {self.learnt_weights:,} of {self.base_weights:,} weights are learnt"
        )


def estimate(
    shapes: Mapping[str, Sequence[int]], recipe: Recipe, lengths: Sequence[tuple[int, int]], operations_per_s: float
) -> Estimate:
    """The estimate (pure). `shapes` name -> shape of the base's weights; `lengths` (prompt, answer) tokens a row."""
    total = sum(_size(shape) for shape in shapes.values())
    vocab, hidden = next((shape for name, shape in shapes.items() if name.endswith("embed_tokens.weight")), (0, 0))
    linear = {name: shape for name, shape in shapes.items() if _is_linear(name) and len(shape) == 2}
    inner = sum(_size(shape) for shape in linear.values())
    rows, columns = _per_batch(recipe, lengths)
    layers = len({_layer(name) for name in linear}) or 1
    learnt = _learnt(recipe, linear, layers, hidden)
    kept = _kept_bytes(recipe, linear, layers, hidden)
    logits = columns * vocab * 4 * 3  # the logits, their fp32 form, their gradient
    each = 4 if recipe.precision == "fp32" else 2
    base = round(inner * FOUR_BITS + (total - inner) * 2) if recipe.method == "qlora" else total * each
    activations = round(rows * kept + logits)
    again = 6 if recipe.gradient_checkpointing else 4
    operations = recipe.accumulation * (again * inner * rows + 4 * vocab * hidden * columns)
    step_s = operations / operations_per_s
    return Estimate(
        base_weights=total,
        learnt_weights=learnt,
        base_bytes=base,
        activation_bytes=activations,
        memory_bytes=RUNTIME_BYTES + base + activations + learnt * LEARNT_BYTES,
        operations_per_step=operations,
        operations_per_s=operations_per_s,
        seconds_per_step=step_s,
        seconds=step_s * recipe.steps,
    )


def read_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of all weights of a model folder, from the headers of its safetensors files."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(base.glob("*.safetensors")):
        try:
            with path.open("rb") as stream:
                size = int.from_bytes(stream.read(8), "little")
                if size > HEADER_LIMIT:
                    raise ValueError(size)  # noqa: TRY301
                header: dict[str, Any] = json.loads(stream.read(size))
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{path} is no safetensors file that can be read") from error
        found |= {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    if not found:
        raise InvalidInput(f"base model {base} has no .safetensors weights; other forms are not read")
    return found


def machine_speed(precision: str, *, rows: int, hidden: int = 576, inner: int = 1536, budget_s: float = 0.3) -> float:
    """Operations a second to expect of training here: products of like shape, best of a few, times REACHED."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    left = torch.ones(max(8, rows), hidden, dtype=dtype, device=device)
    right = torch.ones(inner, hidden, dtype=dtype, device=device)
    best, begun = float("inf"), time.perf_counter()
    while time.perf_counter() - begun < budget_s:
        start = time.perf_counter()
        torch.nn.functional.linear(left, right)
        if device == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return REACHED[device] * 2.0 * max(8, rows) * hidden * inner / best


def _per_batch(recipe: Recipe, lengths: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """(tokens through the blocks, columns through the output layer) of a mean batch, with its padding."""
    if not lengths:
        return 0.0, 0.0
    extra = recipe.virtual_tokens if recipe.method in PROMPTS else 0
    wholes = sorted(prompt + answer for prompt, answer in lengths)
    answers = [answer for _, answer in lengths]
    if recipe.packing:
        return recipe.batch * _mean(wholes), recipe.batch * _mean(answers)
    chunks = [wholes[at : at + recipe.batch] for at in range(0, len(wholes), recipe.batch)]
    wide = _mean([max(chunk) for chunk in chunks]) + extra
    columns = wide if recipe.method in PROMPTS else max(answers) + 1
    return recipe.batch * wide, recipe.batch * columns


def _learnt(recipe: Recipe, linear: Mapping[str, Sequence[int]], layers: int, hidden: int) -> int:
    if recipe.method == "prompt":
        return recipe.virtual_tokens * hidden
    if recipe.method == "prefix":
        keys = [shape[0] for name, shape in linear.items() if name.endswith(("k_proj.weight", "v_proj.weight"))]
        return recipe.virtual_tokens * sum(keys)
    chosen = recipe.layers(layers)
    shapes = [
        shape for name, shape in linear.items()
        if name.removesuffix(".weight").rpartition(".")[2] in recipe.modules
        and (chosen is None or _layer(name) in map(str, chosen))
    ]  # fmt: skip
    if recipe.method in LORAS:
        more = sum(out for out, _ in shapes) if recipe.method == "dora" else 0
        return sum(recipe.r * (out + into) for out, into in shapes) + more
    return sum(out for out, _ in shapes)


def _kept_bytes(recipe: Recipe, linear: Mapping[str, Sequence[int]], layers: int, hidden: int) -> float:
    """Bytes a token that the backward pass needs: outputs of all linear layers, a LoRA's inputs in fp32, norms."""
    each = 4 if recipe.precision == "fp32" else 2
    outputs = sum(out for out, _ in linear.values()) * each
    inputs = 0
    if recipe.method in LORAS:
        copies = 3 if recipe.dropout else 1  # the input in fp32, what dropout left of it, and its mask
        inputs = sum(
            into * 4 * copies for name, (_, into) in linear.items()
            if name.removesuffix(".weight").rpartition(".")[2] in recipe.modules
        )  # fmt: skip
    norms = layers * hidden * 4 * 4
    whole = outputs + inputs + norms
    return whole / layers + layers * hidden * each if recipe.gradient_checkpointing else whole


def _is_linear(name: str) -> bool:
    return name.endswith("_proj.weight") or ".mlp." in name or ".self_attn." in name


def _layer(name: str) -> str:
    parts = name.split(".")
    return parts[parts.index("layers") + 1] if "layers" in parts else ""


def _size(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


def _mean(numbers: Sequence[int]) -> float:
    return sum(numbers) / len(numbers)
