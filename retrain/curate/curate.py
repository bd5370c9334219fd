"""The curation stage: rows from every source, the line of steps, files, a report.

In: an order, the store, the order's work folder. Out: train.jsonl, valid.jsonl, holdout_fresh.jsonl, holdout_old.jsonl,
report.json with data.html beside it, data.json in that folder. Must never know: torch, the engine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.store import Store
from agent.store.forgotten import marks
from retrain.curate import manifest, page, sources, teacher, weak
from retrain.curate.compare import compare
from retrain.curate.labellers import load_labeller
from retrain.curate.line import Line
from retrain.curate.material import Curated, Label, Marked, Material
from retrain.curate.options import Curation
from retrain.curate.rows import Row, write_rows
from serving.errors import InvalidInput

if TYPE_CHECKING:
    from retrain.order import Order

__all__ = ["FRESH", "OLD", "REPORT", "TRAIN", "VALID", "Curated", "curate", "curate_rows"]

TRAIN, VALID, REPORT = "train.jsonl", "valid.jsonl", "report.json"
FRESH, OLD = "holdout_fresh.jsonl", "holdout_old.jsonl"
PAGE = "data.html"
TEACHER = "teacher.jsonl"


def curate(order: Order, store: Store | None, work: Path) -> Curated:
    """Make the rows of an order and write them down.

    Raises InvalidInput when none is left to learn from, fewer than the floor, or all have one answer.
    """
    work.mkdir(parents=True, exist_ok=True)
    material, counts, live = _gather(order, store, work)
    result = Line(
        material,
        order.data.curation,
        max_fresh=order.data.max_fresh_rows,
        max_replay=order.data.max_replay_rows,
        holdout_rows=order.data.holdout_rows,
        contest=not order.bootstrap,
    ).run()
    report = result.report
    report["order"] = order.id
    report["sources"] = counts
    report["labels"] = dict(Counter(row.answer for row in result.train).most_common(20))
    report["live"] = compare([(row.prompt, row.answer) for row in result.train], live)
    report["teacher"] = order.data.teacher.model_dump(mode="json", include={"model", "licence", "url"}) if (
        order.data.teacher
    ) else None  # fmt: skip
    report["warnings"] = _warnings(order, result)
    _write(order, result, work)
    refuse(order, result)
    return result


def curate_rows(
    fresh: Sequence[Row],
    replay: Sequence[Marked],
    *,
    max_fresh: int,
    max_replay: int,
    holdout_rows: int,
    contest: bool = True,
    options: Curation | None = None,
    **more: Any,
) -> Curated:
    """Curate rows at hand; `more` are further fields of `Material`.

    `fresh` comes newest first, replay rows with their "split". Without a contest nothing but what is marked
    "holdout" is kept from training, because nobody will be examined.
    """
    material = Material(fresh=fresh, replay=replay, **more)
    return Line(
        material,
        options or Curation(),
        max_fresh=max_fresh,
        max_replay=max_replay,
        holdout_rows=holdout_rows,
        contest=contest,
    ).run()


def refuse(order: Order, result: Curated) -> None:
    """Raise InvalidInput for what cannot be learnt from, in one sentence with the largest losses."""
    rows, floor = len(result.train), order.data.curation.min_rows
    came = {name: n for name, n in result.report["sources"].items() if n and not name.startswith("grouped")}
    losses = sorted(((s["dropped"], s["step"]) for s in result.report["steps"] if s["dropped"]), reverse=True)
    went = ", ".join(f"{step} took {dropped}" for dropped, step in losses[:3])
    if rows == 0:
        if not came:
            raise InvalidInput(
                f"order {order.id}: its sources hold no row to learn from; give a labeller, feedback, or a replay file "
                "that is not empty"
            )
        went = went or f"sources: {came}"
        raise InvalidInput(
            f"order {order.id}: no row is left to learn from ({went}); {order.work / REPORT} shows which and why: "
            "change data.curation, or give other rows"
        )
    if rows < floor:
        raise InvalidInput(
            f"order {order.id}: {rows} rows to learn from are fewer than data.curation.min_rows {floor}"
            f"{f' ({went})' if went else ''}; gather more, or lower the floor"
        )
    answers = {row.answer for row in result.train}
    if rows > 1 and len(answers) == 1:
        raise InvalidInput(
            f"order {order.id}: all {rows} rows have the same answer {answers.pop()[:60]!r}, so nothing can be told "
            "apart; add rows with other answers (a replay file does)"
        )


def _gather(order: Order, store: Store | None, work: Path) -> tuple[Material, dict[str, int], list[tuple[str, str]]]:
    data = order.data
    gone = marks(store.engine) if store is not None else frozenset()
    fresh = sources.Fresh()
    if store is not None and not order.bootstrap:
        fresh = sources.fresh_rows(
            store, order.alias, data.since_rowid, data.until_rowid, load_labeller(data.labeller),
            approved=data.judge_approved, forgotten=gone,
        )  # fmt: skip
    counts = fresh.counts

    def read(path: Path, kind: str, number: int) -> list[Marked]:
        source = "external" if kind == "external" else "replay"
        found, left_out = sources.rows_of_file(path, prefix=f"{kind}{number or ''}-", source=source, forgotten=gone)
        counts[kind] += len(found)
        counts["forgotten"] += left_out
        return found

    replay = read(data.replay, "replay", 0) if data.replay else []
    counts["replay"] += 0
    extra = [row for n, path in enumerate(data.external) for row, _ in read(path, "external", n)]
    others = [*data.holdouts, *([data.canary_file] if data.canary_file else [])]
    fixed = [row for n, path in enumerate(others) for row, _ in read(path, "holdout", n)]
    said = {e.id: e.answer for e in fresh.live}
    labellers: list[tuple[str, Label]] = []
    if data.labelling_functions is not None:
        weak.load(data.labelling_functions)
        labellers.append(("weak labels", partial(weak.label, path=data.labelling_functions, said=said)))
    if data.teacher is not None:
        labellers.append(("teacher", _teacher(order, work)))
    material = Material(
        fresh=fresh.rows, replay=replay, extra=extra, unlabelled=fresh.unlabelled if labellers else (), fixed=fixed,
        wrong=fresh.wrong, labellers=labellers,
    )  # fmt: skip
    return material, dict(counts), [(e.prompt, e.answer) for e in fresh.live]


def _teacher(order: Order, work: Path) -> Label:
    asked = order.data.teacher

    def act(rows: Sequence[Row]) -> tuple[list[Row], dict[str, Any]]:
        if asked is None:
            return [], {}
        made = teacher.answer(rows, asked, work / TEACHER)
        return made, {"model": asked.model, "licence": asked.licence, "asked": min(len(rows), asked.max_rows)}

    return act


def _warnings(order: Order, result: Curated) -> list[str]:
    """What a person should know before believing in the result."""
    options, report, rows = order.data.curation, result.report, len(result.train)
    said = []
    if rows < options.warn_rows:
        said.append(f"{rows} training rows are fewer than {options.warn_rows}: expect little, and a wide interval")
    steps = {step["step"]: step for step in report["steps"]}
    wrong = steps.get("label errors", {})
    left = wrong.get("suspected", 0) - wrong.get("dropped", 0)
    if left:
        said.append(
            f"{left} of {wrong['checked']} labels look wrong and stay; data.curation.label_errors: drop takes them"
        )
    doubted = steps.get("examined labels", {})
    if doubted.get("suspected"):
        said.append(
            f"{doubted['suspected']} of {doubted['checked']} labels of examined rows look wrong and stay: they cost "
            "every model alike; read them in data.html and correct them at their source"
        )
    weak_rows = sum(row.weak for row in result.train)
    if 2 * weak_rows > rows:
        said.append(f"{weak_rows} of {rows} training rows rest on a machine's word, not on people's")
    if not order.bootstrap and not report["old_slice_marked"] and result.old:
        said.append('no replay row is marked "split": "holdout": the champion may have learnt the old slice')
    if order.data.teacher is not None:
        said.append(f"answers of {order.data.teacher.model} are learnt under its licence: {order.data.teacher.licence}")
    return said


def _write(order: Order, result: Curated, work: Path) -> None:
    sets = {TRAIN: result.train, FRESH: result.fresh, OLD: result.old}
    if result.validation:
        sets[VALID] = result.validation
    else:
        (work / VALID).unlink(missing_ok=True)
    for name, rows in sets.items():
        write_rows(work / name, rows)
    data = order.data
    inputs = {
        str(n): path
        for n, path in enumerate(
            [data.replay, *data.external, *data.holdouts, data.canary_file, data.labelling_functions]
        )
        if path is not None
    }
    more = {"order": order.id, "curation": data.curation.model_dump(mode="json"), "teacher": result.report["teacher"]}
    manifest.write(work, sets, inputs=inputs, more=more)
    text = json.dumps(result.report, indent=2, ensure_ascii=False) + "\n"
    for name, content in ((REPORT, text), (PAGE, page.render(result.report))):
        draft = work / (name + ".tmp")
        draft.write_text(content, encoding="utf-8")
        draft.replace(work / name)
