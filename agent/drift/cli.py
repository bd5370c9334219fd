"""`trimtab backtest`: the options and the two output streams of a replay.

Lives here: one command function; `agent.cli` mounts it. Comes in: argv. Goes out: alarms as JSON lines on stdout, the
summary on stderr. Must never know: how alarms are made.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def backtest(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="JSON lines of logged exchanges, oldest first; gzip is fine."),
    ],
    reference: Annotated[
        Path | None, typer.Option(help="JSON lines of what is normal. Without it the first rows of the log are.")
    ] = None,
    reference_rows: Annotated[
        int, typer.Option(help="How many first rows of the log are the reference, at least 50; more see finer changes.")
    ] = 1_000,
    budget: Annotated[
        int, typer.Option(help="At most one false alarm in this many windows of 100 exchanges, on average.")
    ] = 500,
    detector: Annotated[
        str, typer.Option(help="sequential (the live agent's), or a plain threshold for comparison: ks, psi.")
    ] = "sequential",
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the random tie-breaking: the same seed, the same alarms.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON too.")] = False,
) -> None:
    """Replay logged exchanges through the drift detector: when would it have raised the alarm, and why?

    A line is {"prompt": ..., "response": ...} or OpenAI bodies {"request": {...}, "response": {...}}, with an optional
    "timestamp", "user", "conversation". One JSON line per alarm goes to stdout as it fires; "alarm_at" and "onset_row"
    count exchanges after the reference, from 0.
    """
    from agent.drift.backtest import Plan, Replay

    plan = Plan(
        files=files,
        reference=reference,
        reference_rows=reference_rows,
        budget_windows=budget,
        detector=detector,
        seed=seed,
    )
    replay = Replay(plan)
    if plan.warning:
        typer.echo(f"warning: {plan.warning}", err=True)
    for document in replay:
        typer.echo(json.dumps(document, ensure_ascii=False))
    summary = replay.summary
    if as_json:
        typer.echo(json.dumps(asdict(summary) | {"cpu_s_per_1000_rows": summary.cpu_s_per_1000_rows}), err=True)
        return
    typer.echo(
        f"{summary.alarms} alarm{'' if summary.alarms == 1 else 's'} in {summary.rows} exchanges after a reference of"
        f" {summary.reference_rows}; {summary.cpu_s:.2f} s CPU ({summary.cpu_s_per_1000_rows:.2f} s per 1,000)",
        err=True,
    )
