"""`trimtab policy`: stop and start the automation, and run its rules over what has happened.

Lives here: options, and how a simulation reads in a terminal.
Comes in: argv. Goes out: text, or JSON.
Must never know: how anything is decided.
"""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.types import Decision, InvalidInput

if TYPE_CHECKING:
    from agent.policy.history import Line
    from agent.policy.simulate import Simulation
    from agent.settings import Settings
    from agent.store import Store

policy = typer.Typer(
    no_args_is_help=True, help="Freeze and thaw the automation; try its settings on what has happened."
)
SettingsOption = Annotated[
    Path | None, typer.Option("--settings", "-s", help="YAML file of settings; see agent/README.md for every key.")
]
By = Annotated[str, typer.Option(help="Who says so, for the record.", envvar="USER")]
Reason = Annotated[str, typer.Option(help="Why, for those who read the record later.")]
LEAD = 36
MOST_ORDERS = 20


@policy.command()
def freeze(
    reason: Reason,
    settings: SettingsOption = None,
    hours: Annotated[float | None, typer.Option(min=0.01, max=8784, help="Thaw by itself after so many hours.")] = None,
    by: By = "a person",
) -> None:
    """Stop the automation: no order is opened, no canary begins, nothing is rolled back by the policy."""
    from agent.app.freeze import freeze as carry_out

    now = datetime.now(UTC)
    until = None if hours is None else now + timedelta(hours=hours)
    typer.echo(_changed(settings, lambda store: carry_out(store, by=by, reason=reason, now=now, until=until)))


@policy.command()
def thaw(settings: SettingsOption = None, by: By = "a person") -> None:
    """Let the automation go on."""
    from agent.app.freeze import thaw as carry_out

    typer.echo(_changed(settings, lambda store: carry_out(store, by=by, now=datetime.now(UTC))))


@policy.command()
def history(
    settings: SettingsOption = None,
    out: Annotated[str, typer.Option(help="File to write; - is stdout.")] = "-",
) -> None:
    """Write what the policy has to go by as JSON lines: alarms, estimates, orders, counts. No text of any user."""
    from agent.policy.history import written
    from agent.settings import load

    text = "".join(f"{line}\n" for line in written(_recorded(load(settings))))
    if out == "-":
        typer.echo(text, nl=False)
        return
    try:
        Path(out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{out} cannot be written ({error.strerror}): give another file with --out") from error


@policy.command()
def simulate(
    settings: SettingsOption = None,
    since: Annotated[str | None, typer.Option(help="Decide from this ISO 8601 time on.")] = None,
    until: Annotated[str | None, typer.Option(help="Stop at this ISO 8601 time.")] = None,
    history: Annotated[
        Path | None, typer.Option(help="JSON lines of `trimtab policy history`, instead of the store.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON document instead of lines.")] = False,
) -> None:
    """Say what the policy of these settings would have done with what has happened, when and why."""
    from agent.app.archive import moment
    from agent.policy.sane import check
    from agent.policy.simulate import simulate as carry_out
    from agent.settings import load

    tree = load(settings)
    check(tree)
    first, last = moment(since, "--since"), moment(until, "--until")
    lines = _recorded(tree) if history is None else _filed(history)
    if first is not None and first > (last or lines[-1].at):
        raise InvalidInput(f"nothing happened from {since} on: the history ends at {lines[-1].at.isoformat()}")
    found = carry_out(lines, tree, first, last)
    if json:
        typer.echo(
            jsonlib.dumps({"decisions": [plain(d) for d in found.decisions], "summary": found.summary()}, indent=1)
        )
        return
    for line in (*told(found.decisions), *summed_up(found)):
        typer.echo(line)


def plain(decision: Decision) -> dict[str, Any]:
    """A decision as JSON."""
    return {
        "at": decision.at.isoformat(),
        "action": decision.action.value,
        "reasons": list(decision.reasons),
        "seen": dict(decision.seen),
    }


def told(decisions: Sequence[Decision]) -> Iterator[str]:
    """A line a decision, its further reasons below it."""
    for decision in decisions:
        when = f"{decision.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
        yield f"{when:<25}{decision.action.value.replace('_', ' '):<{LEAD - 25}}{decision.reasons[0]}"
        for reason in decision.reasons[1:]:
            yield f"{'':<{LEAD}}{reason}"


def summed_up(found: Simulation) -> Iterator[str]:
    """What would have been done against what was."""
    summary = found.summary()
    seen, would, was = summary["history"], summary["would_have"], summary["was_done"]
    yield ""
    yield (
        f"from {found.since.astimezone(UTC):%Y-%m-%d %H:%M} to {found.until.astimezone(UTC):%Y-%m-%d %H:%M} UTC: "
        f"{_n(seen['exchanges'], 'exchange')}, {_n(seen['alarms'], 'alarm')}, {_n(seen['estimates'], 'estimate')}"
    )
    hours = f" ({would['gpu_hours']:g} GPU-hours)" if would["orders"] else ""
    yield f"would have done: {_n(would['orders'], 'order')}{hours}, {_n(would['roll_backs'], 'rollback')}"
    yield f"was done:        {_n(was['orders'], 'order')}, {_n(was['roll_backs'], 'rollback')}"
    for order in found.orders[:MOST_ORDERS]:
        what = f"as it was: {order.same}" if order.same else "at that moment none was opened"
        yield f"  order of {order.opened.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC: {what}"
    if len(found.orders) > MOST_ORDERS:
        yield f"  ... and {len(found.orders) - MOST_ORDERS:,} more"
    for name in summary["not_again"]:
        yield f"  {name} was opened and would not have been"
    yield "What really happened does not change with the settings: an order that was not given heals nothing here."


def _n(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _recorded(settings: Settings) -> list[Line]:
    from sqlalchemy.exc import SQLAlchemyError

    from agent.app.database import reading_store
    from agent.app.history import history as recorded

    store = reading_store(settings)
    try:
        return recorded(store, settings.alias)
    except SQLAlchemyError as error:
        raise InvalidInput(f"the store cannot be read ({getattr(error, 'orig', error)})") from error
    finally:
        store.close()


def _filed(path: Path) -> list[Line]:
    from agent.policy.history import read

    try:
        with path.open(encoding="utf-8") as lines:
            return read(lines, str(path))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InvalidInput(f"history {path} cannot be read ({why}): write one with `trimtab policy history`") from error


def _changed(settings: Path | None, change: Callable[[Store], str]) -> str:
    from agent.app.database import existing_store
    from agent.settings import load

    store = existing_store(load(settings))
    try:
        return change(store)
    finally:
        store.close()
