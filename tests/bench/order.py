"""How long an order takes: from its opening to the verdict, on the tiny task, and the most memory that it needs.

In: the scale. Out: minutes, seconds a stage, peak memory, whether the challenger was accepted.
Must never know: what the stages do. In full, a real vLLM answers; `--quick` asks a stand-in and trains a few steps.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent.store import Store, artifacts
from agent.types import VerdictKind
from retrain.bootstrap import bootstrap
from retrain.curate.rows import Row
from retrain.order import Order, parse
from retrain.run import run
from retrain.training.record import resident_peak
from tests.bench.curation import corrected
from tests.bench.figures import Figure, say
from tests.bench.scale import Scale
from tests.estate import server, tiny_task
from tests.retrain.fake_engine import TOKEN, FakeEngine


def measure(scale: Scale) -> list[Figure]:
    """The figures of one order."""
    recipe = replace(tiny_task.RECIPE, steps=scale.of(tiny_task.RECIPE.steps, 4))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        base = tiny_task.build_base(home / "base", steps=scale.of(300, 5))
        learnt = [tiny_task.row(text, answer) for text, answer in tiny_task.OLD_ROWS]
        champion = bootstrap(learnt[::2], base, home, "home-v1", recipe, say=lambda _line: None)
        store = Store.at(home)
        _rows(store, home / "replay.jsonl", scale)
        with _engine(scale, base, home, champion) as (url, token):
            order = _order(home, store, url, base, champion, recipe.to_json())
            began = time.perf_counter()
            verdict = run(order, store, token=token, say=lambda _line: None)
            seconds = time.perf_counter() - began
        store.close()
        stages = json.loads((order.work / "stages.json").read_text())["left"]
    figures = [
        Figure(name="minutes", says="from the order to the verdict, tiny task", value=seconds / 60, unit="minutes"),
        Figure(name="peak_mb", says="peak memory of the order's process", value=resident_peak() / 1e6, unit="MB"),
        Figure(name="accepted", says="the challenger was accepted (1) or not (0)",
               value=float(verdict is not None and verdict.kind is VerdictKind.ACCEPTED), unit=""),
    ]  # fmt: skip
    return figures + [
        Figure(name=f"{name}_s", says=f"of it, stage {name}", value=left["seconds"], unit="s")
        for name, left in stages.items()
    ]


@contextlib.contextmanager
def _engine(scale: Scale, base: Path, home: Path, champion: Path) -> Iterator[tuple[str, str]]:
    if scale.quick:
        with FakeEngine(_answer) as fake:
            fake.loaded["home-v1"] = str(champion)
            yield fake.url, TOKEN
        return
    say("    real vLLM starts (half a minute or more)")
    longer = {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}  # rows are short; the server's default asks for more than the model
    with server.running(base, home / "served", environ=longer) as served, served.engine() as engine:
        engine.load("home-v1", champion)
        yield served.url, served.token


def _answer(model: str, prompt: str) -> str:
    """The stand-in's: the challenger knows everything, the champion the old house, the bare model nothing."""
    known = {"home-v2": tiny_task.TRUTH, "home-v1": dict(tiny_task.OLD_ROWS)}.get(model, {})
    return known.get(prompt, "hm")


def _rows(store: Store, replay: Path, scale: Scale) -> None:
    """New commands as traffic that people corrected; old ones as replay, every third of them for the examination."""
    fresh = [tiny_task.row(*tiny_task.NEW_ROWS[n % len(tiny_task.NEW_ROWS)]) for n in range(scale.of(300, 60))]
    users = [Row.from_json({**row, "user": f"u{n % 40}"}, id=f"x{n}") for n, row in enumerate(fresh)]
    corrected(store, users)
    old = tiny_task.OLD_ROWS[:: scale.of(1, 6)]
    lines = [{**tiny_task.row(*row), "split": "train" if n % 3 else "holdout"} for n, row in enumerate(old)]
    replay.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _order(home: Path, store: Store, url: str, base: Path, champion: Path, recipe: dict[str, Any]) -> Order:
    return parse(
        {
            "id": "o1", "reason": "a measurement", "alias": "home", "challenger": "home-v2", "store": store.url,
            "champion": {"name": "home-v1", "path": str(champion), "digest": artifacts.verify(champion)},
            "home": str(home), "engine": {"url": url}, "base_model": {"path": str(base)}, "recipe": recipe,
            "data": {"replay": str(home / "replay.jsonl"), "holdout_rows": 400, "max_replay_rows": 2000},
            "gate": {"max_loss": 0.15}, "evaluate": {"perplexity_rows": 5},
        }
    )  # fmt: skip
