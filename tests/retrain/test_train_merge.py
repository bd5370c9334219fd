"""Several adapters weighed into one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retrain.training.merge import merge
from serving.errors import InvalidInput
from serving.servable import check_servable
from tests.estate import tiny


def updates(folder: Path) -> dict[str, Any]:
    """Give each module's whole update, scale included."""
    import json

    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text())
    tensors = load_file(folder / "adapter_model.safetensors")
    scale = config["lora_alpha"] / config["r"]
    return {
        name.replace(".lora_A.weight", ""): scale * tensors[name.replace("lora_A", "lora_B")] @ tensors[name]
        for name in tensors if ".lora_A." in name
    }  # fmt: skip


def test_a_merge_is_the_weighted_sum(tiny_model: Path, tiny_adapters: list[Path], tmp_path: Path) -> None:
    """Side by side the updates add up exactly, and the result is a LoRA that can be served and has no leftovers."""
    out = merge(tiny_model, [(tiny_adapters[0], 0.7), (tiny_adapters[1], 0.3)], tmp_path / "m")
    one, other, both = (updates(folder) for folder in (*tiny_adapters[:2], out))
    assert one.keys() == both.keys()
    for name, whole in both.items():
        assert (whole - 0.7 * one[name] - 0.3 * other[name]).abs().max() < 0.02 * whole.abs().max()
    check_servable(out, max_rank=16)
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize("way", ["linear", "svd", "ties", "dare_linear", "dare_ties"])
def test_every_way_leaves_a_servable_lora(
    tiny_model: Path, tiny_adapters: list[Path], tmp_path: Path, way: Any
) -> None:
    """Each way keeps the rank."""
    out = merge(tiny_model, [(tiny_adapters[0], 1.0), (tiny_adapters[1], 1.0)], tmp_path / "m", way=way)
    check_servable(out, max_rank=8)


def test_what_cannot_be_merged_is_refused(tiny_model: Path, tiny_adapters: list[Path], tmp_path: Path) -> None:
    """One adapter, unequal ranks, DoRA and an unknown way are one sentence each."""
    wide = tiny.build_adapter(tmp_path / "wide", tiny_model, seed=4, rank=4)
    dora = tiny.build_adapter(tmp_path / "dora", tiny_model, seed=4, use_dora=True)
    for parts, way, says in (
        ([(wide, 1.0)], "cat", "at least two"),
        ([(wide, 1.0), (tiny_adapters[0], 1.0)], "linear", r"one rank, and these have \[4, 8\]"),
        ([(dora, 1.0), (tiny_adapters[0], 1.0)], "cat", "its method is dora"),
        ([(wide, 1.0), (tiny_adapters[0], 1.0)], "sum", "not by 'sum'"),
    ):
        with pytest.raises(InvalidInput, match=says):
            merge(tiny_model, parts, tmp_path / "m", way=way)  # type: ignore[arg-type]
