"""The training stage: one adapter by peft and transformers' Trainer.

In: rows, a base model folder, a recipe, perhaps an adapter to start from. Out: an adapter folder, whole or not there.
Must never know: the store, orders, the engine.

A run that was killed goes on from its newest whole checkpoint and ends with the same weights as an unbroken run on the
same machine: batches are planned from the seed, and every rule that may end a run early reads the history anew.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrain.curate.rows import Row
from retrain.encode import Encoded, batches, collator, encode_all, load_tokenizer
from retrain.recipe import Recipe
from retrain.training import record, watch
from retrain.training.estimate import Estimate, estimate, machine_speed, read_shapes
from retrain.training.methods import adapted
from retrain.training.record import Profile
from retrain.training.watch import Diverged
from serving.errors import InvalidInput

__all__ = ["Diverged", "Trained", "train"]

OnStep = Callable[[int, float], None]
"""(step, loss) after every step, counted from 1."""
OnLook = Callable[[int, float], bool]
"""(step, validation loss) after every look; True ends the run there (a search that gives a recipe up)."""

WHOLE = "whole"
"""Written last into a checkpoint: its presence says that the checkpoint can be resumed from."""
SAVES = 10
"""Checkpoints of a run; about a tenth of the work is done twice after a kill."""


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
    started = time.monotonic()
    work = out.with_name(out.name + ".work")
    tokenizer = load_tokenizer(base)
    data, too_long = encode_all(tokenizer, rows, recipe.max_length)
    seen = _validation(tokenizer, valid, recipe)
    expected = _expected(base, recipe, data) if record_in is not None or say is not None else None
    if expected is not None and say is not None:
        say(expected.says)
    model, recipe = adapted(base, recipe, init)
    checkpoint = _newest_whole(work) if resume else None
    if checkpoint is None:
        shutil.rmtree(work, ignore_errors=True)
    run = _Watch(recipe, on_step, on_look)
    trainer, planned = _trainer(model, data, seen, tokenizer, recipe, work, run)
    if recipe.packing:
        _refuse_unpackable(trainer.model, [data[number] for number in planned[0]], tokenizer)
    clock, cpu = time.monotonic(), time.process_time()
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    resumed_at = 0 if checkpoint is None else _step_of(checkpoint)
    profile = _profile(trainer.state.global_step, resumed_at, planned, data, recipe, clock, cpu)
    _save(model, out)
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


class _Watch:
    """What is told of each step and look; ends a run that falls apart or learns nothing more."""

    def __init__(self, recipe: Recipe, on_step: OnStep | None, on_look: OnLook | None) -> None:
        self.loss = math.nan
        self.looks: list[watch.Look] = []
        self.stopped = ""
        self._recipe = recipe
        self._on_step = on_step
        self._on_look = on_look

    def step(self, number: int, history: Sequence[dict[str, Any]]) -> None:
        """A step was done. Raises Diverged before it is saved."""
        losses = {int(entry["step"]): float(entry["loss"]) for entry in history if "loss" in entry}
        self.loss = losses[number]
        if reason := watch.no_number(number, self.loss):
            raise Diverged(reason)
        means = [] if self.looks else watch.blocks(list(losses.values()), self._recipe.steps)
        if reason := watch.came_apart(means, what="the training loss, by blocks of steps,"):
            raise Diverged(reason)
        if self._on_step is not None:
            self._on_step(number, self.loss)

    def look(self, number: int, history: Sequence[dict[str, Any]]) -> bool:
        """The validation rows were looked at; True when the run should end. Step 0 is the start, never the best."""
        losses = {int(entry["step"]): float(entry["eval_loss"]) for entry in history if "eval_loss" in entry}
        if reason := watch.no_number(number, losses[number], what="validation at"):
            raise Diverged(reason)
        if reason := watch.came_apart(list(losses.values()), what="the validation loss"):
            raise Diverged(reason)
        self.looks = [(step, loss) for step, loss in losses.items() if step > 0]
        if number == 0:
            return False
        self.stopped = watch.out_of_patience(self.looks, self._recipe.patience) or ""
        if self._on_look is not None and self._on_look(number, losses[number]):
            self.stopped = self.stopped or "given up by the search"
        return bool(self.stopped)


def _validation(tokenizer: Any, rows: Sequence[Row], recipe: Recipe) -> list[Encoded]:
    if not rows or not recipe.evaluations:
        return []
    found, _ = encode_all(tokenizer, rows, recipe.max_length)
    return sorted(found, key=lambda row: len(row["prompt"]) + len(row["answer"]))


def _expected(base: Path, recipe: Recipe, data: Sequence[Encoded]) -> Estimate:
    shapes = read_shapes(base)
    hidden = next((shape[1] for name, shape in shapes.items() if name.endswith("embed_tokens.weight")), 576)
    lengths = [(len(row["prompt"]), len(row["answer"])) for row in data]
    rows = recipe.batch * sum(map(sum, lengths)) // len(lengths)
    return estimate(shapes, recipe, lengths, machine_speed(recipe.precision, rows=rows, hidden=hidden))


def _trainer(
    model: Any, data: list[Encoded], seen: list[Encoded], tokenizer: Any, recipe: Recipe, work: Path, run: _Watch
) -> tuple[Any, list[list[int]]]:
    """(the trainer, the batches it will see)."""
    import torch
    from transformers import Trainer
    from transformers.trainer_callback import PrinterCallback

    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    collate = collator(recipe.method, packing=recipe.packing, pad_id=pad_id)
    lengths = [len(row["prompt"]) for row in data]
    planned = batches(lengths, recipe.steps * recipe.accumulation, recipe.batch, recipe.seed)

    class PlannedTrainer(Trainer):
        """Batches as planned, so that their order is the recipe's and not the loader's."""

        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(data, batch_sampler=planned, collate_fn=collate)

        def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
            return torch.utils.data.DataLoader(eval_dataset or seen, batch_size=recipe.batch, collate_fn=collate)

    trainer = PlannedTrainer(
        model=model,
        args=_arguments(recipe, work, looks=bool(seen)),
        train_dataset=data,
        eval_dataset=seen or None,
        callbacks=[_callback(run)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer, planned


def _callback(run: _Watch) -> Any:
    from transformers import TrainerCallback

    class Tell(TrainerCallback):
        """Carries the trainer's news to the watch, and marks checkpoints that are whole."""

        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                run.step(state.global_step, state.log_history)

        def on_evaluate(self, _args: Any, state: Any, control: Any, **_: Any) -> Any:
            if run.look(state.global_step, state.log_history):
                control.should_training_stop = True
                control.should_save = True
            return control

        def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            os.sync()
            (folder / WHOLE).touch()

    return Tell()


def _arguments(recipe: Recipe, work: Path, *, looks: bool) -> Any:
    import torch
    from transformers import TrainingArguments

    every = max(1, recipe.steps // (recipe.evaluations if looks else SAVES))
    watched = {
        "eval_strategy": "steps",
        "eval_steps": every,
        "eval_on_start": True,
        "prediction_loss_only": True,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }
    return TrainingArguments(
        output_dir=str(work),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch,
        gradient_accumulation_steps=recipe.accumulation,
        gradient_checkpointing=recipe.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if recipe.gradient_checkpointing else None,
        learning_rate=recipe.lr,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=max(1, round(recipe.warmup_ratio * recipe.steps)),
        weight_decay=0.0,
        max_grad_norm=1.0,
        optim="adamw_torch",
        seed=recipe.seed,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        **(watched if looks else {"eval_strategy": "no"}),
    )


def _refuse_unpackable(model: Any, rows: Sequence[Encoded], tokenizer: Any) -> None:
    """Packing is right only when the model keeps rows apart by their positions: one batch, both ways, tells."""
    import torch

    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    losses = []
    model.eval()
    with torch.no_grad():
        for packing in (True, False):
            batch = collator("lora", packing=packing, pad_id=pad_id)(rows)
            moved = {key: value.to(model.device) if hasattr(value, "to") else value for key, value in batch.items()}
            losses.append(float(model(**moved).loss))
    model.train()
    if not math.isclose(*losses, rel_tol=0.02, abs_tol=0.02):
        raise InvalidInput(
            f"recipe: packing changes what this base model sees (loss {losses[0]:.3f} instead of {losses[1]:.3f}): "
            "leave it out"
        )


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


def _newest_whole(work: Path) -> Path | None:
    """The newest checkpoint that was written to its end; halves are thrown away."""
    found = list(work.glob("checkpoint-*"))
    whole = [folder for folder in found if (folder / WHOLE).exists()]
    for folder in found:
        if folder not in whole:
            shutil.rmtree(folder, ignore_errors=True)
    return max(whole, key=_step_of, default=None)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _save(model: Any, out: Path) -> None:
    """Write the adapter beside its place, then rename it there."""
    draft = out.with_name(out.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft, safe_serialization=True)
    (draft / "README.md").unlink(missing_ok=True)
    os.sync()
    if out.exists():
        shutil.rmtree(out)
    draft.rename(out)
