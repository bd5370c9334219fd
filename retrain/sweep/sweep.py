"""A sweep over one order's rows: every trial a short training run, its weights thrown away, its numbers kept.

In: an order, its curated rows, a backend. Out: trials.jsonl, sweep.json, and the best recipe.
Must never know: which library searches. Killed and started again, it goes on after the trials that are written down.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrain.curate.rows import Row, read_rows
from retrain.order import Order
from retrain.recipe import Recipe
from retrain.sweep.space import Backend, Look, Point, Space, Trial, best_of, recipe_at
from retrain.training.estimate import read_shapes
from retrain.training.fit import refuse_unfit
from serving.errors import InvalidInput, TrimtabError

TRIALS, RESULT, SUBJECT = "trials.jsonl", "sweep.json", "subject"
LOOKS = 6
"""Looks at the validation rows in each trial: what a search gives up by."""
VALID_SHARE = 0.15
VALID_MOST = 200
Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep found. `recipe` has the order's own number of looks again."""

    best: Trial
    recipe: Recipe
    trials: tuple[Trial, ...]


def rows_of(order: Order) -> tuple[list[Row], list[Row]]:
    """(rows to learn from, rows to look at) of an order that was curated.

    Without valid.jsonl a share of the training rows is held back, by a stable hash of their group.
    Raises InvalidInput when there are no rows.
    """
    train = order.work / "train.jsonl"
    if not train.exists():
        raise InvalidInput(f"{train} is not there: run `trimtab retrain` first, until the order's curation is done")
    rows = read_rows(train)
    if (order.work / "valid.jsonl").exists():
        return rows, read_rows(order.work / "valid.jsonl")[:VALID_MOST]
    held = [row for row in rows if _draw(row.group) < VALID_SHARE][:VALID_MOST]
    kept = [row for row in rows if _draw(row.group) >= VALID_SHARE]
    if not held or not kept:
        raise InvalidInput(f"{train} has too few rows ({len(rows)}) to hold some back: a sweep needs a few dozen")
    return kept, held


def sweep(
    order: Order, rows: Sequence[Row], valid: Sequence[Row], space: Space, backend: Backend, trials: int, say: Say
) -> Swept:
    """Search. Raises TrimtabError when no trial came to an end, InvalidInput for what no trial could do."""
    refuse_unfit(order.base_model.path, read_shapes(order.base_model.path), order.recipe, fresh=order.init is None)
    folder = order.work / "sweep"
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_others(folder, _subject(order, rows, valid))
    done = read_trials(folder / TRIALS)

    def note(made: Trial) -> None:
        with (folder / TRIALS).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(made.to_json()) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        loss = "failed" if made.loss is None else f"validation loss {made.loss:.4f}"
        cost = f"in {made.steps} steps, {made.seconds:.0f} s" if made.steps else f"in {made.seconds:.0f} s"
        say(f"lr {made.point.lr:g}, batch {made.point.batch}: {loss} {cost} {made.why}".rstrip())

    def run(point: Point, look: Look) -> Trial:
        made = _trial(order, rows, valid, point, look, folder)
        note(made)
        return made

    for ended in backend.search(space, trials, done, run, order.recipe.seed):
        note(ended)
    found = read_trials(folder / TRIALS)
    best = best_of(found)
    if best is None:
        raise TrimtabError(f"none of {len(found)} trials came to an end: {found[-1].why if found else 'none was run'}")
    recipe = recipe_at(order.recipe, best.point, looks=order.recipe.evaluations)
    made = {"best": best.to_json(), "recipe": recipe.to_json(), "trials": [trial.to_json() for trial in found]}
    draft = folder / f"{RESULT}.tmp"
    draft.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    draft.replace(folder / RESULT)
    return Swept(best=best, recipe=recipe, trials=tuple(found))


def _subject(order: Order, rows: Sequence[Row], valid: Sequence[Row]) -> str:
    """The sha256 of what trials must share to be compared: all but the learning rate and the batch, and the rows."""
    recipe = order.recipe.to_json()
    seen = order.recipe.steps * order.recipe.rows_per_step
    fixed = {key: value for key, value in recipe.items() if key not in ("lr", "batch", "steps", "evaluations")}
    said = [fixed, seen, str(order.base_model.path), str(order.init), [row.to_json() for row in (*rows, *valid)]]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _refuse_others(folder: Path, subject: str) -> None:
    """Raise InvalidInput when the trials in a folder are of another recipe, base or other rows."""
    path = folder / SUBJECT
    if path.exists() and path.read_text(encoding="utf-8") != subject:
        raise InvalidInput(
            f"{folder} holds trials of another recipe, another base or other rows, which say nothing of these: move it "
            "away to search anew, or give the order a new id"
        )
    draft = folder / f"{SUBJECT}.tmp"
    draft.write_text(subject, encoding="utf-8")
    draft.replace(path)


def read_trials(path: Path) -> list[Trial]:
    """Trials that are written down; a line torn by a kill is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(Trial.from_json(json.loads(line)))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _trial(order: Order, rows: Sequence[Row], valid: Sequence[Row], point: Point, look: Look, folder: Path) -> Trial:
    from retrain.train import train

    recipe = recipe_at(order.recipe, point, looks=LOOKS)
    out = folder / f"trial-{point.lr:g}-{point.batch}"
    began, looks = time.monotonic(), [0]

    def looked(_step: int, loss: float) -> bool:
        looks[0] += 1
        return look(looks[0], loss)

    try:
        done = train(rows, order.base_model.path, out, recipe, order.init, resume=False, valid=valid, on_look=looked)
    except InvalidInput:
        raise
    except TrimtabError as error:
        return Trial(point=point, loss=None, steps=0, seconds=time.monotonic() - began, why=str(error))
    finally:
        for left in ("", ".work", ".workers"):
            shutil.rmtree(out.with_name(out.name + left), ignore_errors=True)
    return Trial(
        point=point, loss=done.valid_loss, steps=done.steps, seconds=time.monotonic() - began, why=done.stopped
    )


def _draw(text: str) -> float:
    """A stable number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(f"sweep:{text}".encode()).digest()[:8], "big") / 2**64
