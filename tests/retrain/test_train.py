"""Training on a tiny Llama: real peft, real Trainer, real kills."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from retrain.curate.rows import Row, write_rows
from retrain.encode import Encoded, batches
from retrain.recipe import Recipe
from retrain.train import Diverged, train
from retrain.training import workers
from serving.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[2]
RECIPE = Recipe(r=4, alpha=8, lr=0.01, steps=8, batch=4, max_length=200)
ROWS = [
    Row(id=str(n), messages=(("user", f"turn on light {n}"),), answer=f"on {n}", source="replay", group=str(n))
    for n in range(12)
]


@pytest.fixture(scope="module")
def base(tiny_model: Path) -> Path:
    """Give the tiny base model."""
    return tiny_model


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the adapter of one unbroken run."""
    out = tmp_path_factory.mktemp("adapter") / "a"
    train(ROWS, base, out, RECIPE)
    return out


def weights(folder: Path) -> dict[str, Any]:
    """Read the tensors of an adapter."""
    from safetensors.torch import load_file

    return dict(load_file(folder / "adapter_model.safetensors"))


def test_training_lowers_the_loss_and_leaves_an_adapter(base: Path, tmp_path: Path) -> None:
    """The loss falls, every step is told, and exactly a servable adapter is left, with nothing beside it."""
    told: list[tuple[int, float]] = []
    done = train(ROWS, base, tmp_path / "a", RECIPE, on_step=lambda *step: told.append(step))
    assert [step for step, _ in told] == list(range(1, 9))
    assert told[-1][1] < told[0][1]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert done.loss == told[-1][1]
    from serving.servable import check_servable

    check_servable(tmp_path / "a", max_rank=4)


def test_a_row_is_learnt_as_often_as_it_is_trusted() -> None:
    """A row of weight w is in w of the passes, or nearly; equal weights change nothing; the plan is the seed's."""
    weights = [1.0] * 8 + [0.5] * 4 + [0.1, 0.03]
    data = [Encoded(prompt=[0] * (n % 5 + 1), answer=[0], weight=weight) for n, weight in enumerate(weights)]
    passes = 40
    steps = round(passes * sum(weights)) // 4
    planned = batches(data, steps, 4, seed=3)
    seen = Counter(number for batch in planned for number in batch)
    for number, weight in enumerate(weights):
        assert abs(seen[number] - passes * weight) <= 2
    assert planned == batches(data, steps, 4, seed=3) != batches(data, steps, 4, seed=4)
    alike = [Encoded(prompt=row["prompt"], answer=row["answer"], weight=0.2) for row in data]
    whole = [Encoded(prompt=row["prompt"], answer=row["answer"], weight=1.0) for row in data]
    assert batches(alike, steps, 4, seed=3) == batches(whole, steps, 4, seed=3)


def test_steps_looks_and_lengths_are_what_the_recipe_says(base: Path, tmp_path: Path) -> None:
    """No step is lost to a warm-up that nobody asked for, no more looks than asked for; rows left out are told."""
    long = replace(ROWS[0], id="long", messages=(("user", "light " * 300),))
    said: list[str] = []
    recipe = replace(RECIPE, steps=3, evaluations=2, warmup_ratio=0.0)
    done = train([*ROWS, long], base, tmp_path / "a", recipe, valid=ROWS[:1], say=said.append)
    assert done.curve[1]["learning_rate"] == RECIPE.lr
    assert [int(point["step"]) for point in done.curve if "eval_loss" in point] == [0, 2, 3]
    assert said[0] == "careful: 1 of 13 rows are longer than recipe.max_length=200 tokens and are not learnt: raise it"


def test_a_chat_that_the_template_refuses_is_named(base: Path, tmp_path: Path) -> None:
    """A template without system messages, as some models have, is the rows' fault and not a crash."""
    picky = tmp_path / "base"
    shutil.copytree(base, picky)
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    template = picky / "chat_template.jinja"
    template.write_text(refusal + template.read_text())
    row = replace(ROWS[0], messages=(("system", "be short"), *ROWS[0].messages))
    with pytest.raises(InvalidInput, match=r"row 0 \(system, user\) does not fit .*: No system role; give rows"):
        train([row], picky, tmp_path / "a", RECIPE)


def test_a_doubtful_label_teaches_less(base: Path, tmp_path: Path) -> None:
    """Of two labels for the same prompt the trusted one is learnt; the other, at a hundredth, hardly is."""
    question = (("user", "turn on light"),)
    rows = [
        Row(id="a", messages=question, answer="on on on", source="human", group="a"),
        Row(id="b", messages=question, answer="off off off", source="weak", group="b", weight=0.01),
    ]
    said: list[str] = []
    recipe = replace(RECIPE, steps=20, batch=1, evaluations=1)
    losses = []
    for n, row in enumerate(rows):
        done = train(rows, base, tmp_path / str(n), recipe, valid=[replace(row, weight=1.0)], say=said.append)
        losses.append(done.valid_loss)
    assert losses[0] is not None
    assert losses[1] is not None
    assert losses[0] < 0.5 * losses[1]
    assert "1 of 2 rows are weak labels: each is in 1% of the passes, on average" in said


def test_logits_at_answers_alone_give_the_same_loss(base: Path) -> None:
    """Cutting the output layer to the answers' columns does not change what is learnt."""
    import torch
    from transformers import AutoModelForCausalLM

    from retrain.encode import IGNORED, AnswerCollator, encode, load_tokenizer

    tokenizer = load_tokenizer(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    batch = AnswerCollator(tokenizer.pad_token_id)([encode(tokenizer, row) for row in ROWS[:5]])
    keep = batch.pop("logits_to_keep")
    assert keep < batch["input_ids"].shape[1]
    whole = dict(batch)
    whole["labels"] = torch.full_like(batch["input_ids"], IGNORED)
    whole["labels"][:, -keep:] = batch["labels"]
    with torch.no_grad():
        assert torch.allclose(model(**batch, logits_to_keep=keep).loss, model(**whole).loss, atol=1e-5)


def test_a_run_starts_from_another_adapter_and_keeps_its_shape(base: Path, adapter: Path, tmp_path: Path) -> None:
    """Weights move on from where the champion stood, and the recipe that is recorded tells the true rank."""
    recipe = Recipe(r=16, alpha=32, lr=1e-6, steps=1, batch=2, max_length=200)
    done = train(ROWS, base, tmp_path / "b", recipe, init=adapter)
    assert (done.recipe.r, done.recipe.alpha, done.recipe.lr) == (4, 8, 1e-6)
    old, new = weights(adapter), weights(tmp_path / "b")
    assert old.keys() == new.keys()
    assert all((old[name] - new[name]).abs().max() < 1e-4 for name in old)


def test_a_loss_that_is_no_number_stops_the_run(base: Path, adapter: Path, tmp_path: Path) -> None:
    """A broken start ends in one sentence and leaves no adapter behind."""
    from safetensors.torch import save_file

    broken = tmp_path / "broken"
    shutil.copytree(adapter, broken)
    tensors = {name: value * float("nan") for name, value in weights(adapter).items()}
    save_file(tensors, broken / "adapter_model.safetensors")
    with pytest.raises(Diverged, match=r"step 1: the loss is nan; lower recipe\.lr"):
        train(ROWS, base, tmp_path / "c", RECIPE, init=broken)
    assert not (tmp_path / "c").exists()


def test_what_cannot_be_trained_is_refused(base: Path, tmp_path: Path) -> None:
    """A missing base, a missing start and rows that are all too long are the caller's fault, in a sentence."""
    with pytest.raises(InvalidInput, match="tokenizer"):
        train(ROWS, tmp_path / "none", tmp_path / "d", RECIPE)
    with pytest.raises(InvalidInput, match="started from"):
        train(ROWS, base, tmp_path / "d", RECIPE, init=tmp_path / "none")
    with pytest.raises(InvalidInput, match="max_length=3"):
        train(ROWS, base, tmp_path / "d", Recipe(max_length=3, steps=1))


KILLED = """
import os, signal, sys, time
from pathlib import Path
from retrain.curate.rows import read_rows
from retrain.recipe import Recipe
from retrain.train import train
import json
base, rows, out, recipe = sys.argv[1:]
def tell(step, loss):
    print(step, flush=True)
    if step == 5:
        time.sleep(60)
train(read_rows(Path(rows)), Path(base), Path(out), Recipe.from_json(json.loads(recipe)), on_step=tell)
"""


def test_a_killed_run_resumes_to_the_same_weights(base: Path, adapter: Path, tmp_path: Path) -> None:
    """After SIGKILL in the midst, a rerun does not start over and ends with the weights of an unbroken run."""
    write_rows(tmp_path / "rows.jsonl", ROWS)
    out = tmp_path / "a"
    arguments = [str(base), str(tmp_path / "rows.jsonl"), str(out), json.dumps(RECIPE.to_json())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    job = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert job.stdout is not None
    with job.stdout:
        for line in job.stdout:
            if line.strip() == "5":
                break
    job.send_signal(signal.SIGKILL)
    job.wait(timeout=60)
    half = tmp_path / "a.work" / "checkpoint-5"
    half.mkdir(exist_ok=True)
    (half / "optimizer.pt").write_bytes(b"torn")
    (half / "whole").unlink(missing_ok=True)
    done = train(ROWS, base, out, RECIPE)
    assert done.resumed_at == 4
    once, twice = weights(adapter), weights(out)
    assert all((once[name] - twice[name]).abs().max() < 1e-6 for name in once)


CLUSTERS = (None, "auto") if find_spec("ray") else (None,)
"""Ray (extra `ray`) is too large for the lock file: where it is installed, the same test runs over two of its nodes."""


@pytest.fixture
def _cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start a Ray cluster of two nodes with one CPU each, where the test is about one."""
    if request.getfixturevalue("cluster") is None:
        yield
        return
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    nodes = importlib.import_module("ray.cluster_utils").Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    nodes.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    yield
    nodes.shutdown()


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.usefixtures("_cluster")
def test_two_workers_make_the_adapter_of_one(cluster: str | None, base: Path, tmp_path: Path) -> None:
    """Two processes share each batch, hear a search that gives up, and leave one process's adapter but for rounding."""
    alone = replace(RECIPE, steps=6, dropout=0.0, precision="fp32", evaluations=3)
    looks: list[int] = []

    def give_up(step: int, _loss: float) -> bool:
        looks.append(step)
        return step == 4

    train(ROWS, base, tmp_path / "one", alone, valid=ROWS[:3], on_look=give_up)
    steps: list[int] = []
    said: list[str] = []
    done = train(
        ROWS, base, tmp_path / "two", replace(alone, workers=2, cluster=cluster), valid=ROWS[:3], say=said.append,
        on_step=lambda step, _: steps.append(step), on_look=give_up,
    )  # fmt: skip
    assert (steps, done.steps, done.rows, done.recipe.workers) == ([1, 2, 3, 4], 4, 12, 2)
    assert (looks, done.stopped) == ([2, 4, 2, 4], "given up by the search")
    assert done.valid_loss is not None
    where = "" if cluster is None else " on the Ray cluster auto"
    assert said[0].startswith(f"2 processes{where} share each batch of 4")
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_what_a_worker_met_is_raised_here(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's sentence keeps its kind; one that died without a word is told by the last line of its log."""
    left = {"fault.json": json.dumps({"kind": "Diverged", "says": "the loss is no number"}), "log": "a\nKilled: 9\n"}

    def ended(folder: Path, *_: object) -> int:
        for name, text in left.items():
            (folder / name).write_text(text)
        return 1

    monkeypatch.setattr(workers, "_listen", ended)
    recipe = replace(RECIPE, workers=2)
    with pytest.raises(Diverged, match="the loss is no number"):
        train(ROWS, base, tmp_path / "a", recipe)
    del left["fault.json"]
    with pytest.raises(RuntimeError, match=r"a training process died .* Killed: 9"):
        train(ROWS, base, tmp_path / "a", recipe)
    with pytest.raises(InvalidInput, match="3 workers cannot share a batch of 4 rows evenly"):
        replace(RECIPE, workers=3)
