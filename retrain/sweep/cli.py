"""`trimtab sweep ORDER`: which learning rate and batch size an order should train with.

In: an order file whose rows are curated. Out: a line a trial, the best recipe as YAML, sweep.json; exit 2 for input
that must be written differently, 1 for a fault. Must never know: how a search chooses.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer
import yaml
from rich.console import Console

from retrain.cli import QUIET
from retrain.recipe import Recipe
from retrain.sweep.space import Backend
from serving.errors import InvalidInput, TrimtabError

app = typer.Typer(help="Search the learning rate and the batch size of an order.", add_completion=False)
By = Literal["grid", "tpe", "ray", "wandb"]


@app.command()
def sweep(
    order: Annotated[Path, typer.Argument(help="The order: a YAML or JSON file.", show_default=False)],
    trials: Annotated[int, typer.Option(min=1, help="Trials in all, those of an earlier start counted in.")] = 9,
    by: Annotated[By, typer.Option(help="grid and tpe are Optuna's; ray and wandb need their packages.")] = "grid",
    lr: Annotated[list[float] | None, typer.Option(help="A learning rate; may be given again.")] = None,
    batch: Annotated[list[int] | None, typer.Option(help="A batch size; may be given again.")] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster, ray://host:10001.")] = None,
) -> None:
    """Train short trials on the order's rows, give the worse ones up early, and print the best recipe."""
    console = Console(highlight=False, soft_wrap=True)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        from retrain import order as orders
        from retrain.sweep.space import space_around
        from retrain.sweep.sweep import rows_of
        from retrain.sweep.sweep import sweep as search

        read = orders.load(order)
        space = space_around(read.recipe, lr or (), batch or ())
        _refuse(by, address, read.recipe)
        backend = backend_of(by, address)
        rows, valid = rows_of(read)
        console.print(f"{len(rows)} rows to learn from, {len(valid)} to look at; {trials} trials by {by}", markup=False)
        found = search(read, rows, valid, space, backend, trials, typer.echo)  # a search may pickle it
    except InvalidInput as error:
        typer.echo(f"trimtab sweep: {error}", err=True)
        raise typer.Exit(2) from error
    except TrimtabError as error:
        typer.echo(f"trimtab sweep: {error}", err=True)
        raise typer.Exit(1) from error
    console.print(f"best: validation loss {found.best.loss:.4f}; write into the order:", markup=False)
    console.print(yaml.safe_dump({"recipe": found.recipe.to_json()}, sort_keys=False), markup=False)


def _refuse(by: By, address: str | None, recipe: Recipe) -> None:
    """What would be done otherwise than it was meant."""
    if address is not None and by != "ray":
        raise InvalidInput(f"--address names a Ray cluster, and this sweep is by {by}: write --by ray, or leave it out")
    if by == "ray" and recipe.cluster is not None:
        raise InvalidInput("a sweep by ray keeps the cluster for its own trials: leave cluster out of the recipe")


def backend_of(by: By, address: str | None) -> Backend:
    """The search that was asked for. Raises InvalidInput when its package is not installed."""
    if by == "ray":
        from retrain.sweep.ray_backend import RayTune

        return RayTune(address)
    if by == "wandb":
        from retrain.sweep.wandb_backend import WandB

        return WandB()
    from retrain.sweep.optuna_backend import Optuna

    return Optuna(grid=by == "grid")


def main() -> None:
    """Run as `python -m retrain.sweep.cli ORDER`."""
    app()


if __name__ == "__main__":
    main()
