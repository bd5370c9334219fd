"""A contest as people read it: the gate's table, the figures, the examples that got better and worse.

In: an order's folder (eval.jsonl, stages.json). Out: a `Report`, and its tables for a terminal.
Must never know: the engine, the store. A contest that is still going on is shown as far as it is.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from agent.store import convert
from agent.types import Verdict
from retrain.evaluate.record import BASE, CHALLENGER, CHAMPION, FILE
from serving.errors import InvalidInput

COLUMNS = (
    ("right", "right"), ("exact_match", "exact"), ("accuracy", "acc"), ("precision", "prec"), ("recall", "rec"),
    ("f1", "F1"), ("rougeL", "ROUGE-L"), ("bleu", "BLEU"), ("meteor", "METEOR"), ("latency_p50_s", "p50 s"),
    ("latency_p95_s", "p95 s"), ("answer_tokens", "tokens"),
)  # fmt: skip
MARKS = {True: "holds", False: "FAILS", None: "open"}
STYLES = {True: "green", False: "bold red", None: "yellow"}
BETTER, WORSE = "better", "worse"
DOUBT = "(this label looks wrong)"
REPORT = "report.json"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One question that exactly one of champion and challenger got right."""

    slice: str
    change: str
    prompt: str
    expected: str
    answers: Mapping[str, str]
    """Role -> what it answered."""
    doubted: bool = False
    """Curation found that its label looks wrong: the change may be the label's fault."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """All of one contest. `metrics` and `verdict` are None until the stage that makes them is done."""

    order: str
    names: Mapping[str, str]
    """Role -> served name."""
    answers: int
    examples: Sequence[Example]
    metrics: Mapping[str, Any] | None
    verdict: Verdict | None

    def of(self, change: str) -> list[Example]:
        """The examples that got BETTER or WORSE."""
        return [example for example in self.examples if example.change == change]

    def rows(self) -> Iterator[tuple[str, str, list[float | None]]]:
        """(slice, role, figures in the order of COLUMNS, then perplexity)."""
        metrics = self.metrics or {}
        perplexity = metrics.get("perplexity", {})
        for name in dict.fromkeys(
            key for role in self.names for key, value in metrics.get(role, {}).items() if isinstance(value, dict)
        ):
            for role in self.names:
                figures = metrics.get(role, {}).get(name, {})
                values = [figures.get(key) for key, _ in COLUMNS]
                of_role = perplexity.get(role)
                yield name, role, [*values, of_role.get(name) if isinstance(of_role, dict) else None]


def read(folder: Path) -> Report:
    """The contest of one order. Raises InvalidInput when there is none in the folder."""
    path = folder / FILE
    try:
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
    except FileNotFoundError as error:
        raise InvalidInput(f"{folder} holds no contest ({FILE}): give an order that has reached evaluation") from error
    except ValueError as error:
        raise InvalidInput(f"{path} cannot be read ({error}): it is no record of a contest") from error
    asked: dict[tuple[str, int], dict[str, Any]] = defaultdict(dict)
    for line in lines:
        asked[line["slice"], line["number"]][line["role"]] = line
    found = {line["role"]: line["model"] for line in lines}
    names = {role: found[role] for role in (CHAMPION, CHALLENGER, BASE) if role in found}
    other = CHAMPION if CHAMPION in names else BASE
    done, doubted = _done(folder), _doubted(folder)
    return Report(
        order=folder.resolve().name,
        names=names,
        answers=len(lines),
        examples=[example for key, of in asked.items() if (example := _example(key[0], of, other, doubted))],
        metrics=done.get("evaluate", {}).get("metrics"),
        verdict=convert.verdict(done["gate"]) if "gate" in done else None,
    )


def tables(report: Report, most: int = 10) -> RenderableType:
    """The report for a terminal, with at most so many examples of each change."""
    parts: list[RenderableType] = [
        Text(f"order {report.order}: " + ", ".join(f"{role} {name}" for role, name in report.names.items()))
    ]
    if report.verdict is not None:
        parts += [Text(f"verdict: {report.verdict.kind.value.replace('_', ' ')}", style="bold"), _gate(report.verdict)]
    else:
        parts.append(Text(f"no verdict yet; {report.answers} answers so far"))
    if report.metrics is not None:
        parts += [_figures(report), *_judge(report.metrics)]
    for change in (WORSE, BETTER):
        found = report.of(change)
        parts.append(Text(f"\n{counted(len(found))} got {change}", style="bold"))
        if found[:most]:
            parts.append(_examples(found[:most]))
        if len(found) > most:
            parts.append(Text(f"... {len(found) - most} more: --html FILE has all"))
    return Group(*parts)


def _done(folder: Path) -> dict[str, Any]:
    try:
        done: dict[str, Any] = json.loads((folder / "stages.json").read_text(encoding="utf-8"))["done"]
    except (OSError, ValueError, KeyError):
        return {}
    return done


def _doubted(folder: Path) -> frozenset[str]:
    """Ids of examined rows whose label looks wrong to curation's model."""
    try:
        steps = json.loads((folder / REPORT).read_text(encoding="utf-8"))["steps"]
        return frozenset(id_ for step in steps if step["step"] == "examined labels" for id_ in step["ids"])
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def _example(name: str, of: Mapping[str, Mapping[str, Any]], other: str, doubted: Collection[str]) -> Example | None:
    if CHALLENGER not in of or other not in of or of[CHALLENGER]["right"] == of[other]["right"]:
        return None
    mine = of[CHALLENGER]
    return Example(
        slice=name,
        change=BETTER if mine["right"] else WORSE,
        prompt=str(mine["prompt"]),
        expected=str(mine["expected"]),
        answers={role: str(of[role]["answer"]) for role in (CHAMPION, CHALLENGER, BASE) if role in of},
        doubted=mine.get("id") in doubted,
    )


def _gate(verdict: Verdict) -> Table:
    table = Table("check", "", "what was found", "n", show_edge=False)
    for check in verdict.checks:
        mark = Text(MARKS[check.passed], style=STYLES[check.passed])
        table.add_row(escape(check.name), mark, escape(check.says), str(check.n))
    return table


def _figures(report: Report) -> Table:
    table = Table("slice", "who", *(title for _, title in COLUMNS), "perpl.", show_edge=False)
    for name, role, values in report.rows():
        table.add_row(name, role, *(figure(value) for value in values))
    return table


def counted(examples: int) -> str:
    """So many examples, in words."""
    return f"{examples} example" if examples == 1 else f"{examples} examples"


def figure(value: float | None) -> str:
    """A figure in few characters; a dash for none."""
    return "-" if value is None else f"{value:.2f}" if abs(value) < 100 else f"{value:.3g}"


def _judge(metrics: Mapping[str, Any]) -> list[Text]:
    return [Text(line) for line in judge_lines(metrics)]


def judge_lines(metrics: Mapping[str, Any]) -> list[str]:
    """What the judge thought, and what could not be measured, as sentences."""
    said = [
        f"{what} was not measured: {metrics[what]['not_measured']}"
        for what in ("perplexity", "judge")
        if "not_measured" in metrics.get(what, {})
    ]
    for name, of in metrics.get("judge", {}).items():
        if not isinstance(of, dict):
            continue
        grades = ", ".join(f"{role} {grade:.2f}" for role, grade in of["grades"].items())
        prefers = of["preferences"]
        line = (
            f"judge on {of['rows']} {name} rows: {grades}; prefers the challenger {prefers['win']}, "
            f"the other {prefers['loss']}, neither {prefers['tie']}"
        )
        if place := of.get("position"):
            line += (
                f"; of {place['shown_both_ways']} pairs shown both ways {place['turned_with_the_order']} turned with "
                f"the order (what came first was chosen {figure(place['first_share'])} of the time)"
            )
        said.append(line)
    return said


def _examples(examples: Sequence[Example]) -> Table:
    roles = list(examples[0].answers)
    table = Table("slice", "prompt", "right answer", *roles, show_edge=False)
    for example in examples:
        cells = (example.slice, example.prompt, expected(example), *(example.answers.get(role, "") for role in roles))
        table.add_row(*(escape(_short(cell)) for cell in cells))
    return table


def expected(example: Example) -> str:
    """The right answer, with a word where there is doubt of it."""
    return example.expected + (f"  {DOUBT}" if example.doubted else "")


def _short(text: str, most: int = 160) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1] + "…"
