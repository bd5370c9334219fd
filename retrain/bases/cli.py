"""`trimtab choose-base`: which base model to fine-tune.

In: folders (or names at an engine's URL), a file of examples. Out: a table, a choice, perhaps a JSON file; exit 0
with a choice, 1 without one, 2 for input that must be written differently. Must never know: how a model is asked.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from retrain.bases.ask import ask_engine, ask_folder, read_examples
from retrain.bases.card import read_card
from retrain.bases.choose import WITHIN, Candidate, Choice, Measured, choose, judged
from retrain.bases.licence import Use
from retrain.cli import QUIET
from retrain.curate.rows import Row
from serving.errors import InvalidInput, TrimtabError

app = typer.Typer(help="Say which base model is the smallest that will do.", add_completion=False)
LANGUAGE_SHARE = 0.05


@app.command()
def choose_base(
    candidates: Annotated[list[str], typer.Option(help="A model folder; may be given again. With --url: model names.")],
    examples: Annotated[Path, typer.Option(help='JSON lines of {"prompt" or "messages", "answer"}.')],
    use: Annotated[Use | None, typer.Option(help="commercial or research: licences are held against it.")] = None,
    licence: Annotated[list[str] | None, typer.Option(help="NAME=LICENCE for a folder whose card says none.")] = None,
    url: Annotated[str, typer.Option(help="An OpenAI-compatible engine that serves the candidates.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Examples to ask.")] = 40,
    shots: Annotated[int, typer.Option(min=0, help="Examples shown in each prompt before the asked one.")] = 0,
    within: Annotated[float, typer.Option(help="F1 below the best that will still do.")] = WITHIN,
    price_per_hour: Annotated[float | None, typer.Option(help="Of the machine, for the cost of answers.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write everything as JSON here.")] = None,
) -> None:
    """Ask each candidate the examples untrained; tell quality, memory, cost and licence, and choose."""
    console = Console(highlight=False, soft_wrap=True)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        declared = _declared(licence or [])
        rows = read_examples(examples, limit, shots)
        _misspelt([] if url else candidates, out)
        found = []
        for candidate in candidates:
            asked = len(rows) - shots
            console.print(f"asking {candidate} {asked} example{'s' * (asked != 1)}", markup=False)
            found.append(_one(candidate, rows, examples, use=use, declared=declared, url=url, limit=limit,
                              shots=shots, price=price_per_hour))  # fmt: skip
    except InvalidInput as error:
        typer.echo(f"trimtab choose-base: {error}", err=True)
        raise typer.Exit(2) from error
    choice = choose(found, within=within)
    _show(console, choice)
    if out is not None:
        out.write_text(
            json.dumps(
                {"choice": choice.name, "says": choice.says, "candidates": [c.to_json() for c in found]}, indent=1
            )
        )
    raise typer.Exit(0 if choice.name else 1)


def _misspelt(folders: Sequence[str], out: Path | None) -> None:
    """Raise InvalidInput for what is not there, before anybody is asked."""
    for folder in folders:
        read_card(Path(folder))
    if out is not None and not out.absolute().parent.is_dir():
        raise InvalidInput(f"--out {out} cannot be written: {out.absolute().parent} is no folder")


def _one(
    candidate: str, rows: Sequence[Row], examples: Path, *, use: Use | None, declared: dict[str, str], url: str,
    limit: int, shots: int, price: float | None,
) -> Candidate:  # fmt: skip
    card = None if url else read_card(Path(candidate))
    name = card.name if card else candidate
    words = sum(len(row.answer.split()) for row in rows) / len(rows)

    def made(measured: Measured | None) -> Candidate:
        return judged(
            name, card, measured, use=use, languages=languages(rows), answer_words=words, price_per_hour=price,
            declared=declared.get(name, declared.get(candidate)),
        )  # fmt: skip

    if (known := made(None)).faults:  # what must not be used is not asked
        return known
    try:
        if url:
            return made(
                ask_engine(url, candidate, rows, shots=shots, token=os.environ.get("TRIMTAB_TOKEN", "").strip())
            )
        return made(ask_folder(Path(candidate), examples, limit=limit, shots=shots))
    except InvalidInput:
        raise
    except TrimtabError as error:
        return replace(known, faults=(str(error),))


def languages(rows: Sequence[Row]) -> list[str]:
    """ISO codes that at least a twentieth of the examples are written in; short texts say nothing."""
    from agent.profile.language import language

    found = Counter(language(row.prompt, row.prompt.split()) for row in rows)
    return [code for code, count in found.items() if len(code) == 2 and count >= LANGUAGE_SHARE * len(rows)]


def _declared(pairs: Sequence[str]) -> dict[str, str]:
    if bad := [pair for pair in pairs if "=" not in pair]:
        raise InvalidInput(f"--licence {bad[0]!r} must be written NAME=LICENCE, such as my-model=apache-2.0")
    return dict(pair.split("=", 1) for pair in pairs)


def _show(console: Console, choice: Choice) -> None:
    table = Table("model", "weights", "exact", "F1", "loss", "s/answer", "memory", "per 1,000", "licence")
    for c in choice.candidates:
        m = c.measured
        table.add_row(
            c.name,
            "?" if c.card is None else f"{c.card.parameters / 1e6:,.1f} M",
            *(("-",) * 5 if m is None else (
                f"{m.exact:.2f}", f"{m.f1:.2f}", "?" if m.loss is None else f"{m.loss:.2f}",
                f"{m.seconds_per_answer:.2g}", "?" if m.memory_bytes is None else f"{m.memory_bytes / 1e9:.1f} GB",
            )),
            "?" if c.price_per_1000 is None else f"{c.price_per_1000:.3g}",
            c.ruling.licence,
        )  # fmt: skip
    console.print(table)
    for c in choice.candidates:
        for words, lines in (("against it", c.faults), ("careful", c.warnings)):
            for line in lines:
                console.print(f"{c.name}: {words}: {line}", markup=False)
    console.print(choice.says, markup=False)


def main() -> None:
    """Run as `python -m retrain.bases.cli`."""
    app()


if __name__ == "__main__":
    main()
