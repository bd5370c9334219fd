"""Sweeps: the space, giving up, going on after a kill, and real ones on the tiny model."""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from retrain.curate.rows import Row, write_rows
from retrain.order import Order, parse
from retrain.recipe import Recipe
from retrain.sweep import ray_backend
from retrain.sweep.cli import app, backend_of
from retrain.sweep.space import Look, Point, Run, Space, Trial, best_of, recipe_at, space_around
from retrain.sweep.sweep import RESULT, SUBJECT, TRIALS, read_trials, rows_of, sweep
from serving.errors import InvalidInput
from tests.needs import need_module
from tests.retrain.fake_wandb import FakeWandB

RECIPE = Recipe(r=4, alpha=8, dropout=0.0, lr=0.01, steps=12, batch=4, max_length=200)
SPACE = Space(lrs=(0.001, 0.01, 0.1), batches=(2, 4))
ROWS = [
    Row(id=str(n), messages=(("user", f"turn on light {n}"),), answer=f"on {n}", source="replay", group=str(n))
    for n in range(24)
]


def ordered(home: Path, base: Path) -> Order:
    """Give an order with curated rows."""
    order = parse({
        "id": "o1", "reason": "a test", "alias": "home", "challenger": "home-v2", "store": "sqlite://",
        "home": str(home), "base_model": {"path": str(base)}, "data": {"replay": "r.jsonl"}, "recipe": RECIPE.to_json(),
    })  # fmt: skip
    order.work.mkdir(parents=True)
    write_rows(order.work / "train.jsonl", ROWS)
    return order


class Runner:
    """Runs trials that cost nothing: the loss is how far the rate is from 0.01."""

    def __init__(self) -> None:
        self.ran: list[Point] = []
        self.given_up = 0

    def __call__(self, point: Point, look: Look) -> Trial:
        """Look four times."""
        self.ran.append(point)
        loss = abs(point.lr - 0.01) + point.batch / 1000
        for number in range(1, 5):
            if look(number, loss + 1 / number):
                self.given_up += 1
                return Trial(point=point, loss=loss + 1 / number, steps=number, seconds=1.0, why="given up")
        return Trial(point=point, loss=loss, steps=4, seconds=1.0)


def test_the_space_stands_around_the_recipe() -> None:
    """Five rates and three batch sizes by default, what is given instead, and trials that all see as many rows."""
    space = space_around(RECIPE)
    assert space.lrs == (0.002, 0.005, 0.01, 0.02, 0.05)
    assert space.batches == (2, 4, 8)
    assert space.grid()[0] == Point(lr=0.01, batch=2)
    assert len(space.grid()) == 15
    assert space_around(RECIPE, [0.1, 0.01], [3]) == Space(lrs=(0.01, 0.1), batches=(3,))
    assert space_around(replace(RECIPE, batch=6, workers=2)).batches == (2, 6, 12)
    with pytest.raises(InvalidInput, match="2 workers cannot share a batch of 3 rows evenly"):
        space_around(replace(RECIPE, workers=2), [], [3, 4])
    with pytest.raises(InvalidInput, match="learning rates"):
        space_around(RECIPE, [2.0])
    assert [recipe_at(RECIPE, Point(lr=0.1, batch=b), looks=6).steps for b in (2, 4, 8)] == [24, 12, 6]


@pytest.mark.parametrize("by", ["grid", "tpe"])
def test_optuna_finds_the_best_and_gives_up_the_rest(by: str) -> None:
    """Every trial asked for is run, none twice in the grid, the clearly worse are cut short, and the best is right."""
    need_module("optuna", "pip install -e '.[sweep]'")
    backend = backend_of(by, None)  # type: ignore[arg-type]
    runner, kept = Runner(), list[Trial]()

    def run(point: Point, look: Look) -> Trial:
        kept.append(runner(point, look))
        return kept[-1]

    trials = 6 if by == "grid" else 12
    backend.search(SPACE, trials, [], run, 0)
    assert len(runner.ran) == trials
    if by == "grid":
        assert sorted((p.lr, p.batch) for p in runner.ran) == sorted((p.lr, p.batch) for p in SPACE.grid())
        backend.search(SPACE, 9, kept, run, 0)
        assert len(runner.ran) == 6
    best = best_of(kept)
    assert best is not None
    assert best.point.lr == pytest.approx(0.01, rel=1.0)
    assert runner.given_up >= 1


class Plain:
    """A search of five lines: the port asks no more."""

    def search(self, space: Space, trials: int, done: Sequence[Trial], run: Run, seed: int) -> Sequence[Trial]:
        """Walk the grid: one point is run, what follows the search gives up by itself, as Ray does."""
        points = space.grid()[len(done) : trials]
        for point in points[:1]:
            run(point, lambda _number, _loss: False)
        return [Trial(point=point, loss=9.0, steps=0, seconds=1.0, why="given up") for point in points[1:]]


def test_a_sweep_goes_on_where_it_was_killed(tiny_model: Path, tmp_path: Path) -> None:
    """Trials that are written down are not run again, a torn line is left out, and no weights are left over."""
    order = ordered(tmp_path, tiny_model)
    rows, valid = rows_of(order)
    assert {row.id for row in rows}.isdisjoint({row.id for row in valid})
    assert len(rows) + len(valid) == len(ROWS)
    said: list[str] = []
    sweep(order, rows, valid, SPACE, Plain(), 1, said.append)
    with (order.work / "sweep" / TRIALS).open("a") as stream:
        stream.write('{"point": {"lr"')
        stream.write("\n")
    found = sweep(order, rows, valid, SPACE, Plain(), 3, said.append)
    assert len(said) == len(found.trials) == 3
    assert said[2].endswith("validation loss 9.0000 in 1 s given up")
    assert found.recipe.evaluations == RECIPE.evaluations
    assert sorted(path.name for path in (order.work / "sweep").iterdir()) == [SUBJECT, RESULT, TRIALS]
    assert json.loads((order.work / "sweep" / RESULT).read_text())["best"]["loss"] == found.best.loss


def test_trials_of_another_recipe_are_not_answered_with(tiny_model: Path, tmp_path: Path) -> None:
    """What is written down counts for the same recipe and rows alone; a recipe that fits no base is refused first."""
    order = ordered(tmp_path, tiny_model)
    rows, valid = rows_of(order)
    known = Trial(point=Point(lr=0.01, batch=2), loss=1.0, steps=1, seconds=1.0)

    class Known:
        """A search that finds one trial without a run."""

        def search(self, _space: Any, _most: int, done: list[Trial], *_: Any) -> list[Trial]:
            return [] if done else [known]

    def swept(of: Order, learnt: Any = rows) -> Any:
        return sweep(of, learnt, valid, space_around(of.recipe), Known(), 1, str).best  # type: ignore[arg-type]

    assert swept(order) == swept(order) == known
    faster = order.model_copy(update={"recipe": replace(order.recipe, lr=0.02)})
    assert swept(faster) == known
    for other, learnt in ((replace(order.recipe, r=2), rows), (order.recipe, rows[1:])):
        with pytest.raises(InvalidInput, match="holds trials of another recipe, another base or other rows"):
            swept(order.model_copy(update={"recipe": other}), learnt)
    with pytest.raises(InvalidInput, match="has no module c_attn"):
        swept(order.model_copy(update={"recipe": replace(order.recipe, targets=("c_attn",))}))


def test_the_command_prints_a_recipe(tiny_model: Path, tmp_path: Path) -> None:
    """`trimtab sweep ORDER` over two rates ends with the better one, ready to be written into the order."""
    need_module("optuna", "pip install -e '.[sweep]'")
    order = ordered(tmp_path, tiny_model)
    path = tmp_path / "order.json"
    path.write_text(order.model_dump_json(exclude={"recipe"})[:-1] + f', "recipe": {json.dumps(RECIPE.to_json())}}}')
    argv = [str(path), "--trials", "2", "--lr", "1e-5", "--lr", "0.01", "--batch", "4"]
    done = CliRunner().invoke(app, argv)
    assert done.exit_code == 0, done.output
    assert "lr: 0.01" in done.stdout.split("write into the order:")[1]
    assert len(read_trials(order.work / "sweep" / TRIALS)) == 2


def test_words_that_do_not_go_together_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    """An address without Ray, and Ray around Ray, end with one sentence and exit 2."""
    order = ordered(tmp_path, tiny_model)
    document = order.model_dump(mode="json", exclude={"recipe"}) | {"recipe": {"workers": 2, "cluster": "auto"}}
    (tmp_path / "order.json").write_text(json.dumps(document))
    for argv, says in (
        (["--address", "ray://head:10001"], "this sweep is by grid: write --by ray"),
        (["--by", "ray"], "leave cluster out of the recipe"),
    ):
        done = CliRunner().invoke(app, [str(tmp_path / "order.json"), *argv])
        assert (done.exit_code, says in done.stderr) == (2, True), done.output


def test_a_trial_that_ray_gave_up_is_written_down() -> None:
    """ASHA ends a trial with its process: what its last report said is kept; ended and failed ones were written."""
    config = {"lr": 0.0123456, "batch": 4}
    report: dict[str, float] = {"loss": 2.5, "ended": False, "training_iteration": 2, "time_total_s": 3.0}
    told = Trial(point=Point(lr=0.0123, batch=4), loss=2.5, steps=0, seconds=3.0, why="given up after 2 looks")
    assert ray_backend._given_up(config, report) == told
    ended = {**report, "ended": True}
    cases: tuple[tuple[dict[str, float], Exception | None, bool], ...] = (
        (report, None, True),
        (ended, None, False),
        (report, RuntimeError(), False),
        ({}, None, False),
    )
    for metrics, error, is_given_up in cases:
        assert ray_backend._unfinished(SimpleNamespace(metrics=metrics, error=error)) is is_given_up
    said: list[dict[str, object]] = []
    ray_backend._trainable(Runner(), said.append)(config)
    assert [one["ended"] for one in said] == [False, False, False, False, True]


if find_spec("wandb"):  # not in the lock files: where it is installed, its real client asks a stand-in for its server

    @pytest.mark.filterwarnings("ignore")  # wandb leaves files open, and warns of its own old ways
    def test_wandb_hands_out_trials_and_gives_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The server's points are run, it hears each look, and a trial that it stops is written down as given up."""
        agent = importlib.import_module("wandb.agents.pyagent").Agent
        monkeypatch.setattr(agent, "HEARTBEAT_SLEEP_SECONDS", 0.1)
        monkeypatch.chdir(tmp_path)
        for name, value in (("API_KEY", "0" * 40), ("DIR", str(tmp_path)), ("SILENT", "true"), ("X_DISABLE_META", "1")):
            monkeypatch.setenv(f"WANDB_{name}", value)
        ran: list[Point] = []

        def run(point: Point, look: Look) -> Trial:
            ran.append(point)
            for number in range(1, 4):
                look(number, 100 * point.lr / number)
            for _ in range(600 if point.lr > 0.05 else 0):  # until the server says stop
                time.sleep(0.1)
            return Trial(point=point, loss=point.lr, steps=4, seconds=1.0)

        with FakeWandB([{"lr": 0.01, "batch": 4}, {"lr": 0.1, "batch": 2}], stop_above=5) as fake:
            monkeypatch.setenv("WANDB_BASE_URL", fake.url)
            (given_up,) = backend_of("wandb", None).search(SPACE, 2, [], run, 0)
        assert ran == [Point(lr=0.01, batch=4), Point(lr=0.1, batch=2)]
        assert (given_up.point, given_up.why) == (ran[1], "given up after 3 looks")
        assert fake.losses["run1"] == pytest.approx([1.0, 0.5, 1 / 3])
        assert "hyperband" in fake.sweep["config"]


@pytest.mark.parametrize("by", ["ray", "wandb"])
def test_a_search_that_is_not_installed_is_said(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence names the package to install."""
    monkeypatch.setitem(sys.modules, by, None)
    with pytest.raises(InvalidInput, match=f"sweeps by {by} need the package: pip install"):
        backend_of(by, None)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="until the order's curation is done"):
        rows_of(parse({
            "id": "o9", "reason": "r", "alias": "a", "challenger": "c", "store": "s", "home": "/nowhere",
            "base_model": {"path": "/b"}, "data": {"replay": "r"},
        }))  # fmt: skip
