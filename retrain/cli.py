"""`trimtab retrain ORDER`: one order, one process; `new` writes an order to begin with.

In: an order file, or (`by-id`) an order's id and the database; the environment. Out: lines on stdout (in a terminal a
live view), an exit status: 0 done whatever the verdict, 2 an order that must be written differently, 1 a fault.
Must never know: how the stages work.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from serving.errors import InvalidInput, TrimtabError, Unservable

if TYPE_CHECKING:
    from agent.store import Store
    from agent.store.tables import OrderRow
    from retrain.order import Order


class OrderFirst(TyperGroup):
    """`trimtab retrain ORDER` is `trimtab retrain run ORDER`: what is no command is an order's file."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Put `run` before a first word that is no command."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


app = typer.Typer(
    cls=OrderFirst, add_completion=False, no_args_is_help=True,
    help="Work off one retraining order (`trimtab retrain ORDER`), or write one (`trimtab retrain new`).",
)  # fmt: skip

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


@app.callback()
def _group() -> None:
    """Work off one retraining order (`trimtab retrain ORDER`), or write one (`trimtab retrain new`)."""


@app.command()
def new(
    reason: Annotated[str, typer.Option(help="Why; it goes into the manifest.")] = "asked for by a person",
    out: Annotated[Path | None, typer.Option(help="Write the order into this file rather than to stdout.")] = None,
    challenger: Annotated[str | None, typer.Option(help="Name of the adapter to make; default: the next one.")] = None,
    since: Annotated[int | None, typer.Option(min=0, help="Learn from exchanges after this row.")] = None,
    settings: Annotated[Path | None, typer.Option("--settings", "-s", help="The agent's settings.")] = None,
) -> None:
    """Write an order over the newest exchanges, to be read, changed and given to `trimtab retrain`."""
    from datetime import UTC, datetime

    import yaml

    from agent.app.database import existing_store
    from agent.settings import load
    from retrain.new import new_order

    said = load(settings)
    store = existing_store(said)
    try:
        document = new_order(said, store, reason=reason, now=datetime.now(UTC), challenger=challenger, since=since)
    finally:
        store.close()
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        with out.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise InvalidInput(
            f"{out} cannot be written ({error.strerror}): give a new file in a folder that is"
        ) from error
    typer.echo(f"{out} is written: read it, then run trimtab retrain {out}")


@app.command("run")
def retrain(
    order: Annotated[Path, typer.Argument(help="The order: a YAML or JSON file.", show_default=False)],
) -> None:
    """Curate, train, evaluate, gate and publish one challenger. Killed and started again, it goes on."""
    _told(lambda: _from_file(order))


@app.command("check")
def check(
    order: Annotated[Path, typer.Argument(help="The order: a YAML or JSON file.", show_default=False)],
    words: Annotated[bool, typer.Option("--words", help="Look at no file that it names: they are elsewhere.")] = False,
) -> None:
    """Say what is wrong with an order, without doing or writing anything."""
    _heard(lambda: _check(order, words=words))


@app.command("by-id")
def by_id(
    order: Annotated[str, typer.Argument(help="The order's id.", show_default=False)],
) -> None:
    """Work off an order that stands in the database of TRIMTAB_STORE_URL: what Jobs of a cluster run."""
    _told(lambda: _from_store(order))


def _told(given: Callable[[], tuple[Order, Store]]) -> None:
    """Work an order off."""
    _heard(lambda: _work(*given(), Console(highlight=False, soft_wrap=True)))


def _heard(act: Callable[[], None]) -> None:
    """Do it; what goes wrong becomes a sentence and an exit status."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        act()
    except (InvalidInput, Unservable) as error:  # trying again would not help
        typer.echo(f"trimtab retrain: {error}", err=True)
        raise typer.Exit(2) from error
    except Exception as error:  # the outer ring: the order says failed and why, the log says where
        if not isinstance(error, TrimtabError):
            Console(highlight=False, soft_wrap=True).print_exception(max_frames=10)
        said = str(error) if isinstance(error, TrimtabError) else f"{type(error).__name__}: {error}"
        typer.echo(f"trimtab retrain: {said}", err=True)
        raise typer.Exit(1) from error


def _check(path: Path, *, words: bool) -> None:
    from retrain import order as orders

    read = orders.load(path)
    if not words:
        from retrain.check import check_files

        check_files(read, typer.echo)
    typer.echo(f"order {read.id}: nothing is wrong with it")


def _from_file(path: Path) -> tuple[Order, Store]:
    from agent.app.database import STORE_URL
    from retrain import order as orders

    order = orders.load(path)
    return order, _opened(os.environ.get(STORE_URL, "").strip() or order.store)


def _from_store(order_id: str) -> tuple[Order, Store]:
    from agent.app.database import STORE_URL

    url = os.environ.get(STORE_URL, "").strip()
    if not url:
        raise InvalidInput(f"{STORE_URL} is not set: put the database's address into the job's environment")
    store = _opened(url)
    try:
        return _unfailed(store.order(order_id)), store
    except TrimtabError:
        store.close()
        raise


def _unfailed(row: OrderRow) -> Order:
    from retrain import order as orders

    if row.status == "failed":
        raise InvalidInput(f"order {row.id} has failed already ({row.error}): open a new one")
    return orders.parse(row.document, f"order {row.id}")


def _opened(url: str) -> Store:
    from sqlalchemy.exc import ArgumentError, OperationalError

    from agent.store import Store

    try:
        return Store(url)
    except (ArgumentError, OperationalError, ModuleNotFoundError) as error:
        why = getattr(error, "orig", None) or error
        shown = re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
        raise InvalidInput(
            f"store {shown!r} cannot be opened ({why}): give sqlite:////path.db in a folder that exists"
        ) from error


def _work(order: Order, store: Store, console: Console) -> None:
    from retrain.live import Board
    from retrain.run import run

    console.print(f"order {order.id}: {order.challenger} for {order.alias}; {order.reason}", markup=False)
    token, judge_key = os.environ.get("TRIMTAB_TOKEN", "").strip(), os.environ.get("TRIMTAB_JUDGE_KEY")

    def say(line: str) -> None:
        console.print(line, markup=False)
        sys.stdout.flush()

    try:
        if console.is_terminal:
            with Board(console) as board:
                run(order, store, token=token, judge_key=judge_key, say=board.say, see=board.see)
        else:
            run(order, store, token=token, judge_key=judge_key, say=say)
    finally:
        store.close()


def main() -> None:
    """Run as `python -m retrain.cli ORDER`."""
    app()


if __name__ == "__main__":
    main()
