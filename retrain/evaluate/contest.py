"""The contest: champion, challenger and bare model answer the same examples through the same engine.

In: holdout rows, a canary, an engine, who sits where. Out: eval.jsonl (one line an answer), probes.json, an
`Evaluation`.
Must never know: what is enough to win. Answers already written down are not asked again, so a killed contest goes on.

The three answer each handful of examples one after the other, so that a busy minute slows all of them alike.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from retrain.chat import Answer
from retrain.curate.rows import Row
from retrain.evaluate import record
from retrain.evaluate.evidence import evidence
from retrain.evaluate.figures import figures
from retrain.evaluate.record import CANARY, CHALLENGER, FRESH, OLD, Key, Said, Seats, Slices
from retrain.gate.verdict import Evidence
from serving.errors import InvalidInput, RemoteFault

CONCURRENT = 8
PATIENCE_S = 300.0
"""How long an engine may be away (killed, restarted) before the contest is given up."""
PROBES = 12
PROBE_TRIES = 24
PROBES_DRAFT = "probes.json"

T = TypeVar("T")


class EnginePort(Protocol):
    """What the contest asks of the engine; `serving.engine.Engine` is the real one."""

    def load(self, name: str, folder: Path | str) -> None:
        """Load an adapter; fine when it is loaded already."""

    def probe(self, name: str, probes: Sequence[Sequence[Mapping[str, str]]]) -> list[str]:
        """Greedy answers, one after the other, exactly as a rollout will ask for them."""


class ChatPort(Protocol):
    """Who is asked; `retrain.chat.Chat` is the real one."""

    def ask(self, model: str, messages: Sequence[Mapping[str, str]], max_tokens: int) -> Answer:
        """One greedy answer."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All answers as the gate needs them, and the figures that people read."""

    evidence: Evidence
    metrics: dict[str, Any] = field(default_factory=dict)


class Contest:
    """One evaluation, resumable. `folder` is where the challenger is published: it is served from there."""

    def __init__(
        self,
        seats: Seats,
        slices: Mapping[str, Sequence[Row]],
        engine: EnginePort,
        chat: ChatPort,
        folder: Path,
        work: Path,
        *,
        max_tokens: int = 32,
        canary_tokens: int = 64,
        patience_s: float = PATIENCE_S,
        on_answer: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> None:
        self._seats = seats
        self._slices = slices
        self._engine = engine
        self._chat = chat
        self._folder = folder
        self._work = work
        self._max_tokens = {CANARY: max(max_tokens, canary_tokens)}
        self._usual_tokens = max_tokens
        self._patience_s = patience_s
        self._on_answer = on_answer
        self._loaded = False
        self._said: dict[Key, dict[str, Any]] = record.read(work, seats)

    def run(self) -> Evaluation:
        """Ask what has not been asked, record probes, and weigh nothing. Raises RemoteFault, InvalidInput."""
        if not any(self._slices.get(name) for name in (FRESH, OLD)):
            raise InvalidInput(
                "the holdout is empty, so nobody can be examined: bring labelled exchanges (feedback or a labeller) "
                'or replay rows marked "split": "holdout"'
            )
        self.ready()
        total = len(self._seats.names()) * sum(len(rows) for rows in self._slices.values())
        with (self._work / record.FILE).open("a", encoding="utf-8") as out, ThreadPoolExecutor(CONCURRENT) as pool:
            for name, rows in self._slices.items():
                for start in range(0, len(rows), CONCURRENT):
                    numbers = range(start, min(start + CONCURRENT, len(rows)))
                    for role, model in self._seats.names().items():
                        self._ask(pool, out, [(name, number, role) for number in numbers], model)
                    self._on_answer(len(self._said), total)
        self._record_probes()
        return self.recorded()

    @property
    def seats(self) -> Seats:
        """Who contests."""
        return self._seats

    @property
    def slices(self) -> Slices:
        """What is asked."""
        return self._slices

    def ready(self) -> None:
        """Wait until the engine is there and holds the challenger. Raises RemoteFault when patience ends."""
        self._loaded = False
        self._patiently(lambda: None)

    @property
    def said(self) -> Said:
        """Everything that was answered so far."""
        return self._said

    def recorded(self) -> Evaluation:
        """What is written down, without asking anybody. Raises KeyError when the contest never ended."""
        roles = list(self._seats.names())
        return Evaluation(
            evidence=evidence(self._said, self._slices, self._seats.other),
            metrics=figures(self._said, self._slices, roles),
        )

    def _ask(self, pool: ThreadPoolExecutor, out: Any, keys: Sequence[Key], model: str) -> None:
        open_keys = [key for key in keys if key not in self._said]
        answers = pool.map(lambda key: self._answer(key, model), open_keys)
        for key, answer in zip(open_keys, answers, strict=True):
            line = record.line(key, model, self._slices[key[0]][key[1]], answer)
            out.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._said[key] = line
        out.flush()

    def _answer(self, key: Key, model: str) -> Answer:
        row = self._slices[key[0]][key[1]]
        most = self._max_tokens.get(key[0], self._usual_tokens)
        return self._patiently(lambda: self._chat.ask(model, row.chat, most))

    def _patiently(self, act: Callable[[], T]) -> T:
        """Do something that needs the challenger loaded; wait for an engine that is away and load it again."""
        deadline = time.monotonic() + self._patience_s
        wait_s = 0.5
        while True:
            try:
                if not self._loaded:
                    self._engine.load(self._seats.challenger, self._folder)
                    self._loaded = True
                return act()
            except RemoteFault:
                if time.monotonic() + wait_s > deadline:
                    raise
                self._loaded = False
                time.sleep(wait_s)
                wait_s = min(wait_s * 2, 5.0)

    def _record_probes(self) -> None:
        """Write prompts with the challenger's exact greedy answers, asked alone as a rollout will ask.

        Those whose answer was the same in the contest's batches come first: a near tie proves nothing.
        """
        path = self._work / PROBES_DRAFT
        if path.exists():
            return
        steady: list[dict[str, Any]] = []
        shaky: list[dict[str, Any]] = []
        rows = [(name, number, row) for name in (FRESH, OLD) for number, row in enumerate(self._slices.get(name, ()))]
        for name, number, row in rows[:PROBE_TRIES]:
            if len(steady) == PROBES:
                break
            chat = row.chat
            answer = self._patiently(lambda chat=chat: self._engine.probe(self._seats.challenger, [chat]))[0]  # type: ignore[misc]
            same = answer.strip() == self._said[name, number, CHALLENGER]["answer"]
            (steady if same else shaky).append({"messages": chat, "answer": answer})
        draft = path.with_suffix(".tmp")
        draft.write_text(json.dumps([*steady, *shaky][:PROBES], ensure_ascii=False, indent=1), encoding="utf-8")
        draft.replace(path)
