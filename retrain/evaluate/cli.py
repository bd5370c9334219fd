"""`trimtab eval show ORDER`: what a contest found, in a terminal or as a page.

In: an order's id or folder. Out: tables on stdout, an HTML file. Must never know: how contests are held.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from serving.errors import InvalidInput

app = typer.Typer(help="Read the contests of retraining orders.", add_completion=False, no_args_is_help=True)
NAMED = 10
"""Orders that are named where one was not found."""


@app.callback()
def _group() -> None:
    """Read the contests of retraining orders."""


@app.command()
def show(
    order: Annotated[str, typer.Argument(help="The order's id, or its folder.", show_default=False)],
    html: Annotated[Path | None, typer.Option(help="Write everything into this one HTML page.")] = None,
    settings: Annotated[
        Path | None, typer.Option("--settings", "-s", help="The agent's settings, for where orders lie.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Examples of each change in the terminal.")] = 10,
) -> None:
    """The gate's table, the figures of all three models, and the examples that got better and worse."""
    from retrain.evaluate import page as pages
    from retrain.evaluate import show as shows

    report = shows.read(folder_of(order, settings))
    if html is None:
        Console(soft_wrap=False).print(shows.tables(report, examples))
        return
    try:
        html.write_text(pages.page(report), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(
            f"{html} cannot be written ({error.strerror}): give a file in a folder that exists"
        ) from error
    typer.echo(html.resolve())


def folder_of(order: str, settings: Path | None) -> Path:
    """The folder of an order that is given by id or by path. Raises InvalidInput when it holds no contest."""
    from agent.settings import load
    from retrain.evaluate.record import FILE

    if Path(order).is_dir():
        return Path(order)
    if Path(order).is_file():
        return Path(order).parent
    orders = load(settings).home / "orders"
    known = order not in ("", ".", "..") and "/" not in order and (orders / order).is_dir()
    if known and (orders / order / FILE).is_file():
        return orders / order
    says = f"order {order!r} has no contest to show yet" if known else f"there is no order {order!r} in {orders}"
    raise InvalidInput(f"{says}: {_instead(orders, FILE)}")


def _instead(orders: Path, contest: str) -> str:
    """What to write instead: the orders that can be shown, the newest first."""
    found = sorted(orders.glob(f"*/{contest}"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not found:
        return (
            "no order there has held a contest so far; say with --settings FILE where the agent keeps its orders, or "
            "give the order's folder"
        )
    names = ", ".join(path.parent.name for path in found[:NAMED])
    return f"give one of {names}" + (f" (the newest of {len(found)})" if len(found) > NAMED else "")
