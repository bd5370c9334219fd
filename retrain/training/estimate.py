"""What a run will need, said before it begins: memory and time.

In: the shapes of the base's weights, the recipe, the rows' lengths, the machine's speed. Out: `Estimate`.
Must never know: the model itself (only the headers of its files are read), the trainer.

Arithmetic, not measurement. Forward and backward through frozen weights cost 4 operations a weight and token (the
weights' own gradients, another 2, are never computed); the output layer costs as much at the kept columns only.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
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
REACHED = {"cpu": 0.45, "cuda": 0.35}
"""Share of the measured speed that a training step reaches: attention, norms, the loss, the optimiser cost the rest.
cpu, of a learnt layer's speed, on two cores with bf16 matrix instructions: 0.38 (135 million weights, bf16, 8 rows of
48 tokens), 0.53 (4 rows of 280), 0.8 (fp32, 8 of 48), 0.24 (200,000 weights, bf16). cuda, of bare products: what such
runs are reported to reach; not measured here."""
LORA_RANK, LORA_DROPOUT = 16, 0.05
"""Of the layer that is measured."""


_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "word_embeddings.weight")
_BLOCKS = (".mlp.", ".self_attn.", ".attn.", ".attention.", ".self_attention.")
"""Parts of the names by which Llama, GPT-2, GPT-NeoX and their kin call their embedding and what a block is made of."""


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
    vocab, hidden = next((shape for name, shape in shapes.items() if name.endswith(_EMBEDDINGS)), (0, 0))
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


def machine_speed(precision: str, *, rows: int, hidden: int, inner: int, budget_s: float = 0.4) -> float:
    """Operations a second to expect of training here, by a layer of like shape, times REACHED.

    On a CPU a LoRA's small operations and what else the machine does cost more than the products: so a whole layer goes
    forward and back for a while, and a fast time counts (the first quartile), not the fastest. `rows`: tokens a batch.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    act = (_product if device == "cuda" else _layer_step)(max(8, rows), hidden, inner, dtype, device)
    act()  # the first one is slower
    took: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < budget_s or not took:
        start = time.perf_counter()
        act()
        took.append(time.perf_counter() - start)
    passes = 1 if device == "cuda" else 2  # forward; forward and back
    return (
        REACHED[device] * passes * 2.0 * max(8, rows) * hidden * inner / statistics.quantiles([*took, took[0]], n=4)[0]
    )


def _product(rows: int, hidden: int, inner: int, dtype: Any, device: str) -> Callable[[], None]:
    import torch

    left = torch.ones(rows, hidden, dtype=dtype, device=device)
    right = torch.ones(inner, hidden, dtype=dtype, device=device)

    def act() -> None:
        torch.nn.functional.linear(left, right)
        torch.cuda.synchronize()

    return act


def _layer_step(rows: int, hidden: int, inner: int, dtype: Any, device: str) -> Callable[[], None]:
    """A frozen layer with a LoRA in fp32 beside it, forward and back."""
    import torch
    from torch.nn.functional import dropout, linear

    given = torch.ones(rows, hidden, dtype=dtype, device=device, requires_grad=True)
    frozen = torch.ones(inner, hidden, dtype=dtype, device=device)
    down = torch.ones(LORA_RANK, hidden, device=device, requires_grad=True)
    up = torch.ones(inner, LORA_RANK, device=device, requires_grad=True)

    def act() -> None:
        beside = linear(linear(dropout(given.float(), LORA_DROPOUT), down), up).to(dtype)
        (linear(given, frozen) + beside).sum().backward()

    return act


def layer_of(shapes: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    """(inputs, outputs) of a layer that is like the base's linear ones on average; a small one where none is known."""
    found = [shape for name, shape in shapes.items() if _is_linear(name) and len(shape) == 2]
    if not found:
        return 576, 1536
    into = sum(shape[1] for shape in found)
    return round(into / len(found)), round(sum(map(_size, found)) / into)


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
    return name.endswith("_proj.weight") or any(part in name for part in _BLOCKS)


def _layer(name: str) -> str:
    return next((part for part in name.split(".") if part.isdigit()), "")


def _size(shape: Sequence[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


def _mean(numbers: Sequence[int]) -> float:
    return sum(numbers) / len(numbers)
