"""How one adapter is trained: the method and its numbers, in one frozen record.

In: nothing, or a JSON object (a retraining order carries its recipe as JSON).
Out: `Recipe`, which is part of the adapter's manifest, so that every version says how it was made.
Must never know: torch, peft, transformers, files. `retrain.train` turns a recipe into a training run.
"""

from __future__ import annotations

import re
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Literal, get_args

from pydantic import ConfigDict, TypeAdapter, ValidationError

from agent.document import first_fault
from serving.errors import InvalidInput

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")
ALL_LINEAR = ATTENTION + MLP
"""Every linear layer of a Llama block: what "LoRA Without Regret" (Schulman et al. 2025) advises."""
IA3_TARGETS = ("k_proj", "v_proj", "down_proj")
"""What (IA)3 rescales (Liu et al. 2022) when a recipe names no targets of its own."""

Method = Literal["lora", "rslora", "dora", "qlora", "prefix", "prompt", "ia3"]
Schedule = Literal["cosine", "linear", "constant_with_warmup"]
Precision = Literal["bf16", "fp32"]
LORAS = ("lora", "rslora", "dora", "qlora")
"""Methods that leave a LoRA: low-rank updates beside linear layers."""
PROMPTS = ("prefix", "prompt")
"""Methods that learn tokens which no text has, put before every prompt."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run. Frozen, so that what was ordered is what is recorded."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    method: Method = "lora"
    """lora (Hu et al. 2021); rslora: scale alpha / sqrt(r) (Kalajdzievski 2023); dora: direction and magnitude apart
    (Liu et al. 2024); qlora: lora over a base held in 4 bits, on a GPU (Dettmers et al. 2023); prefix: learnt keys and
    values before every layer (Li and Liang 2021); prompt: learnt input vectors (Lester et al. 2021); ia3: learnt
    scales of activations (Liu et al. 2022). Which of them can be served: README.md beside this file."""
    r: int = 16
    """Rank of the update; the engine refuses ranks above its own limit (`--max-lora-rank`)."""
    alpha: int = 32
    """Scale of the update is `alpha / r`."""
    dropout: float = 0.05
    """Dropout ratio on a LoRA's input; 0 is faster and enough for a few hundred steps."""
    targets: tuple[str, ...] = ALL_LINEAR
    """Names of the linear modules which get an update, such as q_proj and v_proj; all of them by default."""
    last_layers: int | None = None
    """Only the last so many blocks get an update (the backward pass stops there); None means all."""
    virtual_tokens: int = 16
    """Tokens that `prefix` and `prompt` learn."""
    lr: float = 1e-3
    """Peak learning rate. `ia3`, `prefix` and `prompt` want ten to thirty times a LoRA's."""
    steps: int = 60
    """Optimizer steps, at most. With `batch` and `accumulation` it fixes the cost, whatever the number of rows."""
    batch: int = 8
    """Rows that go through the model at once."""
    accumulation: int = 1
    """Batches per step: a step sees `batch * accumulation` rows, in the memory of `batch`."""
    workers: int = 1
    """Processes that share each batch, a GPU each where there are GPUs; the adapter is the same but for rounding."""
    cluster: str | None = None
    """None: the workers are processes of this machine. Otherwise the Ray cluster on whose machines they are: `auto`
    for the one that this machine belongs to (RAY_ADDRESS, where several are here), or its HOST:PORT. Every machine of
    it must see the order's `home` and the base model at the same paths."""
    warmup_ratio: float = 0.1
    """Share of the steps over which the learning rate rises, in a line, to its peak."""
    max_length: int = 64
    """Longest row in tokens, prompt and answer together; longer rows are left out, never cut."""
    seed: int = 0
    schedule: Schedule = "cosine"
    """How the learning rate falls after the warm-up."""
    precision: Precision = "bf16"
    """Of the frozen base; the adapter always learns in fp32."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, about a third more time."""
    packing: bool = False
    """Lay the rows of a batch end to end instead of padding them; none of them sees another."""
    evaluations: int = 10
    """Looks at the validation rows, spread evenly over the steps; 0 for none. Without such rows there are none."""
    patience: int = 3
    """Looks without a new least validation loss after which the run stops; the best look's weights are kept."""

    def __post_init__(self) -> None:
        self._numbers()
        self._choices()
        self._together()

    def _numbers(self) -> None:
        for name in (
            "r",
            "alpha",
            "steps",
            "batch",
            "max_length",
            "virtual_tokens",
            "accumulation",
            "patience",
            "workers",
        ):
            if getattr(self, name) < 1:
                raise InvalidInput(f"recipe: {name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.seed < 2**32:
            raise InvalidInput(f"recipe: seed must lie between 0 and {2**32 - 1}, not {self.seed}")
        if self.evaluations < 0:
            raise InvalidInput(f"recipe: evaluations must be at least 0, not {self.evaluations}")
        if self.last_layers is not None and self.last_layers < 1:
            raise InvalidInput(f"recipe: last_layers must be at least 1 or absent, not {self.last_layers}")
        if not self.targets:
            raise InvalidInput("recipe: targets must name at least one module, such as q_proj")
        if not 0.0 < self.lr < 1.0:
            raise InvalidInput(f"recipe: lr must lie between 0 and 1, not {self.lr}")
        if not 0.0 <= self.dropout < 1.0 or not 0.0 <= self.warmup_ratio < 1.0:
            raise InvalidInput("recipe: dropout and warmup_ratio must lie in [0, 1)")

    def _choices(self) -> None:
        for name, kind in (("method", Method), ("schedule", Schedule), ("precision", Precision)):
            if getattr(self, name) not in get_args(kind):
                raise InvalidInput(f"recipe: {name} {getattr(self, name)!r} is none of {', '.join(get_args(kind))}")

    def _together(self) -> None:
        """What no library would do together, said before anything is loaded."""
        if self.batch % self.workers:
            raise InvalidInput(
                f"recipe: {self.workers} workers cannot share a batch of {self.batch} rows evenly: write another batch"
            )
        if self.cluster is not None and self.cluster != "auto" and not re.fullmatch(r"[^/:]+:\d+", self.cluster):
            raise InvalidInput(
                f"recipe: cluster {self.cluster!r} is neither auto nor HOST:PORT of the Ray cluster that this machine "
                "belongs to"
            )
        if self.method in PROMPTS and self.packing:
            raise InvalidInput(f"recipe: {self.method} puts tokens before each row, which packing cannot: leave it out")
        if self.method in PROMPTS and self.last_layers is not None:
            raise InvalidInput(f"recipe: {self.method} works before the first block: leave last_layers out")
        if self.method == "prefix" and self.gradient_checkpointing:
            raise InvalidInput(
                "recipe: prefix needs the key cache, which gradient_checkpointing turns off: leave it out"
            )
        if self.method == "qlora" and self.precision != "bf16":
            raise InvalidInput("recipe: qlora computes in bf16: leave precision out")

    @property
    def rows_per_step(self) -> int:
        """Rows that one optimizer step sees."""
        return self.batch * self.accumulation

    def to_json(self) -> dict[str, Any]:
        """The recipe as a JSON object; `from_json` reads it back.

        Keys younger than the first release stand only where they differ from their default, so that the digests of
        orders and versions made before do not change.
        """
        whole = {**asdict(self), "targets": list(self.targets)}
        plain = {f.name: f.default for f in fields(self) if f.default is not MISSING}
        return {key: value for key, value in whole.items() if key not in _YOUNGER or value != plain[key]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Recipe:
        """Read a recipe from a JSON object; absent keys keep their defaults.

        Raises InvalidInput for a key which no recipe has, naming those it may have.
        """
        for one in fields(cls):  # pydantic takes true for 1
            if isinstance(value.get(one.name), bool) and one.type != "bool":
                said = str(value[one.name]).lower()
                raise InvalidInput(f"recipe: {one.name} must be no {said}: give what retrain/README.md says of it")
        try:
            return TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            raise InvalidInput(f"recipe: {first_fault(error, cls)}") from error

    def layers(self, total: int) -> list[int] | None:
        """Indices of the blocks to train in a model of `total` blocks: peft's `layers_to_transform`."""
        if self.last_layers is None or self.last_layers >= total:
            return None
        return list(range(total - self.last_layers, total))

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules in effect: (IA)3 has targets of its own unless the recipe names some."""
        return IA3_TARGETS if self.method == "ia3" and self.targets == ALL_LINEAR else self.targets


_YOUNGER = (
    "method", "virtual_tokens", "accumulation", "precision", "gradient_checkpointing", "packing", "evaluations",
    "patience", "workers", "cluster",
)  # fmt: skip
