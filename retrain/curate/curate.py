"""The curation stage: sources, split, conflicts, duplicates, caps; in this order, with a count at each step.

In: an order, the store, the order's work folder. Out: train.jsonl, holdout_fresh.jsonl, holdout_old.jsonl and
report.json in that folder. Must never know: torch, the engine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.store import Store
from retrain.curate import conflicts, duplicates, sources, split
from retrain.curate.rows import Row, read_marked, write_rows
from retrain.order import Order
from serving.errors import InvalidInput

EXAMPLES = 5
TRAIN, FRESH, OLD, REPORT = "train.jsonl", "holdout_fresh.jsonl", "holdout_old.jsonl", "report.json"


@dataclass(frozen=True, kw_only=True)
class Curated:
    """What curation made; `report` holds the counts of every step with examples of what was left out."""

    train: list[Row]
    fresh: list[Row]
    old: list[Row]
    report: dict[str, Any] = field(default_factory=dict)


def curate(order: Order, store: Store | None, work: Path) -> Curated:
    """Make the rows of an order and write them down. Raises InvalidInput when none is left to learn from."""
    fresh: list[Row] = []
    counts: Counter[str] = Counter()
    if store is not None and not order.bootstrap:
        labeller = sources.load_labeller(order.data.labeller)
        until = order.data.until_rowid
        fresh, counts = sources.fresh_rows(store, order.alias, order.data.since_rowid, until, labeller)
    replay = read_marked(order.data.replay, prefix="replay-") if order.data.replay else []
    result = curate_rows(
        fresh,
        replay,
        max_fresh=order.data.max_fresh_rows,
        max_replay=order.data.max_replay_rows,
        holdout_rows=order.data.holdout_rows,
        contest=not order.bootstrap,
    )
    result.report["sources"] = {**dict(counts), "replay": len(replay)}
    if not result.train:
        raise InvalidInput(
            f"order {order.id}: no row is left to learn from ({dict(counts) or 'no exchanges'}); "
            "give a labeller, feedback or a replay file"
        )
    _write(result, work)
    return result


def curate_rows(
    fresh: Sequence[Row],
    replay: Sequence[tuple[Row, str | None]],
    *,
    max_fresh: int,
    max_replay: int,
    holdout_rows: int,
    contest: bool = True,
) -> Curated:
    """Curate rows at hand (pure but for `datasketch`).

    `fresh` comes newest first, replay rows with their "split". Without a contest nothing but what is marked
    "holdout" is kept from training, because nobody will be examined.
    """
    steps: list[dict[str, Any]] = []
    fresh_train, fresh_held = split.split(fresh, split.share_for(len(fresh), holdout_rows))
    old_train, old_held, marked = _split_replay(replay, holdout_rows, contest)
    steps.append(_step("split", [fresh_train, old_train, fresh_held, old_held], []))

    kept, dropped = conflicts.settle([*fresh_held, *old_held, *fresh_train, *old_train])
    stay = {id(row) for row in kept}
    sets = [[row for row in rows if id(row) in stay] for rows in (fresh_train, old_train, fresh_held, old_held)]
    steps.append(_step("contradictory labels", sets, [(row.prompt, row.answer) for row in dropped]))

    pairs: list[tuple[Row, Row]] = []
    for number, rows in enumerate(sets):
        sets[number], found = duplicates.within(sorted(rows, key=lambda row: -row.trust) if number == 0 else rows)
        pairs += found
    steps.append(_step("duplicates within", sets, [(one.prompt, two.prompt) for one, two in pairs]))

    sets[2], sets[3] = split.choose(sets[2], holdout_rows), split.choose(sets[3], holdout_rows)
    steps.append(_step("holdout chosen", sets, []))

    pairs = []
    for number in (0, 1):
        sets[number], found = duplicates.across(sets[number], [*sets[2], *sets[3]])
        pairs += found
    sets[1], found = duplicates.across(sets[1], sets[0])
    pairs += found
    steps.append(_step("duplicates across", sets, [(one.prompt, two.prompt) for one, two in pairs]))

    newest = {id(row): number for number, row in enumerate(fresh)}
    sets[0].sort(key=lambda row: newest[id(row)])
    sets[0], capped = split.cap_users(sets[0])
    steps.append(_step("cap per user", sets, [(str(row.user), row.prompt) for row in capped]))
    sets[0], sets[1] = sets[0][:max_fresh], split.choose(sets[1], max_replay)
    steps.append(_step("row limits", sets, []))

    report = {
        "steps": steps,
        "old_slice_marked": marked,
        "weak": _weak(sets),
        "near_duplicate_jaccard": duplicates.THRESHOLD,
    }
    return Curated(train=[*sets[0], *sets[1]], fresh=sets[2], old=sets[3], report=report)


def _split_replay(
    replay: Sequence[tuple[Row, str | None]], holdout_rows: int, contest: bool
) -> tuple[list[Row], list[Row], bool]:
    """(train, holdout, marked).

    Rows marked "holdout" are those that the champion never saw; without any mark the split is by hash, and
    the champion may know the old slice: that makes the gate harder to pass, not easier.
    """
    held = [row for row, mark in replay if mark == "holdout"]
    rest = [row for row, mark in replay if mark != "holdout"]
    if held or not contest:
        return rest, held, bool(held)
    train, held = split.split(rest, split.share_for(len(rest), holdout_rows))
    return train, held, False


def _step(name: str, sets: Sequence[Sequence[Row]], left_out: Sequence[tuple[str, str]]) -> dict[str, Any]:
    names = ("fresh_train", "replay_train", "holdout_fresh", "holdout_old")
    counts = {key: len(rows) for key, rows in zip(names, sets, strict=True)}
    return {
        "step": name,
        **counts,
        "dropped": len(left_out),
        "examples": [list(x) for x in left_out[:EXAMPLES]],
    }


def _weak(sets: Sequence[Sequence[Row]]) -> dict[str, int]:
    names = ("fresh_train", "replay_train", "holdout_fresh", "holdout_old")
    return {key: sum(row.weak for row in rows) for key, rows in zip(names, sets, strict=True)}


def _write(result: Curated, work: Path) -> None:
    work.mkdir(parents=True, exist_ok=True)
    for name, rows in ((TRAIN, result.train), (FRESH, result.fresh), (OLD, result.old)):
        write_rows(work / name, rows)
    draft = work / (REPORT + ".tmp")
    draft.write_text(json.dumps(result.report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(work / REPORT)
