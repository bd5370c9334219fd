"""Every method, and every way to save memory or time, on a tiny Llama."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retrain.curate.rows import Row
from retrain.recipe import Recipe
from retrain.train import Diverged, train
from retrain.training.record import FILE, PICTURE
from serving.errors import InvalidInput

SHORT = Recipe(r=4, alpha=8, dropout=0.0, lr=0.01, steps=2, batch=4, max_length=200)
ROWS = [
    Row(id=str(n), messages=(("user", f"turn on light {n}"),), answer=f"on {n}", source="replay", group=str(n))
    for n in range(12)
]


def saved(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read an adapter's configuration and tensors."""
    from safetensors.torch import load_file

    config = json.loads((folder / "adapter_config.json").read_text())
    return config, dict(load_file(folder / "adapter_model.safetensors"))


@pytest.mark.parametrize(
    ("changes", "kind", "has"),
    [
        ({"method": "rslora"}, "LORA", {"use_rslora": True}),
        ({"method": "dora"}, "LORA", {"use_dora": True}),
        ({"targets": ("q_proj", "v_proj"), "last_layers": 1}, "LORA", {"layers_to_transform": [1]}),
        ({"method": "ia3", "last_layers": 1}, "IA3", {}),
        ({"method": "ia3"}, "IA3", {"feedforward_modules": ["down_proj"]}),
        ({"method": "prefix", "virtual_tokens": 4}, "PREFIX_TUNING", {"num_virtual_tokens": 4}),
        ({"method": "prompt", "virtual_tokens": 4}, "PROMPT_TUNING", {"num_virtual_tokens": 4}),
    ],
)
def test_each_method_trains_and_can_be_started_from(
    tiny_model: Path, tmp_path: Path, changes: dict[str, Any], kind: str, has: dict[str, Any]
) -> None:
    """Two steps leave the kind of adapter that was asked for, and two more go on from it, keeping its kind."""
    recipe = replace(SHORT, **changes)
    train(ROWS, tiny_model, tmp_path / "a", recipe)
    config, first = saved(tmp_path / "a")
    assert config["peft_type"] == kind
    assert {key: config[key] for key in has} == has
    done = train(ROWS, tiny_model, tmp_path / "b", SHORT, init=tmp_path / "a")
    again, second = saved(tmp_path / "b")
    assert done.recipe.method == recipe.method
    assert again["peft_type"] == kind
    assert first.keys() == second.keys()
    assert any((first[name] - second[name]).abs().max() > 0 for name in first)


@pytest.mark.parametrize(
    "changes",
    [
        {"packing": True},
        {"gradient_checkpointing": True},
        {"batch": 2, "accumulation": 2},
        {"packing": True, "gradient_checkpointing": True},
    ],
)
def test_ways_to_save_learn_the_same(tiny_model: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Packing, checkpointing and accumulation change cost, not what is learnt: the losses are the plain run's."""
    plain = replace(SHORT, precision="fp32", schedule="constant_with_warmup")
    losses = []
    for name, recipe in (("a", plain), ("b", replace(plain, **changes))):
        done = train(ROWS[:4], tiny_model, tmp_path / name, recipe)
        losses.append([point["loss"] for point in done.curve])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_run_that_learns_nothing_new_stops_and_keeps_its_best(tiny_model: Path, tmp_path: Path) -> None:
    """After `patience` looks without a better one the run ends, says so, and leaves the best look's weights."""
    others = [replace(row, answer="something else") for row in ROWS[:4]]
    recipe = replace(SHORT, lr=0.02, steps=30, evaluations=30, patience=2)
    said: list[str] = []
    done = train(ROWS, tiny_model, tmp_path / "a", recipe, valid=others, say=said.append, record_in=tmp_path / "r")
    assert done.stopped.startswith("no better validation loss")
    assert done.steps == done.best_step + 2 < 30
    looks = {point["step"]: point["eval_loss"] for point in done.curve if "eval_loss" in point}
    assert done.valid_loss == looks[done.best_step] == min(loss for step, loss in looks.items() if step)
    assert 0 in looks
    assert any("stopped at step" in line for line in said)


def test_a_run_that_comes_apart_says_what_to_change(tiny_model: Path, tmp_path: Path) -> None:
    """A validation loss that rises and rises ends the run with a sentence about the recipe, and leaves nothing."""
    train(ROWS, tiny_model, tmp_path / "good", replace(SHORT, lr=0.02, steps=20))
    recipe = replace(SHORT, lr=0.9, steps=20, evaluations=20, patience=20, warmup_ratio=0.9)
    with pytest.raises(Diverged, match=r"validation loss rose 3 times in a row.*take a third of recipe\.lr"):
        train(ROWS, tiny_model, tmp_path / "a", recipe, init=tmp_path / "good", valid=ROWS[:4])
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"dropout": 0.3},
        {"method": "dora"},
        {"method": "prompt"},
        {"method": "prefix"},
        {"method": "ia3"},
        {"accumulation": 2},
        {"packing": True},
    ],
)
def test_every_method_goes_on_exactly(tiny_model: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    """A run that broke off between two looks ends with the weights and the losses of an unbroken run."""
    recipe = replace(SHORT, steps=6, evaluations=3, **changes)

    def breaks(step: int, _loss: float) -> None:
        if step == 5:
            raise KeyboardInterrupt

    whole = train(ROWS, tiny_model, tmp_path / "a", recipe, valid=ROWS[:5])
    with pytest.raises(KeyboardInterrupt):
        train(ROWS, tiny_model, tmp_path / "b", recipe, valid=ROWS[:5], on_step=breaks)
    broken = train(ROWS, tiny_model, tmp_path / "b", recipe, valid=ROWS[:5])
    assert (whole.resumed_at, broken.resumed_at) == (0, 4)
    assert [point["step"] for point in broken.curve] == [0, 1, 2, 3, 4, 5, 6]
    assert broken.curve[-1] == pytest.approx(whole.curve[-1])
    one, other = saved(tmp_path / "a")[1], saved(tmp_path / "b")[1]
    assert all((one[name] - other[name]).abs().max() < 1e-6 for name in one)


def test_a_run_leaves_a_record_and_a_picture(tiny_model: Path, tmp_path: Path) -> None:
    """What was expected and what was measured stand in training.json, every step's loss too, beside a real PNG."""
    said: list[str] = []
    train(ROWS, tiny_model, tmp_path / "a", SHORT, record_in=tmp_path / "r", say=said.append)
    document = json.loads((tmp_path / "r" / FILE).read_text())
    _, tensors = saved(tmp_path / "a")
    assert document["expected"]["learnt_weights"] == sum(tensor.numel() for tensor in tensors.values())
    assert [point["step"] for point in document["curve"]] == [1, 2]
    assert document["measured"]["tokens_per_s"] > 0
    assert document["measured"]["peak_bytes"] > 50_000_000
    assert (tmp_path / "r" / PICTURE).read_bytes().startswith(b"\x89PNG")
    assert [line.split(":")[0] for line in said] == ["expected", "measured"]


def test_four_bits_need_a_gpu(tiny_model: Path, tmp_path: Path) -> None:
    """On a machine without a GPU qlora is refused in one sentence."""
    import torch

    if torch.cuda.is_available():
        return
    with pytest.raises(InvalidInput, match="qlora needs a CUDA GPU"):
        train(ROWS, tiny_model, tmp_path / "a", replace(SHORT, method="qlora"))


@pytest.mark.parametrize("torn", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_torn_adapter_is_refused(tiny_model: Path, tiny_adapters: list[Path], tmp_path: Path, torn: str) -> None:
    """An adapter of which a file is cut off cannot be started from, and one sentence says so."""
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        whole = (tiny_adapters[0] / name).read_bytes()
        (broken / name).write_bytes(whole[: len(whole) // 2] if name == torn else whole)
    with pytest.raises(InvalidInput, match="cannot be started from") as caught:
        train(ROWS, tiny_model, tmp_path / "a", SHORT, init=broken)
    assert "\n" not in str(caught.value)
    (broken / "adapter_model.safetensors").rename(broken / "adapter_model.bin")
    with pytest.raises(InvalidInput, match="cannot be started from"):
        train(ROWS, tiny_model, tmp_path / "a", SHORT, init=broken)
