"""transformers' Trainer, set up for one run: our batches, our checkpoints' mark, no loop of ours.

In: a model with an adapter, encoded rows, a recipe. Out: a Trainer, and the batches that it will see.
Must never know: where rows come from, what becomes of the adapter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from retrain.encode import Encoded, batches, collator
from retrain.recipe import Recipe
from retrain.training.checkpoints import mark_whole
from retrain.training.follow import Follower
from retrain.training.workers import rank, together
from serving.errors import InvalidInput

SAVES = 10
"""Checkpoints of a run; about a tenth of the work is done twice after a kill."""


def build(
    model: Any, data: list[Encoded], seen: list[Encoded], tokenizer: Any, recipe: Recipe, work: Path, run: Follower
) -> tuple[Any, list[list[int]]]:
    """(the trainer, the batches it will see)."""
    import torch
    from transformers import Trainer
    from transformers.trainer_callback import PrinterCallback

    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    collate = collator(recipe.method, packing=recipe.packing, pad_id=pad_id)
    planned = batches(data, recipe.steps * recipe.accumulation, recipe.batch, recipe.seed)
    mine = [batch[rank() :: recipe.workers] for batch in planned]

    class PlannedTrainer(Trainer):
        """Batches as planned, in the recipe's order and not the loader's; of each, this worker's share."""

        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(data, batch_sampler=mine, collate_fn=collate)

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


def _callback(run: Follower) -> Any:
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
            together()
            if state.is_world_process_zero:
                mark_whole(Path(args.output_dir) / f"checkpoint-{state.global_step}")

    return Tell()


def _arguments(recipe: Recipe, work: Path, *, looks: bool) -> Any:
    import torch
    from transformers import TrainingArguments

    every = math.ceil(recipe.steps / (recipe.evaluations if looks else SAVES))
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
        warmup_steps=round(recipe.warmup_ratio * recipe.steps),
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
        ddp_find_unused_parameters=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
        **(watched if looks else {"eval_strategy": "no"}),
    )


def refuse_unpackable(model: Any, rows: Sequence[Encoded], tokenizer: Any) -> None:
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
