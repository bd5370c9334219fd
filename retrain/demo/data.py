"""The demo's task and traffic: who says what to the house, and what the right answer is.

In: a seed. Out: `build(seed)` gives training and held-out rows; `traffic(kind, seed, n)` a stream of
requests; `truth(utterance)` the right answer as a recogniser (hassil's matcher over the same templates) finds
it. It stands in for a person who corrects the assistant, and shares no code with the walk that made the row.
Must never know: models, training, HTTP. The same seed gives the same rows, everywhere.

How the sentences are divided. Templates with one answer shape (say `light on in {area}`) are divided among
three parts: `train` (what version 1 and the judge learn from), `live` (met in traffic only), `held` (met in no
training and in no traffic). A shape with fewer than three templates is divided by phrase instead (a phrase is
an utterance without its values). A held phrase which nearly repeats a train or live phrase is left out.
Traffic speaks from `train` and `live` alike, never with an utterance that stands in a training or held-out
set: real users say some things as the makers foresaw and others not.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Literal

from retrain.demo.grammar import Grammar, Spoken, Template, canonical
from retrain.demo.home import SYSTEM, Skill
from serving.errors import InvalidInput

Part = Literal["train", "live", "held"]
Kind = Literal["reference", "drifted"]

USERS = 200
ZIPF_EXPONENT = 1.0
NEW_SHARE = 0.5
"""Share of drifted traffic which asks for features that version 1 was never taught."""
SPLIT_SEED = 20
"""The division into parts is a property of the task, not of one build: every seed shares it."""
ENOUGH_TO_HOLD = 3
"""A shape with so many templates gives some of them (a quarter) to the held part."""
ENOUGH_FOR_LIVE = 5
"""A shape with so many templates gives some of them (a fifth) to the live part."""
_PROBES = 40
"""Expansions tried for each template when its phrases are listed."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One utterance with its right answer."""

    utterance: str
    answer: str
    intent: str
    is_new: bool
    template: str
    phrase: str
    """The utterance's near-duplicate key: values replaced by {slot}, idle words gone."""

    def to_training(self) -> dict[str, object]:
        """The row as training reads it: chat messages and the answer."""
        return {"messages": messages(self.utterance), "answer": self.answer}


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request of live traffic; `user` is a name such as `user-017`."""

    utterance: str
    answer: str
    intent: str
    is_new: bool
    user: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """All rows of the demo's task. No utterance stands in two of the lists."""

    train_v1: list[Row]
    judge_train: list[Row]
    heldout_old: list[Row]
    heldout_new: list[Row]

    def utterances(self) -> frozenset[str]:
        """Every utterance of every list, in lower case."""
        lists = (self.train_v1, self.judge_train, self.heldout_old, self.heldout_new)
        return frozenset(row.utterance.lower() for rows in lists for row in rows)


def messages(utterance: str) -> list[dict[str, str]]:
    """The chat messages with which the demo's application asks."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": utterance}]


def truth(utterance: str) -> str | None:
    """The right answer, or None where the templates give none or more than one."""
    found = _house().grammar.answers(utterance)
    return next(iter(found)) if len(found) == 1 else None


@cache
def build(seed: int, *, v1: int = 1500, judge: int = 1800, heldout: int = 300) -> Task:
    """The task's rows (a few seconds; cached). `judge` rows are old and new alike, on other utterances than `v1`."""
    house, used = _house(), set[str]()
    rng = random.Random(f"task {seed}")
    learn, live = _by_templates, _by_share
    old, new = house.drawer(("train",), False, learn), house.drawer(("train",), True, learn)
    held_old, held_new = house.drawer(("held",), False, live), house.drawer(("held",), True, live)
    return Task(
        heldout_old=[held_old(rng, used) for _ in range(heldout)],
        heldout_new=[held_new(rng, used) for _ in range(heldout)],
        train_v1=[old(rng, used) for _ in range(v1)],
        judge_train=[(new if i % 2 else old)(rng, used) for i in range(judge)],
    )


def traffic(kind: Kind, seed: int, n: int, *, new_share: float = NEW_SHARE) -> list[Request]:
    """`n` requests of live traffic in order of arrival.

    `reference` is what the house was made for; in `drifted` about `new_share` of the requests ask for new features.
    Utterances may repeat, as people do; none stands in `build(0)`.
    """
    if kind not in ("reference", "drifted"):
        raise InvalidInput(f"traffic is 'reference' or 'drifted', not {kind!r}")
    house, known = _house(), build(0).utterances()
    rng = random.Random(f"traffic {kind} {seed}")
    old, new = (house.drawer(("train", "live"), is_new, _by_share) for is_new in (False, True))
    heavy = list(accumulate((rank + 1) ** -ZIPF_EXPONENT for rank in range(USERS)))
    out: list[Request] = []
    for _ in range(n):
        is_new = kind == "drifted" and rng.random() < new_share
        row = (new if is_new else old)(rng, set(known))
        user = rng.choices(range(USERS), cum_weights=heavy)[0]
        out.append(
            Request(
                utterance=row.utterance,
                answer=row.answer,
                intent=row.intent,
                is_new=is_new,
                user=f"user-{user:03d}",
            )
        )
    return out


Drawer = Callable[[random.Random, set[str]], Row]
Weigh = Callable[[Skill, int, int], float]
"""Weight of one shape in a draw, from its skill, the skill's number of shapes, and the shape's templates."""


def _by_templates(_skill: Skill, _shapes: int, templates: int) -> float:
    """For learning: hard shapes (many ways to say it) get more rows, but less than in proportion."""
    return float(templates**0.5)


def _by_share(skill: Skill, shapes: int, _templates: int) -> float:
    """For traffic: each skill its share, spread evenly over its shapes."""
    return skill.share / shapes


class _House:
    """The templates and their division into parts."""

    def __init__(self) -> None:
        self.grammar = Grammar()
        self._part: dict[tuple[str, str], Part] = {}
        """(template key, canonical phrase) -> part."""
        self._shapes: dict[str, list[Template]] = defaultdict(list)
        self._divide(random.Random(SPLIT_SEED))

    def _divide(self, rng: random.Random) -> None:
        phrases: dict[str, list[str]] = {}
        for template in self.grammar.templates:
            probes = [self.grammar.walk(template, rng) for _ in range(_PROBES)]
            phrases[template.key] = sorted({canonical(p.phrase) for p in probes})
            self._shapes[probes[0].shape].append(template)
        for templates in self._shapes.values():
            self._divide_shape(templates, phrases, rng)
        seen = {phrase for (_, phrase), part in self._part.items() if part != "held"}
        self._part = {k: p for k, p in self._part.items() if p != "held" or k[1] not in seen}

    def _divide_shape(self, templates: list[Template], phrases: dict[str, list[str]], rng: random.Random) -> None:
        keys = [t.key for t in templates]
        rng.shuffle(keys)
        if len(keys) >= ENOUGH_TO_HOLD:
            held, live = max(1, round(0.25 * len(keys))), round(0.2 * len(keys)) if len(keys) >= ENOUGH_FOR_LIVE else 0
            for at, key in enumerate(keys):
                part: Part = "held" if at < held else "live" if at < held + live else "train"
                self._part.update({(key, phrase): part for phrase in phrases[key]})
            return
        pairs = [(key, phrase) for key in keys for phrase in phrases[key]]
        rng.shuffle(pairs)
        held = round(0.25 * len(pairs)) if len(pairs) >= ENOUGH_TO_HOLD else 0
        self._part.update({pair: "held" if at < held else "train" for at, pair in enumerate(pairs)})

    def drawer(self, parts: tuple[Part, ...], is_new: bool, weigh: Weigh) -> Drawer:
        """A function that draws one unambiguous row of these parts, unlike any utterance in the set given to it.

        The set grows by what was drawn.
        """
        wanted = {key for (key, _), part in self._part.items() if part in parts}
        pools: list[list[Template]] = []
        for templates in self._shapes.values():
            pool = [t for t in templates if t.key in wanted and t.skill.new == is_new]
            if pool:
                pools.append(pool)
        shapes: dict[Skill, int] = defaultdict(int)
        for pool in pools:
            shapes[pool[0].skill] += 1
        weights = list(accumulate(weigh(p[0].skill, shapes[p[0].skill], len(p)) for p in pools))

        def draw(rng: random.Random, used: set[str]) -> Row:
            while True:
                template = rng.choice(rng.choices(pools, cum_weights=weights)[0])
                spoken = self.grammar.walk(template, rng)
                phrase = canonical(spoken.phrase)
                if self._part.get((template.key, phrase)) not in parts or spoken.text.lower() in used:
                    continue
                if self.grammar.answers(spoken.text) != {spoken.answer}:
                    continue
                used.add(spoken.text.lower())
                return _row(template, spoken, phrase)

        return draw


def _row(template: Template, spoken: Spoken, phrase: str) -> Row:
    return Row(
        utterance=spoken.text, answer=spoken.answer, intent=template.skill.intent, is_new=template.skill.new,
        template=template.key, phrase=phrase,
    )  # fmt: skip


@cache
def _house() -> _House:
    return _House()
