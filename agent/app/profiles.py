"""`trimtab profile`: make a reference profile, and say how far another is from it.

Lives here: the command's options and the line where profile and drift meet for a person who asks.
Comes in: a file or a span of stored traffic. Goes out: a profile file, a table of distances or JSON lines.
Must never know: the watch loop, what anybody does about a distance.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.types import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.drift.distances import Distance

_HOURS = 24


def profile(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="JSON lines (gzip is fine; - is stdin), or a profile file."),
    ] = None,
    settings: Annotated[
        Path | None, typer.Option("--settings", "-s", help="Without FILE: the agent whose stored traffic is profiled.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Stored traffic from this time on; default: 24 hours ago.")] = None,
    until: Annotated[str | None, typer.Option(help="Stored traffic before this time; default: now.")] = None,
    version: Annotated[str | None, typer.Option(help="Of this adapter version only.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the profile here; whylogs can read it.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="A reference, as FILE: say how far the profile is from it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Distances as JSON lines instead of a table.")] = False,
) -> None:
    """Profile a training set or stored traffic: a standard whylogs file, and distances with 95 % intervals.

    A line is {"prompt": ..., "answer": ...}, {"messages": [...]} as training sets have it, or {"request": {...},
    "response": {...}} as `trimtab export` and logs do: of all of them prompt and answer are profiled. Times are
    ISO 8601, UTC when they name no zone. With `--out ref.bin`, put `profile: {reference: ref.bin}` into the settings to
    measure from it.
    """
    from agent.app.references import read_pairs
    from agent.drift.distances import distances
    from agent.profile.reference import profile_of_file

    if out is None and against is None:
        raise InvalidInput("say what the profile is for: --out FILE to keep it, --against FILE to compare it")
    if out is not None and not (out.name and out.parent.is_dir()):
        raise InvalidInput(f"--out {out}: there is no folder {out.parent}; make it, or name a file in another one")
    if file is not None and (since or until or version):
        raise InvalidInput("--since, --until and --version choose stored traffic: leave them out, or leave FILE out")

    def read(path: Path) -> Iterator[tuple[str, str]]:
        return read_pairs(path, lambda loss: typer.echo(f"note: {loss}", err=True))

    made, rows = profile_of_file(file, read) if file is not None else _traffic(settings, since, until, version)
    typer.echo(f"{rows} rows profiled, {len(made)} bytes", err=True)
    if out is not None:
        _write(out, made)
        typer.echo(f"written to {out}", err=True)
    if against is not None:
        reference = made if against == file else profile_of_file(against, read)[0]  # another sketch would differ
        found = distances(reference, made)
        typer.echo("\n".join(json.dumps(asdict(d)) for d in found) if as_json else _table(found))


def _traffic(settings: Path | None, since: str | None, until: str | None, version: str | None) -> tuple[bytes, int]:
    from agent.app.database import existing_store
    from agent.profile.reference import profile_of_traffic
    from agent.settings import load

    tree = load(settings)
    end = _time(until) if until else datetime.now(UTC)
    begin = _time(since) if since else end - timedelta(hours=_HOURS)
    store = existing_store(tree)
    try:
        return profile_of_traffic(
            store, alias=tree.alias, version=version, since=begin, until=end, language=tree.profile.language
        )
    finally:
        store.close()


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"{text!r} is no time: write it as 2026-11-25T08:00 or 2026-11-25T08:00+01:00") from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _write(out: Path, data: bytes) -> None:
    """Whole or not at all."""
    scratch = out.with_name(out.name + ".part")
    try:
        scratch.write_bytes(data)
        scratch.replace(out)
    except OSError as error:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise InvalidInput(f"{out} cannot be written ({error.strerror}): choose another place") from error


def _table(found: list[Distance]) -> str:
    """One line a distance, the surest first: by how far its interval keeps from 0."""
    if not found:
        return "the two profiles have no feature in common"
    ranked = sorted(found, key=lambda d: (-(d.low or 0.0), d.feature, d.measure))
    width = max(len(d.feature) for d in ranked)
    head = f"{'feature':{width}}  measure    value  95 % interval   rows against rows"
    lines = [
        f"{d.feature:{width}}  {d.measure:9} {d.value:6.3f}  {d.low:5.3f} to {d.high:5.3f} "
        f" {d.n} against {d.n_reference}"
        for d in ranked
    ]
    return "\n".join([head, *lines])
