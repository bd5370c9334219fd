"""What is measured beside right and wrong: perplexity of the right answer, the judge's grades and preferences.

In: rows, what was said, who scores. Out: figures, and one line a measurement in extra.jsonl.
Must never know: the gate. Nothing here decides, so a scorer that cannot be had is told and costs nothing else. A
measurement that is written down is not made again. One request at a time: a vLLM whose adapters reach the output
layer does not survive several requests for prompt log-probabilities at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from agent.quality.likelihood import LikelihoodJudge
from agent.quality.remote import Remote
from agent.types import Message
from retrain import eval_judge
from retrain.curate.rows import Row
from retrain.eval_evidence import BASE, CHALLENGER, CHAMPION, FRESH, OLD, Said, Slices
from retrain.evaluate import Contest
from retrain.order import EvaluatePart
from serving.errors import RemoteFault

FILE = "extra.jsonl"


class Likelihood(Protocol):
    """Scores a text under one served model; `agent.quality.likelihood.LikelihoodJudge` is the real one."""

    def mean_logprob(self, messages: Sequence[Message], answer: str) -> tuple[float, int]:
        """(nats a token, tokens that the call cost). Raises RemoteFault."""


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

    def perplexity(self, likelihoods: dict[str, Likelihood], rows: int) -> dict[str, Any]:
        """{role: {slice: perplexity}} on the first rows of each slice that have an answer word for word."""
        from retrain.metrics.perplexity import Perplexity

        metric = Perplexity(keep_in_memory=True)
        made: dict[str, Any] = {}
        for role, scorer in likelihoods.items():
            for name, number, row in self._rows(rows, exact=True):
                messages = [Message(role=r, text=t) for r, t in row.messages]
                key = f"logprob/{name}/{number}/{role}"
                value = self._measured(key, lambda m=messages, a=row.answer, s=scorer: s.mean_logprob(m, a)[0])  # type: ignore[misc]
                made.setdefault(role, {}).setdefault(name, []).append(math.nan if value is None else value)
        return {
            role: {name: (metric.compute(data=values) or {}).get("perplexity") for name, values in of.items()}
            for role, of in made.items()
        }

    def judged(self, judge: eval_judge.Judge, rows: int) -> dict[str, Any]:
        """{slice: what the judge thought}."""
        other = CHAMPION if CHAMPION in self.roles else BASE
        made: dict[str, Any] = {}
        for name in (FRESH, OLD):
            grades: dict[str, list[float]] = {role: [] for role in self.roles}
            preferences: list[str] = []
            shown: list[tuple[str, str]] = []
            for _, number, row in (entry for entry in self._rows(rows) if entry[0] == name):
                answers = {role: str(self.said[name, number, role]["answer"]) for role in self.roles}
                for role, text in answers.items():
                    grades[role].append(self._grade(judge, row, text))
                mine, theirs = answers[CHALLENGER], answers[other]
                if judge.chooser is None or mine == theirs:
                    preferences.append(eval_judge.from_grades(grades[CHALLENGER][-1], grades[other][-1]))
                    continue
                ways = self._both_ways(judge.chooser, row, mine, theirs)
                shown.append(ways)
                preferences.append(eval_judge.preference(*ways))
            if preferences:
                made[name] = eval_judge.summary(grades, preferences, shown)
        return made

    def _grade(self, judge: eval_judge.Judge, row: Row, text: str) -> float:
        value = self._measured(f"grade/{row.id}/{text}", lambda: judge.grade(row, text))
        if value is None:
            raise RemoteFault("the judge's grade is no number")
        return float(value)

    def _both_ways(self, chooser: eval_judge.Chooser, row: Row, mine: str, theirs: str) -> tuple[str, str]:
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
    judge: eval_judge.Judge | None,
    told: Callable[[str], None],
) -> dict[str, Any]:
    """Everything that an order asks to be measured beside right and wrong, as figures by name."""
    names = contest.seats.names()
    extra = Extra(work=work, said=contest.said, slices=contest.slices, roles=list(names), again=contest.ready)
    made: dict[str, Any] = {}
    if asked.perplexity_rows:
        remote = Remote(url, token)
        scorers: dict[str, Likelihood] = {
            role: LikelihoodJudge(remote, name, midpoint=0.0, slope=1.0) for role, name in names.items()
        }
        told(f"perplexity of the right answers, {asked.perplexity_rows} rows a slice")
        made["perplexity"] = attempt(lambda: extra.perplexity(scorers, asked.perplexity_rows), told, "perplexity")
        remote.close()
    if asked.judge_rows and judge is not None:
        told(f"the judge reads the answers, {asked.judge_rows} rows a slice")
        made["judge"] = attempt(lambda: extra.judged(judge, asked.judge_rows), told, "the judge")
    return made


def attempt(act: Callable[[], dict[str, Any]], told: Callable[[str], None], what: str) -> dict[str, Any]:
    """The figures, or why there are none: nobody is held up by what does not decide."""
    try:
        return act()
    except RemoteFault as fault:
        told(f"{what}: not measured ({fault})")
        return {"not_measured": str(fault)}
