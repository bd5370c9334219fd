"""The training stage: one LoRA adapter by peft and transformers' Trainer.

In: rows, a base model folder, a recipe, perhaps an adapter to start from. Out: an adapter folder, whole or not there.
Must never know: the store, orders, the engine.

The base stands in bf16 and is frozen; the adapter learns in fp32. A run that was killed goes on from its newest whole
checkpoint and ends with the same weights as an unbroken run on the same machine.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retrain.curate.rows import Row
from retrain.encode import AnswerCollator, batches, encode_all, load_tokenizer
from retrain.recipe import Recipe
from serving.errors import InvalidInput, TrimtabError

OnStep = Callable[[int, float], None]
"""(step, loss) after every step, counted from 1."""

WHOLE = "whole"
"""Written last into a checkpoint: its presence says that the checkpoint can be resumed from."""
SAVES = 10
"""Checkpoints of a run; about a tenth of the work is done twice after a kill."""


class Diverged(TrimtabError):
    """The loss is no number any more; another recipe is needed."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run did. `recipe` is the one in effect: an adapter that was started from keeps its own shape."""

    recipe: Recipe
    rows: int
    too_long: int
    loss: float
    resumed_at: int
    seconds: float


def train(
    rows: Sequence[Row],
    base: Path,
    out: Path,
    recipe: Recipe,
    init: Path | None = None,
    on_step: OnStep | None = None,
    *,
    resume: bool = True,
) -> Trained:
    """Train an adapter and leave it in `out` (adapter_config.json, adapter_model.safetensors).

    Checkpoints lie in `<out>.work` until it is done. Raises InvalidInput for a base, adapter or rows that cannot be
    used, Diverged when the loss is no number.
    """
    started = time.monotonic()
    work = out.with_name(out.name + ".work")
    tokenizer = load_tokenizer(base)
    data, too_long = encode_all(tokenizer, rows, recipe.max_length)
    model, recipe = _model(base, recipe, init)
    checkpoint = _newest_whole(work) if resume else None
    if checkpoint is None:
        shutil.rmtree(work, ignore_errors=True)
    watch = _Watch(on_step)
    trainer = _trainer(model, data, tokenizer, recipe, work, watch)
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    _save(model, out)
    shutil.rmtree(work, ignore_errors=True)
    return Trained(
        recipe=recipe,
        rows=len(data),
        too_long=too_long,
        loss=watch.loss,
        resumed_at=0 if checkpoint is None else _step_of(checkpoint),
        seconds=time.monotonic() - started,
    )


class _Watch:
    """What is told of each step; stops a run whose loss is no number before it is saved."""

    def __init__(self, tell: OnStep | None) -> None:
        self.loss = math.nan
        self._tell = tell

    def step(self, number: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise Diverged(f"training step {number}: the loss is {loss}; lower recipe.lr or look at the rows")
        self.loss = loss
        if self._tell is not None:
            self._tell(number, loss)


def _model(base: Path, recipe: Recipe, init: Path | None) -> tuple[Any, Recipe]:
    """The base with a trainable adapter on it, and the recipe in effect."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(recipe.seed)
    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"base model {base} cannot be read by transformers: {_short(error)}") from error
    model.config.use_cache = False
    # What logits_to_keep cuts is not contiguous, and torch would copy the whole output matrix once a row.
    model.get_output_embeddings().register_forward_pre_hook(lambda _, args: (args[0].contiguous(), *args[1:]))
    if init is None:
        config = LoraConfig(
            r=recipe.r,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules=list(recipe.targets),
            layers_to_transform=recipe.layers(model.config.num_hidden_layers),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, config), recipe
    try:
        made = PeftModel.from_pretrained(model, init, is_trainable=True, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise InvalidInput(f"adapter {init} cannot be started from: {_short(error)}") from error
    return made, _shape_of(init, recipe, model.config.num_hidden_layers)


def _shape_of(init: Path, recipe: Recipe, layers: int) -> Recipe:
    """The recipe with the rank, scale and place of the adapter that training starts from."""
    config = json.loads((init / "adapter_config.json").read_text(encoding="utf-8"))
    chosen = config.get("layers_to_transform")
    return replace(
        recipe,
        r=int(config["r"]),
        alpha=int(config["lora_alpha"]),
        dropout=float(config.get("lora_dropout") or 0.0),
        targets=tuple(sorted(config["target_modules"])),
        last_layers=None if chosen is None else layers - min(chosen),
    )


def _trainer(model: Any, data: list[Any], tokenizer: Any, recipe: Recipe, work: Path, watch: _Watch) -> Any:
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    pad_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    planned = batches([len(row["prompt"]) for row in data], recipe.steps, recipe.batch, recipe.seed)

    class Tell(TrainerCallback):
        def on_log(self, _args: Any, state: Any, _control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                watch.step(state.global_step, float(logs["loss"]))

        def on_save(self, args: Any, state: Any, _control: Any, **_: Any) -> None:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            os.sync()
            (folder / WHOLE).touch()

    class PlannedTrainer(Trainer):
        """Batches as planned, so that their order is the recipe's and not the loader's."""

        def get_train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(data, batch_sampler=planned, collate_fn=AnswerCollator(pad_id))

    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch,
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
        save_steps=max(1, recipe.steps // SAVES),
        save_total_limit=2,
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_num_workers=0,
        dataloader_pin_memory=False,
    )
    trainer = PlannedTrainer(model=model, args=arguments, train_dataset=data, callbacks=[Tell()])
    trainer.remove_callback(PrinterCallback)
    return trainer


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


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
