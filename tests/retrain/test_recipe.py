"""Recipes: what is let in, what stays as it was, and the pure rules around a run."""

from __future__ import annotations

import math
from typing import Any

import pytest

from retrain.recipe import Recipe
from retrain.training import cluster, record, watch
from retrain.training.estimate import estimate, layer_of
from serving.errors import InvalidInput

SHAPES = {
    "model.embed_tokens.weight": (512, 64),
    **{f"model.layers.{n}.self_attn.{p}_proj.weight": (64, 64) for n in (0, 1) for p in "qkvo"},
    **{f"model.layers.{n}.mlp.{p}_proj.weight": (128, 64) for n in (0, 1) for p in ("gate", "up")},
    **{f"model.layers.{n}.mlp.down_proj.weight": (64, 128) for n in (0, 1)},
    "model.norm.weight": (64,),
}
LENGTHS = [(20, 4)] * 32


def test_younger_keys_leave_old_digests_alone() -> None:
    """A recipe that uses none of the younger keys writes the JSON that it wrote before there were any."""
    plain = Recipe(dropout=0.0).to_json()
    assert set(plain) == {
        "r", "alpha", "dropout", "targets", "last_layers", "lr", "steps", "batch", "warmup_ratio", "max_length", "seed",
        "schedule",
    }  # fmt: skip
    changed = Recipe(method="dora", packing=True, evaluations=0)
    assert Recipe.from_json(changed.to_json()) == changed
    assert changed.to_json()["method"] == "dora"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"method": "lora2"}, "method 'lora2' is none of lora, rslora"),
        ({"schedule": "up"}, "schedule"),
        ({"precision": "fp8"}, "precision"),
        ({"method": "prompt", "packing": True}, "packing cannot"),
        ({"method": "prefix", "gradient_checkpointing": True}, "key cache"),
        ({"method": "prefix", "last_layers": 2}, "before the first block"),
        ({"method": "qlora", "precision": "fp32"}, "computes in bf16"),
        ({"accumulation": 0}, "accumulation must be at least 1"),
        ({"patience": 0}, "patience"),
        ({"evaluations": -1}, "evaluations"),
        ({"cluster": "ray://head:10001"}, "neither auto nor HOST:PORT"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, Any], says: str) -> None:
    """Every combination that no library would do is named, with what to write instead, before anything is loaded."""
    with pytest.raises(InvalidInput, match=says):
        Recipe(**changes)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"r": "many"}, r"recipe: r: .*valid integer.* \(given: 'many'\)"),
        ({"lr": None}, r"recipe: lr: .*valid number \(given: None\)"),
        ({"steps": True}, "recipe: steps must be no true"),
        ({"targets": "q_proj"}, r"recipe: targets: write a list \(given: 'q_proj'\)"),
        ({"targets": ["q_proj", 3]}, r"recipe: targets\.1: .*valid string \(given: 3\)"),
        ({"lrr": 0.1}, "unknown key 'lrr'; known keys there are: accumulation, alpha"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(document: dict[str, Any], says: str) -> None:
    """What a person wrote is said back with its key; nobody sees Python's own words about it."""
    with pytest.raises(InvalidInput, match=says):
        Recipe.from_json(document)


def test_a_cluster_wants_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray is not installed the order is refused before anything is done, with the command that brings it."""
    assert Recipe.from_json({"workers": 2, "cluster": "head:6379"}).to_json()["cluster"] == "head:6379"
    monkeypatch.setattr(cluster, "find_spec", lambda _name: None)
    with pytest.raises(InvalidInput, match=r"pip install 'trimtab\[ray\]'"):
        cluster.refuse_without_ray()


def test_a_loss_that_rises_from_good_to_bad_has_come_apart() -> None:
    """Three rises in a row above the start end a run; noise, a rise below the start, and two rises do not."""
    assert watch.came_apart([1.0, 0.5, 0.9, 1.1, 1.3], what="x")
    assert not watch.came_apart([1.0, 0.5, 0.6, 0.7, 0.8], what="x")
    assert not watch.came_apart([1.0, 1.5, 1.4, 1.6, 1.7], what="x")
    assert not watch.came_apart([1.0, 1.2, 1.3], what="x")
    assert watch.no_number(3, math.inf)
    assert watch.blocks([1.0] * 12, 60) == [1.0, 1.0]


def test_patience_counts_looks_since_the_best() -> None:
    """A run out of patience names its best look; an equal loss is no better one."""
    looks = [(10, 1.0), (20, 0.8), (30, 0.8), (40, 0.9)]
    assert watch.out_of_patience(looks, 3) is None
    assert "step 20 in 2 looks" in str(watch.out_of_patience(looks, 2))
    assert watch.out_of_patience([], 1) is None


def test_an_estimate_moves_as_it_must() -> None:
    """More rank learns more, checkpointing and four bits hold less, twice the rows cost twice, packing pads nothing."""

    def of(**changes: Any) -> Any:
        return estimate(SHAPES, Recipe(r=8, max_length=64, **changes), LENGTHS, 1e9)

    plain = of()
    assert plain.learnt_weights == 8 * sum(sum(shape) for name, shape in SHAPES.items() if "_proj" in name)
    assert of(targets=("q_proj", "v_proj")).learnt_weights == 8 * 4 * 128
    assert of(last_layers=1).learnt_weights * 2 == plain.learnt_weights
    assert of(gradient_checkpointing=True).activation_bytes < plain.activation_bytes
    assert of(gradient_checkpointing=True).seconds > plain.seconds
    assert of(method="qlora").base_bytes < plain.base_bytes < of(precision="fp32").base_bytes
    assert of(accumulation=2).seconds == pytest.approx(2 * plain.seconds)
    assert of(method="prompt", virtual_tokens=4).learnt_weights == 4 * 64
    assert of(packing=True).operations_per_step < plain.operations_per_step
    assert "weights are learnt" in plain.says


def test_a_base_of_another_kin_is_estimated_too() -> None:
    """GPT-2 names its parts otherwise; its layers, its vocabulary and what is learnt of them count all the same."""
    shapes = {
        "transformer.wte.weight": (512, 64), "transformer.wpe.weight": (128, 64),
        **{f"transformer.h.{n}.attn.c_attn.weight": (64, 192) for n in (0, 1)},
        **{f"transformer.h.{n}.mlp.c_fc.weight": (64, 256) for n in (0, 1)},
    }  # fmt: skip
    found = estimate(shapes, Recipe(r=8, max_length=64, targets=("c_attn",)), LENGTHS, 1e9)
    assert found.learnt_weights == 2 * 8 * (64 + 192)
    through_blocks, through_output = 2 * 64 * (192 + 256) * 8 * 24, 512 * 64 * 8 * 5
    assert found.operations_per_step == 4 * (through_blocks + through_output)
    assert layer_of(SHAPES) == (73, 80)


def test_a_history_told_twice_stands_once() -> None:
    """A run that went on logs some steps again: the last word counts, the order is that of steps."""
    history = [{"step": 0, "eval_loss": 2.0}, {"step": 1, "loss": 1.0}, {"step": 1, "eval_loss": 1.5},
               {"step": 2, "loss": 0.9}, {"step": 2, "loss": 0.8, "epoch": 1.0},
               {"step": 2, "train_runtime": 3.0}]  # fmt: skip
    assert record.curve(history) == [
        {"step": 0, "eval_loss": 2.0}, {"step": 1, "loss": 1.0, "eval_loss": 1.5}, {"step": 2, "loss": 0.8},
    ]  # fmt: skip
