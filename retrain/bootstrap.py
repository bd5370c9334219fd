"""A first version from rows at hand: no store, no engine, no contest. The demonstration and tests begin with it.

In: rows, a base model, a recipe. Out: a sealed adapter folder. Must never know: orders, the store.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.launch import lock
from agent.store import artifacts
from retrain import publish
from retrain.curate import Row
from retrain.job import ADAPTER, ADAPTER_FILES
from retrain.progress import Progress
from retrain.recipe import Recipe
from retrain.stages import Stages


def bootstrap(
    rows: Sequence[Row | Mapping[str, Any]],
    base: Path,
    home: Path,
    name: str,
    recipe: Recipe,
    init: Path | None = None,
    *,
    files: Mapping[str, Path] | None = None,
    facts: Mapping[str, Any] | None = None,
    on_step: Callable[[int, float], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Train a first version on rows at hand and publish it under `<home>/adapters/<name>/`; returns that folder.

    No store, no engine, no contest. `files` are sealed in beside the weights (`reference.jsonl`, `probes.json`),
    `facts` go into the manifest. `on_step(step, loss)` is told of every step; without it and without `say`, lines
    are printed. Killed and called again, it goes on; called with the same again, it returns at once.
    Raises InvalidInput when the name belongs to something else.
    """
    from retrain.train import train

    tell = say or (print if on_step is None else _hush)
    order_id = f"bootstrap-{name}"
    work = home / "orders" / order_id
    learnt = [row if isinstance(row, Row) else Row.from_json(row, id=str(n)) for n, row in enumerate(rows, 1)]
    rows_digest = artifacts.digest_of({str(n): json.dumps(row.to_json()) for n, row in enumerate(learnt)})
    digest = artifacts.digest_of({"rows": rows_digest, "recipe": json.dumps(recipe.to_json()), "init": str(init)})
    with lock.held(work), Progress(tell, lambda _stage, _share: None) as progress:
        stages = Stages(work, digest)
        publish.refuse_taken(publish.folder_of(home, name), order_id)
        trained = stages.done("train")
        if trained is None:
            progress.stage("train", f"{name}: {len(learnt)} rows, {recipe.steps} steps of {recipe.batch}")

            def told(step: int, loss: float) -> None:
                progress.share(step, recipe.steps, f"steps, loss {loss:.3f}")
                if on_step is not None:
                    on_step(step, loss)

            done = train(learnt, base, work / ADAPTER, recipe, init, told)
            facts_left = {"recipe": done.recipe.to_json(), "rows": done.rows, "loss": done.loss}
            trained = stages.finish("train", facts_left, ADAPTER_FILES)
        progress.stage("publish", name)
        folder = publish.place(work / ADAPTER, home, name, order_id, files)
        more = {"name": name, "order": order_id, "base_digest": artifacts.base_digest(base), "parent": None}
        sealed = publish.seal(folder, {**(facts or {}), **more, **trained, "rows_digest": rows_digest})
        progress.line(f"{name} published, digest {sealed[:12]}")
    return folder


def _hush(_line: str) -> None:
    """Say nothing."""
