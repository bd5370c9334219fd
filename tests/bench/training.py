"""What training costs: tokens a second against transformers' Trainer with peft, as its documentation shows it.

In: the scale. Out: tokens/s (padding left out, by the CPU time of one thread, best of rounds) of ours, of the plain way
in the same run, of packing, and how far the estimate was off. Must never know: orders, the store.

Both learn the same rows in the same batches on the same model: a Llama of 13 million random weights, bf16, with a
vocabulary of 16,384. The plain way pads on the right and computes the output layer at every token.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from retrain.curate.rows import Row
from retrain.encode import WholeCollator, batches, encode_all, load_tokenizer
from retrain.recipe import Recipe
from retrain.train import Trained, train
from retrain.training.record import resident_peak
from tests.bench.figures import Figure, say
from tests.bench.scale import Scale
from tests.estate import tiny

VOCAB, HIDDEN, LAYERS = 16_384, 256, 6
RATIO = 0.97
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}


def measure(scale: Scale) -> list[Figure]:
    """The figures of training."""
    import torch

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    torch.set_num_threads(1)  # threads that wait for each other beside busy neighbours burn what is measured
    recipe = Recipe(r=16, alpha=32, dropout=0.0, steps=scale.of(10, 2), batch=8, max_length=200)
    with tempfile.TemporaryDirectory() as folder:
        base, rows = _model(Path(folder) / "model"), _rows()
        ways: dict[str, Callable[[], tuple[int, float]]] = {
            "ours": lambda: _ours(rows, base, Path(folder) / "ours", recipe),
            "packed": lambda: _ours(rows, base, Path(folder) / "packed", replace(recipe, packing=True)),
            "plain": lambda: _plain(rows, base, Path(folder) / "plain", recipe),
        }
        best = dict.fromkeys(ways, 0.0)
        for at in range(scale.of(3, 1)):
            for name, way in ways.items():
                tokens, cpu_s = way()
                best[name] = max(best[name], tokens / cpu_s)
            say(f"    round {at + 1}: ours {best['ours']:,.0f}, plain {best['plain']:,.0f} tokens/s")
        expected = _expected(rows, base, Path(folder) / "told", recipe)
    against = "plain transformers + peft"
    return [
        Figure(name="tokens_per_s", says="training, as orders train", value=best["ours"], unit="tokens/CPU s",
               baseline=best["plain"], against=against),
        Figure(name="tokens_ratio", says="training, tokens/s over the plain way's", value=best["ours"] / best["plain"],
               unit="times", bound=RATIO, at_most=False),
        Figure(name="packed_per_s", says="training, packed", value=best["packed"], unit="tokens/CPU s",
               baseline=best["plain"], against=against),
        Figure(name="peak_mb", says="peak memory of training, both ways", value=resident_peak() / 1e6, unit="MB"),
        Figure(name="time_off", says="seconds measured over seconds expected", value=expected, unit="times"),
    ]  # fmt: skip


def _ours(rows: Sequence[Row], base: Path, out: Path, recipe: Recipe) -> tuple[int, float]:
    done = train(rows, base, out, recipe, resume=False)
    return _tokens(done), done.profile.cpu_seconds if done.profile else 0.0


def _expected(rows: Sequence[Row], base: Path, out: Path, recipe: Recipe) -> float:
    done = train(rows, base, out, recipe, resume=False, say=lambda _line: None)
    return done.profile.seconds / done.expected.seconds if done.profile and done.expected else 0.0


def _tokens(done: Trained) -> int:
    return done.profile.tokens if done.profile else 0


def _plain(rows: Sequence[Row], base: Path, out: Path, recipe: Recipe) -> tuple[int, float]:
    """The Trainer, a LoRA, labels on answers only; nothing of ours but the batches."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
    from transformers.trainer_callback import PrinterCallback

    tokenizer = load_tokenizer(base)
    data, _ = encode_all(tokenizer, rows, recipe.max_length)
    planned = batches(data, recipe.steps, recipe.batch, recipe.seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    model.config.use_cache = False
    lora = LoraConfig(r=recipe.r, lora_alpha=recipe.alpha, target_modules=list(recipe.targets), task_type="CAUSAL_LM")

    class Planned(Trainer):
        """The same batches in the same order."""

        def get_train_dataloader(self) -> Any:
            collate = WholeCollator(tokenizer.pad_token_id)
            return torch.utils.data.DataLoader(data, batch_sampler=planned, collate_fn=collate)

    arguments = TrainingArguments(
        output_dir=str(out), max_steps=recipe.steps, per_device_train_batch_size=recipe.batch, learning_rate=recipe.lr,
        use_cpu=not torch.cuda.is_available(), logging_steps=1, save_steps=max(1, recipe.steps // 10),
        save_total_limit=2, report_to=[], disable_tqdm=True, remove_unused_columns=False, label_names=["labels"],
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = Planned(model=get_peft_model(model, lora), args=arguments, train_dataset=data)
    trainer.remove_callback(PrinterCallback)
    begun = time.process_time()
    trainer.train()
    cpu_s = time.process_time() - begun
    tokens = sum(len(data[at]["prompt"]) + len(data[at]["answer"]) for batch in planned for at in batch)
    return tokens, cpu_s


def _model(folder: Path) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny._tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB, hidden_size=HIDDEN, intermediate_size=3 * HIDDEN, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=True,
        dtype="bfloat16",
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _rows() -> list[Row]:
    texts = [f"please {text} and then wait for {n} minutes" for n in range(32) for text in tiny.SENTENCES]
    return [
        Row(id=str(n), messages=(("user", text),), answer=f"done {n}", source="replay", group=str(n))
        for n, text in enumerate(texts)
    ]
