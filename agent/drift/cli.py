"""`trimtab backtest`: the options and the two output streams of a replay.

Lives here: one command function; `agent.cli` mounts it. Comes in: argv. Goes out: alarms as JSON lines on stdout, the
summary on stderr. Must never know: how alarms are made.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.types import InvalidInput

if TYPE_CHECKING:
    from agent.drift.backtest import Summary

_WINDOW_ROWS = 100
_BUDGET = 500


def backtest(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="JSON lines of logged exchanges, oldest first; gzip too; - is stdin."),
    ],
    reference: Annotated[
        Path | None, typer.Option(help="JSON lines of what is normal. Without it the first rows of the log are.")
    ] = None,
    reference_rows: Annotated[
        int | None,
        typer.Option(
            help="How many first rows of the log are the reference: 50 or more; 1,000 unless said, and more see finer"
            " changes."
        ),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="At most one false alarm in N windows of 100 exchanges (100 N exchanges), on average, however often"
            " one looks. 500 unless said.",
        ),
    ] = None,
    budget_rows: Annotated[
        int | None, typer.Option(metavar="N", help="The same promise, with N in exchanges instead of windows.")
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            help="sequential (the live agent's), or for comparison a plain one that keeps no budget: ks, psi,"
            " page-hinkley, adwin."
        ),
    ] = "sequential",
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of the random tie-breaking: the same seed, the same alarms.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="The summary as JSON instead of a sentence; alarms are JSON always.")
    ] = False,
) -> None:
    """Replay logged exchanges through the drift detector: when would it have raised the alarm, and why?

    A line is {"prompt": ..., "response": ...}, or {"request": {...}, "response": {...}} with OpenAI or Anthropic
    bodies, or {"messages": [...]} as training sets have them; "timestamp", "user", "conversation", "template",
    "latency_s" may stand beside them. One JSON line per alarm goes to stdout as it fires; "alarm_at" and "onset_at"
    count exchanges after the reference, from 0.
    """
    from agent.drift.backtest import REFERENCE_ROWS, Plan, Replay

    if reference is not None and reference_rows is not None:
        raise InvalidInput("--reference and --reference-rows both say what is normal: give one of them")
    if budget is not None and budget_rows is not None:
        raise InvalidInput("--budget (windows of 100) and --budget-rows (exchanges) say the same: give one of them")
    plan = Plan(
        files=files,
        reference=reference,
        reference_rows=REFERENCE_ROWS if reference_rows is None else reference_rows,
        budget_rows=budget_rows if budget_rows is not None else (_BUDGET if budget is None else budget) * _WINDOW_ROWS,
        detector=detector,
        seed=seed,
    )
    replay = Replay(plan)
    if plan.warning:
        typer.echo(f"warning: {plan.warning}", err=True)
    for document in replay:
        typer.echo(json.dumps(document, ensure_ascii=False))  # echo flushes
    for note in replay.notes:
        typer.echo(f"note: {note}", err=True)
    summary = replay.summary
    said = {"cpu_s_per_1000_rows": summary.cpu_s_per_1000_rows, "false_alarms_allowed": summary.false_alarms_allowed}
    typer.echo(json.dumps(asdict(summary) | said) if as_json else _sentence(summary), err=True)


def _sentence(summary: Summary) -> str:
    allowed = "no promise about false ones"
    if summary.budget_rows is not None:
        allowed = f"at most {summary.false_alarms_allowed:.2g} false ones promised: one in {summary.budget_rows:,}"
    return (
        f"{summary.alarms} alarm{'' if summary.alarms == 1 else 's'} in {summary.rows} exchanges after a reference of"
        f" {summary.reference_rows} ({allowed}); {summary.cpu_s:.2f} s CPU"
        f" ({summary.cpu_s_per_1000_rows:.2f} s per 1,000)"
    )
