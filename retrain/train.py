"""The training stage: one adapter by peft and transformers' Trainer.

In: rows, a base model folder, a recipe, perhaps an adapter to start from. Out: an adapter folder, whole or not there.
Must never know: the store, orders, the engine.

A run that was killed goes on from its newest whole checkpoint and ends with the same weights as an unbroken run on the
same machine: batches are planned from the seed, and every rule that may end a run early reads the history anew.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrain.curate.rows import Row
from retrain.encode import Encoded, encode_all, load_tokenizer
from retrain.recipe import Recipe
from retrain.training import heap, record, workers
from retrain.training.checkpoints import newest_whole, save, step_of
from retrain.training.estimate import Estimate, estimate, layer_of, machine_speed, read_shapes
from retrain.training.follow import Follower, OnLook, OnStep
from retrain.training.methods import adapted
from retrain.training.record import Profile
from retrain.training.trainer import build, refuse_unpackable
from retrain.training.watch import Diverged

__all__ = ["Diverged", "Trained", "train"]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run did. `recipe` is the one in effect: an adapter that was started from keeps its own shape.

    `valid_loss` is that of the weights which were kept, from step `best_step`; None without validation rows.
    `stopped` says why the run ended before its last step, empty when it did not.
    """

    recipe: Recipe
    rows: int
    too_long: int
    loss: float
    resumed_at: int
    seconds: float
    steps: int = 0
    best_step: int = 0
    valid_loss: float | None = None
    stopped: str = ""
    expected: Estimate | None = None
    profile: Profile | None = None
    curve: list[dict[str, float]] = field(default_factory=list)


def train(
    rows: Sequence[Row],
    base: Path,
    out: Path,
    recipe: Recipe,
    init: Path | None = None,
    on_step: OnStep | None = None,
    *,
    resume: bool = True,
    valid: Sequence[Row] = (),
    record_in: Path | None = None,
    say: Callable[[str], None] | None = None,
    on_look: OnLook | None = None,
) -> Trained:
    """Train an adapter and leave it in `out` (adapter_config.json, adapter_model.safetensors).

    Checkpoints lie in `<out>.work` until it is done. With `valid` rows the run stops when they get no better, and the
    best weights are kept. `record_in` gets training.json and loss.png; `say` a line before and one after.
    Raises InvalidInput for a base, adapter, rows or method that cannot be used, Diverged when the loss is no number or
    comes apart.
    """
    if (recipe.workers > 1 or recipe.cluster is not None) and not workers.inside():
        return _told_by_workers(
            workers.share(rows, base, out, recipe, init, on_step, resume, valid, record_in, say, on_look)
        )
    started = time.monotonic()
    work = out.with_name(out.name + ".work")
    tokenizer = load_tokenizer(base)
    data, too_long = encode_all(tokenizer, rows, recipe.max_length)
    if too_long and say is not None:
        limit = f"recipe.max_length={recipe.max_length} tokens"
        say(f"careful: {too_long} of {len(rows)} rows are longer than {limit} and are not learnt: raise it")
    seen = _validation(tokenizer, valid, recipe)
    expected = _expected(base, recipe, data) if record_in is not None or say is not None else None
    if expected is not None and say is not None:
        say(expected.says)
        _say_weights(data, say)
    if recipe.gradient_checkpointing:
        heap.give_back()
    model, recipe = adapted(base, recipe, init)
    checkpoint = newest_whole(work) if resume else None
    if checkpoint is None and workers.leads():
        shutil.rmtree(work, ignore_errors=True)
    run = Follower(recipe, on_step, on_look)
    trainer, planned = build(model, data, seen, tokenizer, recipe, work, run)
    if recipe.packing:
        refuse_unpackable(trainer.model, [data[number] for number in planned[0]], tokenizer)
    clock, cpu = time.monotonic(), time.process_time()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    resumed_at = 0 if checkpoint is None else step_of(checkpoint)
    profile = _profile(trainer.state.global_step, resumed_at, planned, data, recipe, clock, cpu)
    if workers.leads():
        save(model, out)
        shutil.rmtree(work, ignore_errors=True)
    best = min(run.looks, key=lambda look: (look[1], look[0]), default=None)
    done = Trained(
        recipe=recipe,
        rows=len(data),
        too_long=too_long,
        loss=run.loss,
        resumed_at=resumed_at,
        seconds=time.monotonic() - started,
        steps=trainer.state.global_step,
        best_step=trainer.state.global_step if best is None else best[0],
        valid_loss=None if best is None else best[1],
        stopped=run.stopped,
        expected=expected,
        profile=profile,
        curve=record.curve(trainer.state.log_history),
    )
    _told(done, record_in, say)
    return done


def _told_by_workers(done: dict[str, Any]) -> Trained:
    """What the first of several workers told of a run, as JSON, read back."""
    kinds: dict[str, Callable[..., Any]] = {"expected": Estimate, "profile": Profile}
    parts = {key: kind(**done[key]) for key, kind in kinds.items() if done[key] is not None}
    return Trained(**{**done, **parts, "recipe": Recipe.from_json(done["recipe"])})


def _validation(tokenizer: Any, rows: Sequence[Row], recipe: Recipe) -> list[Encoded]:
    if not rows or not recipe.evaluations:
        return []
    found, _ = encode_all(tokenizer, rows, recipe.max_length)
    return sorted(found, key=lambda row: len(row["prompt"]) + len(row["answer"]))


def _expected(base: Path, recipe: Recipe, data: Sequence[Encoded]) -> Estimate:
    shapes = read_shapes(base)
    hidden, inner = layer_of(shapes)
    lengths = [(len(row["prompt"]), len(row["answer"])) for row in data]
    rows = recipe.batch * sum(map(sum, lengths)) // len(lengths)
    return estimate(shapes, recipe, lengths, machine_speed(recipe.precision, rows=rows, hidden=hidden, inner=inner))


def _say_weights(data: Sequence[Encoded], say: Callable[[str], None]) -> None:
    """Tell when some rows count for less than others."""
    light = [row["weight"] for row in data if row["weight"] < 1]
    if light:
        share = sum(light) / len(light)
        say(f"{len(light)} of {len(data)} rows are weak labels: each is in {share:.0%} of the passes, on average")


def _profile(
    steps: int, resumed_at: int, planned: Sequence[Sequence[int]], data: Sequence[Encoded], recipe: Recipe,
    clock: float, cpu: float,
) -> Profile:  # fmt: skip
    seconds = time.monotonic() - clock
    done = planned[resumed_at * recipe.accumulation : steps * recipe.accumulation]
    tokens = sum(len(data[number]["prompt"]) + len(data[number]["answer"]) for batch in done for number in batch)
    peak_bytes, device = record.peak()
    return Profile(
        steps=steps - resumed_at,
        tokens=tokens,
        seconds=seconds,
        tokens_per_s=tokens / seconds if seconds else 0.0,
        cpu_seconds=time.process_time() - cpu,
        peak_bytes=peak_bytes,
        device=device,
    )


def _told(done: Trained, folder: Path | None, say: Callable[[str], None] | None) -> None:
    """Leave the record, say what was measured."""
    tell = say or (lambda _line: None)
    if folder is not None:
        record.write(
            folder,
            {
                "recipe": done.recipe.to_json(),
                "expected": done.expected.to_json() if done.expected else None,
                "measured": done.profile.to_json() if done.profile else None,
                "rows": done.rows,
                "steps": done.steps,
                "best_step": done.best_step,
                "valid_loss": done.valid_loss,
                "stopped": done.stopped,
                "curve": done.curve,
            },
        )
        why = record.picture(folder, done.curve, f"{done.recipe.method}, lr {done.recipe.lr:g}, {done.steps} steps")
        if why:
            tell(why)
    if done.profile is not None:
        tell(f"measured: {done.profile.says}")
    if done.stopped:
        tell(f"stopped at step {done.steps} of {done.recipe.steps}: {done.stopped}")
