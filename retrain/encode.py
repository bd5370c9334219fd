"""Rows to token ids, and token ids to batches of one of three shapes.

In: a tokenizer with a chat template, rows. Out: prompt and answer ids; batches as tensors.
Must never know: the model, the optimiser, where rows come from.

AnswerCollator, the usual one, pads on the left, so all answers end in the last column. `logits_to_keep` = longest
answer + 1 then lets the model compute its widest layer, the output head, over those columns only, and `labels` is cut
to the same ones. PackedCollator pads nothing and keeps exactly the columns that foretell an answer. WholeCollator is
for methods that put tokens of their own before the row, where columns at the right edge do not line up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

from retrain.curate.rows import Row
from retrain.recipe import PROMPTS
from serving.errors import InvalidInput

IGNORED = -100
"""The label that transformers' loss leaves out."""


class Encoded(TypedDict):
    """One row as token ids, and how sure its source is, in (0, 1]."""

    prompt: list[int]
    answer: list[int]
    weight: float


def load_tokenizer(base: Any) -> Any:
    """The tokenizer of a base model folder. Raises InvalidInput when it cannot chat."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"base model {base} has no tokenizer that transformers can read") from error
    if not tokenizer.chat_template or not tokenizer.eos_token:
        raise InvalidInput(f"base model {base} has no chat template or no end token: use an instruct model")
    return tokenizer


def encode(tokenizer: Any, row: Row) -> Encoded:
    """Ids of the chat up to the answer, ids of the answer with its end token, the row's weight.

    Raises InvalidInput where the base's template takes no such chat (a system message, two users in a row).
    """
    from jinja2 import TemplateError

    try:
        prompt = tokenizer.apply_chat_template(row.chat, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        roles = ", ".join(role for role, _ in row.messages)
        raise InvalidInput(
            f"row {row.id} ({roles}) does not fit the base model's chat template, which says: {error}; give rows in "
            "its form, or another base"
        ) from error
    answer = row.answer + tokenizer.eos_token
    return {
        "prompt": tokenizer(prompt, add_special_tokens=False)["input_ids"],
        "answer": tokenizer(answer, add_special_tokens=False)["input_ids"],
        "weight": row.weight,
    }


def encode_all(tokenizer: Any, rows: Sequence[Row], max_length: int) -> tuple[list[Encoded], int]:
    """(encoded rows, how many were longer than `max_length` tokens and left out: an answer is never cut)."""
    encoded = [encode(tokenizer, row) for row in rows]
    fitting = [row for row in encoded if len(row["prompt"]) + len(row["answer"]) <= max_length]
    if not fitting:
        raise InvalidInput(f"none of {len(rows)} rows fits recipe.max_length={max_length} tokens: raise it")
    return fitting, len(encoded) - len(fitting)


def collator(method: str, *, packing: bool, pad_id: int) -> AnswerCollator | PackedCollator | WholeCollator:
    """The collator that fits a recipe's method."""
    if method in PROMPTS:
        return WholeCollator(pad_id)
    return PackedCollator() if packing else AnswerCollator(pad_id)


def batches(data: Sequence[Encoded], steps: int, batch: int, seed: int) -> list[list[int]]:
    """`steps` batches of row numbers: shuffled passes, rows of like length together within 8 batches.

    A row of weight w is in w of the passes, so that the mean gradient is that of a loss weighted by w, whatever the
    method and the shape of a batch. The same arguments give the same batches, which is what makes a resumed run equal
    to an unbroken one.
    """
    import torch

    dice = torch.Generator().manual_seed(seed)
    order: list[int] = []
    turns = _turns([row["weight"] for row in data], seed)
    while len(order) < steps * batch:
        taken = next(turns)
        order += [number for number in torch.randperm(len(data), generator=dice).tolist() if taken[number]]
    order = order[: steps * batch]
    made: list[list[int]] = []
    window = 8 * batch
    for start in range(0, len(order), window):
        part = sorted(order[start : start + window], key=lambda number: len(data[number]["prompt"]))
        chunks = [part[at : at + batch] for at in range(0, len(part), batch)]
        made += [chunks[i] for i in torch.randperm(len(chunks), generator=dice).tolist()]
    return made


def _turns(weights: Sequence[float], seed: int) -> Iterator[list[bool]]:
    """Which rows each pass holds: after p passes a row of weight w was in p * w of them, give or take one.

    Weights are taken relative to the largest, so no pass is empty; where in its turn a row begins is drawn.
    """
    import torch

    most = max(weights)
    share = [weight / most for weight in weights]
    dice = torch.Generator().manual_seed(seed)
    due = torch.rand(len(weights), generator=dice, dtype=torch.float64).tolist()
    while True:
        due = [at + more for at, more in zip(due, share, strict=True)]
        yield [at >= 1 for at in due]
        due = [at - 1 if at >= 1 else at for at in due]


class AnswerCollator:
    """Encoded rows -> input_ids, attention_mask [rows, longest], labels [rows, longest answer + 1]."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[Encoded]) -> dict[str, Any]:
        """Pad on the left; labels stand only on answers."""
        import torch

        width = max(len(row["prompt"]) + len(row["answer"]) for row in rows)
        keep = max(len(row["answer"]) for row in rows) + 1
        ids = torch.full((len(rows), width), self._pad_id)
        mask = torch.zeros_like(ids)
        labels = torch.full((len(rows), keep), IGNORED)
        for at, row in enumerate(rows):
            whole = row["prompt"] + row["answer"]
            ids[at, width - len(whole) :] = torch.tensor(whole)
            mask[at, width - len(whole) :] = 1
            labels[at, keep - len(row["answer"]) :] = torch.tensor(row["answer"])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels, "logits_to_keep": keep}


class PackedCollator:
    """Encoded rows, end to end -> input_ids, position_ids [1, sum of lengths], labels and logits_to_keep [answers].

    Positions begin anew with every row, by which transformers builds a mask that lets no row see another; there is no
    attention mask. `labels` are shifted already: logits at `logits_to_keep` foretell exactly them.
    """

    def __call__(self, rows: Sequence[Encoded]) -> dict[str, Any]:
        """Lay the rows end to end."""
        import torch

        ids: list[int] = []
        positions: list[int] = []
        keep: list[int] = []
        labels: list[int] = []
        for row in rows:
            whole, first = row["prompt"] + row["answer"], len(row["prompt"])
            keep += range(len(ids) + first - 1, len(ids) + len(whole) - 1)
            labels += row["answer"]
            positions += range(len(whole))
            ids += whole
        answers = torch.tensor([labels])
        return {
            "input_ids": torch.tensor([ids]),
            "position_ids": torch.tensor([positions]),
            "labels": answers,
            "shift_labels": answers,
            "logits_to_keep": torch.tensor(keep),
        }


class WholeCollator:
    """Encoded rows -> input_ids, attention_mask, labels [rows, longest], padded on the right."""

    def __init__(self, pad_id: int) -> None:
        self._pad_id = pad_id

    def __call__(self, rows: Sequence[Encoded]) -> dict[str, Any]:
        """Pad on the right; labels stand only on answers."""
        import torch

        width = max(len(row["prompt"]) + len(row["answer"]) for row in rows)
        ids = torch.full((len(rows), width), self._pad_id)
        mask = torch.zeros_like(ids)
        labels = torch.full((len(rows), width), IGNORED)
        for at, row in enumerate(rows):
            whole, first = row["prompt"] + row["answer"], len(row["prompt"])
            ids[at, : len(whole)] = torch.tensor(whole)
            mask[at, : len(whole)] = 1
            labels[at, first : len(whole)] = torch.tensor(row["answer"])
        return {"input_ids": ids, "attention_mask": mask, "labels": labels}
