"""`trimtab retrain ORDER`: one order, one process.

In: an order file, the environment. Out: lines on stdout, an exit status: 0 done whatever the verdict, 2 an order that
must be written differently, 1 a fault. Must never know: how the stages work.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serving.errors import InvalidInput, TrimtabError

app = typer.Typer(help="Work off one retraining order.", add_completion=False)

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_EVALUATE_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Nothing is fetched, nothing is told to anybody."""


@app.command()
def retrain(
    order: Annotated[Path, typer.Argument(help="The order: a YAML or JSON file.", show_default=False)],
) -> None:
    """Curate, train, evaluate, gate and publish one challenger. Killed and started again, it goes on."""
    console = Console(highlight=False, soft_wrap=True)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        _work(order, console)
    except InvalidInput as error:
        typer.echo(f"trimtab retrain: {error}", err=True)
        raise typer.Exit(2) from error
    except Exception as error:  # the outer ring: the order says failed and why, the log says where
        if not isinstance(error, TrimtabError):
            console.print_exception(max_frames=10)
        said = str(error) if isinstance(error, TrimtabError) else f"{type(error).__name__}: {error}"
        typer.echo(f"trimtab retrain: {said}", err=True)
        raise typer.Exit(1) from error


def _work(path: Path, console: Console) -> None:
    from sqlalchemy.exc import ArgumentError, OperationalError

    from agent.store import Store
    from retrain import order as orders
    from retrain.run import run

    order = orders.load(path)
    try:
        store = Store(order.store)
    except (ArgumentError, OperationalError, ModuleNotFoundError) as error:
        why = getattr(error, "orig", None) or error
        raise InvalidInput(
            f"store {order.store!r} cannot be opened ({why}): give sqlite:////path.db in a folder that exists"
        ) from error
    console.print(f"order {order.id}: {order.challenger} for {order.alias}; {order.reason}", markup=False)

    def say(line: str) -> None:
        console.print(line, markup=False)
        sys.stdout.flush()

    try:
        run(
            order,
            store,
            token=os.environ.get("TRIMTAB_TOKEN", "").strip(),
            judge_key=os.environ.get("TRIMTAB_JUDGE_KEY"),
            say=say,
        )
    finally:
        store.close()


def main() -> None:
    """Run as `python -m retrain.cli ORDER`."""
    app()


if __name__ == "__main__":
    main()
