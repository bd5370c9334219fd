"""Ask one base model the examples, zero-shot or after a few shown ones, and measure what it costs.

In: a model folder (or an engine's URL and a model name), rows. Out: `Measured`.
Must never know: other candidates, licences. `python -m retrain.bases.ask` asks one folder in a process of its own, so
that its peak memory is its own and a model too large for the machine takes nobody with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from retrain.bases.choose import Measured, scores
from retrain.curate.rows import Row, read_rows
from retrain.encode import Encoded
from serving.errors import InvalidInput, RemoteFault, TrimtabError

SPARE_TOKENS = 4
BATCH = 8
LIMIT_S = 3600.0


def ask_folder(folder: Path, examples: Path, *, limit: int, shots: int) -> Measured:
    """Ask a folder in a process of its own. Raises TrimtabError with its last words when it fails."""
    argv = [sys.executable, "-m", "retrain.bases.ask", str(folder), str(examples), str(limit), str(shots)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=dict(os.environ))
    except subprocess.TimeoutExpired as error:
        raise RemoteFault(f"{folder} did not answer within {LIMIT_S / 60:.0f} minutes") from error
    if done.returncode:
        words = (done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1]
        raise TrimtabError(f"{folder}: {words}")
    return Measured(**json.loads(done.stdout.strip().splitlines()[-1]))


def ask_engine(url: str, model: str, rows: Sequence[Row], *, shots: int, token: str = "") -> Measured:
    """Ask an OpenAI-compatible server; it tells neither memory nor losses."""
    from retrain.chat import Chat

    chat = Chat(url, token)
    asked, shown = rows[shots:], _shown(rows[:shots])
    longest = max(len(row.answer.split()) for row in asked)
    began = time.monotonic()
    try:
        answers = [chat.ask(model, [*shown, *row.chat], 4 * longest + SPARE_TOKENS).text for row in asked]
    finally:
        chat.close()
    return Measured(
        **scores([row.answer for row in asked], answers), loss=None, n=len(asked),
        seconds_per_answer=(time.monotonic() - began) / len(asked), memory_bytes=None,
        tokens_per_answer=sum(len(answer.split()) for answer in answers) / len(asked),
    )  # fmt: skip


def ask_here(folder: Path, rows: Sequence[Row], *, shots: int) -> Measured:
    """Ask a folder by transformers in this process, greedily."""
    import torch

    from retrain.encode import encode, load_tokenizer
    from retrain.training.methods import load_base
    from retrain.training.record import peak

    tokenizer = load_tokenizer(folder)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = load_base(folder, dtype=torch.bfloat16).eval()
    if torch.cuda.is_available():
        model = model.cuda()
    shown = _shown(rows[:shots])
    asked = [_after(row, shown) for row in rows[shots:]]
    coded = [encode(tokenizer, row) for row in asked]
    most = max(len(row["answer"]) for row in coded) + SPARE_TOKENS
    began = time.monotonic()
    answers: list[str] = []
    for at in range(0, len(coded), BATCH):
        answers += _generated(model, tokenizer, [row["prompt"] for row in coded[at : at + BATCH]], most)
    seconds = time.monotonic() - began
    return Measured(
        **scores([row.answer for row in asked], answers), loss=_loss(model, tokenizer, coded), n=len(asked),
        seconds_per_answer=seconds / len(asked), memory_bytes=peak()[0],
        tokens_per_answer=sum(len(tokenizer(a)["input_ids"]) for a in answers) / len(asked),
    )  # fmt: skip


def _generated(model: Any, tokenizer: Any, prompts: Sequence[list[int]], most: int) -> list[str]:
    import torch

    batch = tokenizer.pad({"input_ids": list(prompts)}, return_tensors="pt").to(model.device)
    with torch.no_grad():
        out = model.generate(
            **batch, max_new_tokens=most, do_sample=False, pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id, temperature=None, top_p=None, top_k=None,
        )  # fmt: skip
    width = batch["input_ids"].shape[1]
    return [str(text).strip() for text in tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)]


def _loss(model: Any, tokenizer: Any, coded: Sequence[Encoded]) -> float:
    """Nats a token of the right answers."""
    import torch

    from retrain.encode import AnswerCollator

    collate, total, tokens = AnswerCollator(tokenizer.pad_token_id), 0.0, 0
    with torch.no_grad():
        for at in range(0, len(coded), BATCH):
            part = coded[at : at + BATCH]
            batch = {k: v.to(model.device) if hasattr(v, "to") else v for k, v in collate(part).items()}
            count = sum(len(row["answer"]) for row in part)
            total += float(model(**batch).loss) * count
            tokens += count
    return total / tokens


def _shown(rows: Sequence[Row]) -> list[dict[str, str]]:
    """A few examples as earlier turns of the chat."""
    return [turn for row in rows for turn in (*row.chat, {"role": "assistant", "content": row.answer})]


def _after(row: Row, shown: Sequence[Mapping[str, str]]) -> Row:
    from dataclasses import replace

    return replace(row, messages=tuple((t["role"], t["content"]) for t in shown) + row.messages)


def read_examples(path: Path, limit: int, shots: int) -> list[Row]:
    """The first rows of a file. Raises InvalidInput when they are too few to say anything."""
    rows = read_rows(path)[: limit + shots]
    if len(rows) <= shots:
        raise InvalidInput(f"{path} holds {len(rows)} rows, and {shots} of them are shown: give a few dozen more")
    return rows


def main() -> int:
    """Ask one folder; the last line of stdout is the measurement, the last of stderr what went wrong."""
    folder, examples, limit, shots = sys.argv[1:]
    try:
        rows = read_examples(Path(examples), int(limit), int(shots))
        measured = ask_here(Path(folder), rows, shots=int(shots))
    except (TrimtabError, MemoryError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(measured)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
