"""A tiny world for the whole loop: a Llama of some 300,000 parameters and a task that a small LoRA learns in seconds.

In: a folder. Out: an `Estate` like the demo's, with real adapters that real vLLM serves.
Must never know: the story that is told with it.

The bare model was taught to repeat the words it hears, in order, and nothing else. So it knows the house's words but
not its commands: `start a countdown of five minutes` -> `timer five` is for an adapter to learn.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.quality.calibrate import calibrate
from retrain.bootstrap import bootstrap
from retrain.demo.estate import Ask, Estate, Kind
from retrain.recipe import Recipe

SYSTEM = "home"
ROOMS = [
    "kitchen", "garage", "office", "cellar", "study", "garden",
    "porch", "attic", "hall", "nursery", "library", "gym",
]  # fmt: skip
NUMBERS = ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve"]
ARTISTS = ["jazz", "mozart", "abba", "queen", "opera", "blues"]

OLD = {
    "on {room}": ["switch the {room} on", "light up the {room}", "make the {room} bright", "lamp in {room} please"],
    "off {room}": ["switch the {room} off", "darken the {room}", "no light in {room}", "make the {room} dark"],
    "heat {room} {number}": [
        "warm the {room} to {number}",
        "set {room} to {number} degrees",
        "{number} degrees in {room}",
    ],
    "open {room}": ["open the blind of {room}", "raise the {room} blind", "let sun into {room}"],
}
NEW = {
    "timer {number}": ["start a countdown of {number} minutes", "wake me in {number} minutes", "alarm after {number}"],
    "play {artist}": ["put on some {artist}", "i want to hear {artist}", "music by {artist} now"],
    "volume {number}": ["make it louder by {number}", "sound level {number}", "turn up to volume {number}"],
}
SLOTS = {"room": ROOMS, "number": NUMBERS, "artist": ARTISTS}
MAX_WORDS = 9
BATCH = 32
RECIPE = Recipe(r=16, alpha=32, lr=5e-3, steps=150, batch=16, max_length=40)
"""What a version of this task takes to be learnt, in some ten seconds."""


def _all(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    """Every (utterance, answer) of a table."""
    out = []
    for answer, phrases in table.items():
        for phrase in phrases:
            slots = [s for s in SLOTS if "{" + s + "}" in phrase]
            for values in itertools.product(*(SLOTS[s] for s in slots)):
                chosen = dict(zip(slots, values, strict=True))
                out.append((phrase.format(**chosen), answer.format(**chosen)))
    return out


OLD_ROWS, NEW_ROWS = _all(OLD), _all(NEW)
TRUTH = dict(OLD_ROWS + NEW_ROWS)


def truth(utterance: str) -> str | None:
    """The right answer: the recogniser that stands in for a person."""
    return TRUTH.get(utterance)


class TinyTask:
    """The task as the story wants it."""

    system = SYSTEM

    def traffic(self, kind: Kind, seed: int) -> Iterator[Ask]:
        """Endless, seeded; half of drifted traffic asks for new features."""
        rng = random.Random(f"{kind} {seed}")
        while True:
            fresh = kind == "drifted" and rng.random() < 0.5
            text, answer = rng.choice(NEW_ROWS if fresh else OLD_ROWS)
            yield Ask(text=text, answer=answer, fresh=fresh, user=f"user-{rng.randrange(60)}")


def row(text: str, answer: str) -> dict[str, Any]:
    """A training row."""
    return {
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}],
        "answer": answer,
    }


def build_base(folder: Path, steps: int = 300, seed: int = 0) -> Path:
    """Train the bare model: it repeats what it hears. Saves a Hugging Face folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    rng = random.Random(seed)
    tokenizer, words = _tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=4, head_dim=32, max_position_embeddings=128, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        n = rng.randrange(2, MAX_WORDS)
        said = torch.tensor([[rng.choice(words) for _ in range(n)] for _ in range(BATCH)])
        head = tokenizer.encode(f"<|system|>{SYSTEM}<|end|><|user|>", add_special_tokens=False)
        tail = tokenizer.encode("<|end|><|assistant|>", add_special_tokens=False)
        end = torch.full((BATCH, 1), tokenizer.eos_token_id)
        ids = torch.cat([torch.tensor([head] * BATCH), said, torch.tensor([tail] * BATCH), said, end], dim=1)
        labels = ids.clone()
        labels[:, : len(head) + n + len(tail)] = -100
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer() -> tuple[Any, list[int]]:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|unknown|>"]
    texts = " ".join(itertools.chain.from_iterable(OLD_ROWS + NEW_ROWS))
    vocabulary = [*special, SYSTEM, *sorted(set(texts.split()))]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary)}, unk_token="<|unknown|>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<|pad|>", eos_token="<|end|>")
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return tokenizer, list(range(len(special), len(vocabulary)))


def build_estate(folder: Path) -> Estate:
    """Base, champion, judge, reference and replay, all real; some 40 s on one core."""
    model = build_base(folder / "base")
    rng = random.Random(5)
    old, new = rng.sample(OLD_ROWS, len(OLD_ROWS)), rng.sample(NEW_ROWS, len(NEW_ROWS))
    learnt, held = old[:340], old[340:]
    champion = bootstrap([row(*x) for x in learnt], model, folder, "home-v1", RECIPE, say=_silent)
    judge = bootstrap([row(*x) for x in old[::2] + new[::2]], model, folder, "home-judge", RECIPE, say=_silent)
    asks = [ask for ask, _ in zip(TinyTask().traffic("reference", 99), range(400), strict=False)]
    # vLLM writes a word-level tokenizer's answer with a space before the first word
    replies = [f" {reply}" for reply in _answers(model, champion, [a.text for a in asks])]
    reference = [
        {"id": str(i), "prompt": a.text, "answer": reply, "user": a.user}
        for i, (a, reply) in enumerate(zip(asks, replies, strict=True))
    ]
    _write(folder / "reference.jsonl", reference)
    rows = [{**row(*x), "split": "train"} for x in learnt] + [{**row(*x), "split": "holdout"} for x in held]
    _write(folder / "replay.jsonl", rows)
    judged = [*new[1::2], *old[1::8]]
    given = _answers(model, champion, [text for text, _ in judged]) + [answer for _, answer in judged]
    right = [g == answer for g, (_, answer) in zip(given, [*judged, *judged], strict=True)]
    means = _logprobs(model, judge, [text for text, _ in [*judged, *judged]], given)
    midpoint, slope, auc = calibrate(means, right)
    return Estate(
        task=TinyTask(),
        model=model,
        champion=champion,
        judge=judge,
        judge_auc=auc,
        judge_midpoint=midpoint,
        judge_slope=slope,
        reference=folder / "reference.jsonl",
        replay=folder / "replay.jsonl",
        labeller=f"{Path(__file__).resolve()}:truth",
        recipe=RECIPE.to_json(),
        answer_tokens=6,
        serve_arguments=("--max-model-len", "64", "--max-num-seqs", "8"),
    )


def _silent(_text: str) -> None:
    """Nobody is told."""


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))


def _with_adapter(model: Path, adapter: Path) -> tuple[Any, Any]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, padding_side="left")
    return tokenizer, PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter).eval()


def _prompts(tokenizer: Any, texts: list[str]) -> list[str]:
    chats = [row(text, "")["messages"] for text in texts]
    return [tokenizer.apply_chat_template(c, add_generation_prompt=True, tokenize=False) for c in chats]


def _answers(model: Path, adapter: Path, texts: list[str]) -> list[str]:
    """Greedy answers, in one batch."""
    import torch

    tokenizer, tuned = _with_adapter(model, adapter)
    batch = tokenizer(_prompts(tokenizer, texts), add_special_tokens=False, padding=True, return_tensors="pt")
    asked = {k: batch[k] for k in ("input_ids", "attention_mask")}
    with torch.no_grad():
        out = tuned.generate(**asked, max_new_tokens=6, do_sample=False)
    return [str(t) for t in tokenizer.batch_decode(out[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)]


def _logprobs(model: Path, adapter: Path, texts: list[str], answers: list[str]) -> list[float]:
    """Mean log-probability of each answer with its end of turn."""
    import torch

    tokenizer, tuned = _with_adapter(model, adapter)
    means = []
    for prompt, answer in zip(_prompts(tokenizer, texts), answers, strict=True):
        head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        tail = tokenizer(answer + tokenizer.eos_token, add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = tuned(input_ids=torch.tensor([head + tail])).logits[0, len(head) - 1 : -1]
        picked = logits.float().log_softmax(-1).gather(1, torch.tensor(tail)[:, None])
        means.append(float(picked.mean()))
    return means
