"""A recipe's method as a model that peft can train.

In: a base model folder, a recipe, perhaps an adapter to start from. Out: a model with the adapter on it, and the
recipe in effect. Must never know: rows, the training run, the store.

The base is frozen and stands in bf16 (4 bits for qlora); the adapter learns in fp32. Only safetensors are read.
"""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from retrain.recipe import LORAS, MLP, PROMPTS, Recipe
from serving.errors import InvalidInput

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_KINDS = {"PREFIX_TUNING": "prefix", "PROMPT_TUNING": "prompt", "IA3": "ia3"}


def adapted(base: Path, recipe: Recipe, init: Path | None) -> tuple[Any, Recipe]:
    """The base with a trainable adapter on it, and the recipe in effect: an adapter started from keeps its shape.

    Raises InvalidInput for a base or an adapter that cannot be read, and for a method this machine cannot do.
    """
    import torch
    from peft import get_peft_model

    start = None if init is None else read_config(init)
    torch.manual_seed(recipe.seed)
    model = _base(base, recipe)
    if init is None:
        return _ready(get_peft_model(model, _config(recipe, model.config.num_hidden_layers)), recipe), recipe
    recipe = _shape_of(start or {}, recipe, model.config.num_hidden_layers)
    return _ready(continued(model, init), recipe), recipe


def read_config(adapter: Path) -> dict[str, Any]:
    """An adapter's adapter_config.json. Raises InvalidInput when it, or the weights beside it, are not there."""
    try:
        config = json.loads((adapter / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"adapter {adapter} cannot be started from: its {CONFIG} cannot be read") from error
    if not isinstance(config, dict):
        raise InvalidInput(f"adapter {adapter} cannot be started from: its {CONFIG} holds no JSON object")
    if not (adapter / WEIGHTS).is_file():
        raise InvalidInput(f"adapter {adapter} cannot be started from: it has no {WEIGHTS}; other forms are not read")
    return config


def continued(model: Any, adapter: Path, *, trainable: bool = True, name: str = "default") -> Any:
    """The base with a stored adapter on it. Raises InvalidInput when peft cannot put it there."""
    from peft import PeftModel, get_peft_model, load_peft_weights, set_peft_model_state_dict
    from safetensors import SafetensorError

    try:
        if trainable and method_of(read_config(adapter)) in PROMPTS:  # peft goes on with these by hand alone
            model = get_peft_model(model, _stored(adapter), adapter_name=name)
            set_peft_model_state_dict(model, load_peft_weights(adapter, device="cpu"), adapter_name=name)
            return model
        return PeftModel.from_pretrained(
            model, adapter, adapter_name=name, is_trainable=trainable, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise InvalidInput(
            f"adapter {adapter} cannot be started from: {short(error)}; bring its files back, or write "
            "init_from_champion: false"
        ) from error


def _stored(adapter: Path) -> Any:
    """An adapter's configuration, as one that learns."""
    from peft import PeftConfig

    config = PeftConfig.from_pretrained(adapter)
    config.inference_mode = False
    return config


def load_base(base: Path, **how: Any) -> Any:
    """The base model by transformers. Raises InvalidInput when it cannot be read."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        return AutoModelForCausalLM.from_pretrained(base, local_files_only=True, use_safetensors=True, **how)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise InvalidInput(f"base model {base} cannot be read by transformers: {short(error)}") from error


def method_of(config: dict[str, Any]) -> str:
    """The recipe's method by which an adapter with this adapter_config.json was made (qlora leaves a lora)."""
    if config.get("peft_type") in _KINDS:
        return _KINDS[str(config["peft_type"])]
    if config.get("peft_type") != "LORA":
        raise InvalidInput(f"an adapter of peft_type {config.get('peft_type')!r} cannot be started from")
    if config.get("use_dora"):
        return "dora"
    return "rslora" if config.get("use_rslora") else "lora"


def _base(base: Path, recipe: Recipe) -> Any:
    import torch

    dtype = torch.bfloat16 if recipe.precision == "bf16" else torch.float32
    how = {"quantization_config": _four_bits()} if recipe.method == "qlora" else {}
    model = load_base(base, dtype=dtype, **how)
    model.config.use_cache = False
    # What logits_to_keep cuts is not contiguous, and torch would copy the whole output matrix once a row.
    model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0].contiguous(), *args[1:]))
    return model


def _four_bits() -> Any:
    """The 4-bit form of a base (NF4, scales quantised too)."""
    import torch
    from transformers import BitsAndBytesConfig

    refuse_without_gpu()
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip


def refuse_without_gpu() -> None:
    """Raise InvalidInput where qlora cannot be."""
    import torch

    if not torch.cuda.is_available():
        raise InvalidInput("recipe: qlora needs a CUDA GPU, and this machine has none: write method lora")
    if find_spec("bitsandbytes") is None:
        raise InvalidInput("recipe: qlora needs the package bitsandbytes: pip install bitsandbytes")


def _config(recipe: Recipe, layers: int) -> Any:
    from peft import IA3Config, LoraConfig, PrefixTuningConfig, PromptTuningConfig

    if recipe.method == "prefix":
        return PrefixTuningConfig(num_virtual_tokens=recipe.virtual_tokens, task_type="CAUSAL_LM")
    if recipe.method == "prompt":
        return PromptTuningConfig(num_virtual_tokens=recipe.virtual_tokens, task_type="CAUSAL_LM")
    if recipe.method == "ia3":
        return IA3Config(
            target_modules=_names(recipe, layers),
            feedforward_modules=[name for name in _names(recipe, layers) if name.rpartition(".")[2] in MLP],
            task_type="CAUSAL_LM",
        )
    return LoraConfig(
        r=recipe.r,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=list(recipe.modules),
        layers_to_transform=recipe.layers(layers),
        use_rslora=recipe.method == "rslora",
        use_dora=recipe.method == "dora",
        task_type="CAUSAL_LM",
    )


def _names(recipe: Recipe, layers: int) -> list[str]:
    """Module names; (IA)3 has no `layers_to_transform`, so chosen layers are spelt out."""
    chosen = recipe.layers(layers)
    if chosen is None:
        return list(recipe.modules)
    block = {name: "mlp" if name in MLP else "self_attn" for name in recipe.modules}
    return [f"layers.{layer}.{block[name]}.{name}" for layer in chosen for name in recipe.modules]


def _ready(model: Any, recipe: Recipe) -> Any:
    """What a training run asks of the model beside its shape: fp32 where it learns, activations twice if wanted."""
    import torch

    for weight in model.parameters():
        if weight.requires_grad and weight.dtype != torch.float32:
            weight.data = weight.data.float()
    if recipe.gradient_checkpointing:
        model.enable_input_require_grads()
    return model


def _shape_of(config: dict[str, Any], recipe: Recipe, layers: int) -> Recipe:
    """The recipe with the method, rank, scale and place of the adapter that training starts from."""
    method = method_of(config)
    if method in PROMPTS:
        return replace(recipe, method=method, virtual_tokens=int(config["num_virtual_tokens"]))  # type: ignore[arg-type]
    found = config["target_modules"]
    targets = (found,) if isinstance(found, str) else tuple(sorted(found))
    if method not in LORAS:
        return replace(recipe, method=method, targets=targets, last_layers=None)  # type: ignore[arg-type]
    chosen = config.get("layers_to_transform")
    return replace(
        recipe,
        method="qlora" if method == "lora" and recipe.method == "qlora" else method,  # type: ignore[arg-type]
        r=int(config["r"]),
        alpha=int(config["lora_alpha"]),
        dropout=float(config.get("lora_dropout") or 0.0),
        targets=targets,
        last_layers=None if chosen is None else layers - min(chosen),
    )


def short(error: Exception) -> str:
    """A foreign error on one line of at most 200 characters."""
    return " ".join(str(error).split())[:200]
