"""What is measured beside right and wrong: perplexity of the right answer, the judge's grades and preferences.

In: rows, what was said, who scores. Out: figures, pairs for the gate, one line a measurement in extra.jsonl.
Must never know: the gate's bounds. A scorer that cannot be had is told and holds nobody up. A measurement that is
written down is not made again. One request at a time: a vLLM whose adapters reach the output layer does not survive
several requests for prompt log-probabilities at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from agent.quality.likelihood import LikelihoodJudge
from agent.quality.remote import Remote
from agent.types import Message
from retrain.curate.rows import Row
from retrain.evaluate import judge as judges
from retrain.evaluate.contest import Contest
from retrain.evaluate.measured import Measured, ratios
from retrain.evaluate.record import BASE, CHALLENGER, CHAMPION, FRESH, OLD, Said, Slices
from retrain.order import EvaluatePart
from serving.errors import RemoteFault

FILE = "extra.jsonl"
T = TypeVar("T")
ByRole = dict[str, dict[str, list[float]]]
"""Role -> slice -> a value a row, NaN where there is none."""


class Likelihood(Protocol):
    """Scores a text under one served model; `agent.quality.likelihood.LikelihoodJudge` is the real one."""

    def mean_logprob(self, messages: Sequence[Message], answer: str) -> tuple[float, int]:
        """(nats a token, tokens that the call cost). Raises RemoteFault."""


@dataclass(frozen=True, kw_only=True)
class Opinion:
    """What the judge thought of one slice, and its grades by role over the same rows."""

    summary: dict[str, Any]
    grades: dict[str, list[float]]
    shown: list[tuple[str, str]]


@dataclass(kw_only=True)
class Extra:
    """The measurements of one contest. `again` waits until the engine is there and holds the challenger."""

    work: Path
    said: Said
    slices: Slices
    roles: Sequence[str]
    again: Callable[[], None]

    def __post_init__(self) -> None:
        """Read what is written down already."""
        path = self.work / FILE
        lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        if path.exists():
            path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")  # a torn end goes
        self._known = {line["key"]: line["value"] for line in map(json.loads, lines)}

    @property
    def other(self) -> str:
        """Whom the challenger is held against."""
        return CHAMPION if CHAMPION in self.roles else BASE

    def logprobs(self, likelihoods: Mapping[str, Likelihood], rows: int) -> ByRole:
        """Nats a token of the right answer, on the first rows of each slice that have one word for word."""
        made: ByRole = {}
        for role, scorer in likelihoods.items():
            for name, number, row in self._rows(rows, exact=True):
                messages = [Message(role=r, text=t) for r, t in row.messages]
                key = f"logprob/{name}/{number}/{role}"
                value = self._measured(key, lambda m=messages, a=row.answer, s=scorer: s.mean_logprob(m, a)[0])  # type: ignore[misc]
                made.setdefault(role, {}).setdefault(name, []).append(math.nan if value is None else value)
        return made

    def judged(self, judge: judges.Judge, rows: int) -> dict[str, Opinion]:
        """What the judge thought, by slice."""
        made: dict[str, Opinion] = {}
        for name in (FRESH, OLD):
            grades: dict[str, list[float]] = {role: [] for role in self.roles}
            preferences: list[str] = []
            shown: list[tuple[str, str]] = []
            for _, number, row in (entry for entry in self._rows(rows) if entry[0] == name):
                answers = {role: str(self.said[name, number, role]["answer"]) for role in self.roles}
                for role, text in answers.items():
                    grades[role].append(self._grade(judge, row, text))
                mine, theirs = answers[CHALLENGER], answers[self.other]
                if judge.chooser is None or mine == theirs:
                    preferences.append(judges.from_grades(grades[CHALLENGER][-1], grades[self.other][-1]))
                    continue
                ways = self._both_ways(judge.chooser, row, mine, theirs)
                shown.append(ways)
                preferences.append(judges.preference(*ways))
            if preferences:
                made[name] = Opinion(summary=judges.summary(grades, preferences, shown), grades=grades, shown=shown)
        return made

    def _grade(self, judge: judges.Judge, row: Row, text: str) -> float:
        value = self._measured(f"grade/{row.id}/{text}", lambda: judge.grade(row, text))
        if value is None:
            raise RemoteFault("the judge's grade is no number")
        return float(value)

    def _both_ways(self, chooser: judges.Chooser, row: Row, mine: str, theirs: str) -> tuple[str, str]:
        key = f"pair/{row.id}/{mine}/{theirs}"
        one = self._measured(f"{key}/1", lambda: chooser.better(row, mine, theirs))
        other = self._measured(f"{key}/2", lambda: chooser.better(row, theirs, mine))
        return str(one), str(other)

    def _rows(self, most: int, *, exact: bool = False) -> list[tuple[str, int, Row]]:
        return [
            (name, number, row)
            for name, rows in self.slices.items()
            for number, row in [(n, r) for n, r in enumerate(rows) if r.match == "exact" or not exact][:most]
        ]

    def _measured(self, key: str, act: Callable[[], Any]) -> Any:
        """What is known, or what is measured now. An engine that is away is waited for once."""
        if key in self._known:
            return self._known[key]
        try:
            value = act()
        except RemoteFault:
            self.again()
            value = act()
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        self._known[key] = value
        with (self.work / FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"key": key, "value": value}, ensure_ascii=False) + "\n")
        return value


def beside(
    contest: Contest,
    work: Path,
    asked: EvaluatePart,
    url: str,
    token: str,
    judge: judges.Judge | None,
    told: Callable[[str], None],
) -> tuple[dict[str, Any], Measured]:
    """Everything that an order asks to be measured beside right and wrong: figures by name, and pairs for the gate."""
    names = contest.seats.names()
    extra = Extra(work=work, said=contest.said, slices=contest.slices, roles=list(names), again=contest.ready)
    figures: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    nothing: dict[str, list[Any]] = {name: [] for name in (FRESH, OLD) if contest.slices.get(name)}
    if asked.perplexity_rows:
        told(f"perplexity of the right answers, {asked.perplexity_rows} rows a slice")
        remote = Remote(url, token)
        scorers = {role: LikelihoodJudge(remote, name, midpoint=0.0, slope=1.0) for role, name in names.items()}
        found = attempt(lambda: extra.logprobs(scorers, asked.perplexity_rows), told, "perplexity")
        remote.close()
        figures["perplexity"] = found if isinstance(found, NotMeasured) else _perplexities(found)
        pairs["perplexity"] = nothing if isinstance(found, NotMeasured) else _ratios(found, extra.other)
    if asked.judge_rows and judge is not None:
        told(f"the judge reads the answers, {asked.judge_rows} rows a slice")
        said = attempt(lambda: extra.judged(judge, asked.judge_rows), told, "the judge")
        missing = isinstance(said, NotMeasured)
        figures["judge"] = said if missing else {name: opinion.summary for name, opinion in said.items()}
        pairs["grades"] = nothing if missing else {name: _gaps(of, extra.other) for name, of in said.items()}
        pairs["preferences"] = {} if missing else {name: counts for name, of in said.items() if (counts := _counts(of))}
    return figures, Measured(**pairs)


class NotMeasured(dict[str, Any]):
    """Figures that could not be had: the reason stands in their place."""


def attempt(act: Callable[[], T], told: Callable[[str], None], what: str) -> T | NotMeasured:
    """What was measured, or why it was not: nobody is held up by a scorer that is away."""
    try:
        return act()
    except RemoteFault as fault:
        told(f"{what}: not measured ({fault})")
        return NotMeasured(not_measured=str(fault))


def _perplexities(found: ByRole) -> dict[str, dict[str, float | None]]:
    from retrain.metrics.perplexity import Perplexity

    metric = Perplexity(keep_in_memory=True)
    return {
        role: {name: (metric.compute(data=values) or {}).get("perplexity") for name, values in of.items()}
        for role, of in found.items()
    }


def _ratios(found: ByRole, other: str) -> dict[str, list[float]]:
    mine, theirs = found.get(CHALLENGER, {}), found.get(other, {})
    return {name: ratios(values, theirs[name]) for name, values in mine.items()}


def _gaps(opinion: Opinion, other: str) -> list[float]:
    return [a - b for a, b in zip(opinion.grades[CHALLENGER], opinion.grades[other], strict=True)]


def _counts(opinion: Opinion) -> list[int]:
    """Nothing for a judge that sees one answer at a time: its preferences say no more than its grades."""
    if not opinion.shown:
        return []
    kinds = opinion.summary["preferences"]
    return [kinds["win"], kinds["loss"], sum(kinds.values())]
