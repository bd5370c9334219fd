"""Several adapters of one base, weighed into one (PEFT's `add_weighted_adapter`).

In: LoRA folders with weights, a base, a way to combine. Out: one LoRA folder, whole or not there.
Must never know: what the adapters learnt, orders. The result is an ordinary LoRA: it is held to a contest and served
like any other, and training may start from it.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from retrain.training.methods import continued, load_base, method_of, read_config, short
from serving.errors import InvalidInput

Way = Literal["linear", "cat", "svd", "ties", "dare_linear", "dare_ties"]
"""linear: the weighted sum, for adapters of one rank; cat: side by side, exact, the ranks add up; svd: the best of one
rank; ties (Yadav et al. 2023) and dare (Yu et al. 2024): small or random updates dropped first, signs agreed on."""
DENSITY = 0.5


def merge(
    base: Path, parts: Sequence[tuple[Path, float]], out: Path, *, way: Way = "cat", density: float = DENSITY
) -> Path:
    """Combine adapters into `out`; returns it. `density` is the share of updates that ties and dare keep.

    Raises InvalidInput for fewer than two adapters, one that is no plain LoRA, and a combination that peft refuses.
    """
    import torch

    if len(parts) < 2:
        raise InvalidInput("merging takes at least two adapters, each with a weight")
    if way not in get_args(Way):
        raise InvalidInput(f"adapters are combined by one of {', '.join(get_args(Way))}, not by {way!r}")
    configs = [read_config(folder) for folder, _ in parts]
    for (folder, _), config in zip(parts, configs, strict=True):
        if method_of(config) not in ("lora", "rslora"):
            raise InvalidInput(f"{folder} is no plain LoRA and cannot be merged: its method is {method_of(config)}")
    ranks = [int(config["r"]) for config in configs]
    if way not in {"cat", "svd"} and len(set(ranks)) > 1:
        raise InvalidInput(f"{way} wants adapters of one rank, and these have {ranks}: use cat or svd")
    torch.manual_seed(0)
    names = [f"part{number}" for number in range(len(parts))]
    model = continued(load_base(base, dtype=torch.bfloat16), parts[0][0], trainable=False, name=names[0])
    for name, (folder, _) in zip(names[1:], parts[1:], strict=True):
        model.load_adapter(folder, adapter_name=name, local_files_only=True, use_safetensors=True)
    how = {} if way in ("linear", "cat", "svd") else {"density": density}
    try:
        model.add_weighted_adapter(names, [weight for _, weight in parts], "merged", combination_type=way, **how)
    except (ValueError, RuntimeError, TypeError) as error:
        raise InvalidInput(f"these adapters cannot be combined by {way}: {short(error)}") from error
    draft = out.with_name(out.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft, selected_adapters=["merged"], safe_serialization=True)
    (draft / "merged").rename(out)
    shutil.rmtree(draft, ignore_errors=True)
    return out
