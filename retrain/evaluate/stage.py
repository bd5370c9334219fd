"""The evaluation stage of an order: who contests over which rows, and what the gate is given afterwards.

In: an order whose data are curated and whose challenger lies where it will be served. Out: figures and pairs as JSON;
later, from what is written down alone, the gate's evidence. Must never know: the store, bounds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from agent.store import artifacts
from retrain.curate import Row, read_rows
from retrain.curate.curate import FRESH, OLD
from retrain.evaluate import record
from retrain.evaluate.contest import Contest
from retrain.evaluate.evidence import evidence
from retrain.evaluate.judge import judge_of
from retrain.evaluate.measured import Measured
from retrain.evaluate.record import Seats
from retrain.gate.verdict import Evidence
from retrain.order import Order
from retrain.progress import Progress

ANSWER_SPARE_TOKENS = 4


def evaluate(order: Order, folder: Path, token: str, judge_key: str | None, progress: Progress) -> dict[str, Any]:
    """Hold the contest over the challenger in `folder`: {"metrics", "pairs"}. Raises RemoteFault, InvalidInput."""
    from retrain.chat import Chat
    from retrain.evaluate.beside import beside
    from serving.engine import Engine

    url = order.engine.url if order.engine else ""
    rank = int(json.loads((folder / artifacts.CONFIG).read_text(encoding="utf-8"))["r"])
    judge = judge_of(order.judge, url, token, judge_key)
    chat = Chat(url, token)
    try:
        with Engine(url, token, max_lora_rank=rank) as engine:
            contest = _contest(order, folder, engine, chat, lambda done, of: progress.share(done, of, "answers"))
            contest.ready()  # an engine that is away is waited for
            if order.champion is not None and order.champion.name not in engine.models():
                engine.load(order.champion.name, order.champion.path)  # an engine of the job's own
            metrics = contest.run().metrics
            figures, measured = beside(contest, order.work, order.evaluate, url, token, judge, progress.line)
    finally:
        chat.close()
    return {"metrics": {**metrics, **figures}, "pairs": measured.to_json()}


def evidence_of(order: Order, evaluated: dict[str, Any]) -> Evidence:
    """What the gate weighs: every answer is in eval.jsonl by now, so nothing is asked again."""
    seats = seats_of(order)
    measured = Measured.from_json(evaluated.get("pairs", {}))
    return evidence(record.read(order.work, seats), slices_of(order), seats.other, measured)


def seats_of(order: Order) -> Seats:
    """Who sits where."""
    champion = order.champion.name if order.champion else None
    return Seats(challenger=order.challenger, champion=champion, base=order.engine.base_model if order.engine else "")


def slices_of(order: Order) -> dict[str, list[Row]]:
    """The holdouts by name: the drifted slice, the old one, and the canary if the order names one."""
    slices = {record.FRESH: read_rows(order.work / FRESH), record.OLD: read_rows(order.work / OLD)}
    if (canary := order.data.canary_file) is not None:
        slices[record.CANARY] = read_rows(canary, prefix="canary-")
    return slices


def _contest(order: Order, folder: Path, engine: Any, chat: Any, told: Callable[[int, int], None]) -> Contest:
    slices = slices_of(order)
    return Contest(
        seats_of(order),
        slices,
        engine,
        chat,
        folder,
        order.work,
        max_tokens=_longest(order.base_model.path, [*slices[record.FRESH], *slices[record.OLD]]),
        canary_tokens=order.evaluate.canary_tokens,
        on_answer=told,
    )


def _longest(base: Path, rows: Sequence[Row]) -> int:
    """Tokens of the longest label and a few more: a longer answer is wrong anyway, and asking costs time."""
    from retrain.encode import encode, load_tokenizer

    tokenizer = load_tokenizer(base)
    return max((len(encode(tokenizer, row)["answer"]) for row in rows), default=1) + ANSWER_SPARE_TOKENS
