"""Which of several base models is the smallest that will do, before anything is trained.

In: candidates, a few dozen examples, the declared use. Out: one `Candidate` each, and the choice with its reason.
Must never know: how a candidate is asked (that is `ask`), the command line. Pure but for reading the cards.

Zero-shot quality is a floor, not a forecast: training on the task lifts small models most. Where no candidate gets
anything right (a made-up form of answer), what tells them apart is how surprised each is by the right answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from retrain.bases import licence
from retrain.bases.card import Card
from retrain.bases.licence import Ruling, Use
from retrain.gate.intervals import wilson

WITHIN = 0.05
"""A smaller candidate will do when its F1 is at most so much below the best one's."""
WITHIN_LOSS = 0.10
"""The same for the loss of the right answers, as a share of the least, where no F1 says anything."""
NOTHING = 0.05
"""Up to this F1 nobody is right."""
Z95 = 1.96
PROSE_WORDS, SMALL = 40, 1_000_000_000
"""Answers of so many words are prose; below so many weights a model writes poor prose, however it is trained."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What asking gave. `loss` is in nats a token of the right answer; None where the engine does not tell."""

    exact: float
    f1: float
    loss: float | None
    n: int
    seconds_per_answer: float
    memory_bytes: int | None
    tokens_per_answer: float


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One base model, what its card says and what was measured. `faults` are reasons against it."""

    name: str
    card: Card | None
    ruling: Ruling
    measured: Measured | None
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    price_per_1000: float | None = None

    @property
    def size(self) -> int:
        """Weights; unknown sizes come last."""
        return self.card.parameters if self.card else 1 << 62

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The smallest that will do, if any, and why."""

    name: str | None
    says: str
    candidates: tuple[Candidate, ...] = field(default=())


def judged(
    name: str, card: Card | None, measured: Measured | None, *, use: Use | None, languages: Sequence[str],
    answer_words: float, price_per_hour: float | None, declared: str | None = None,
) -> Candidate:  # fmt: skip
    """A candidate with all that speaks against it (pure). Without a declared use the licence is only told."""
    ruling = licence.ruling(declared or (card.licence if card else None), use or "research")
    faults = [ruling.says] if use is not None and not ruling.allowed else []
    warnings = []
    if card is not None:
        if not card.chats:
            faults.append("it has no chat template: take its instruct version")
        known = {code.split("-")[0].casefold() for code in card.languages}
        foreign = sorted(set(languages) - known)
        if known and foreign:
            warnings.append(f"its card does not list {', '.join(foreign)}, which the examples are written in")
        if not known:
            warnings.append("its card lists no languages")
        if card.parameters < SMALL and answer_words > PROSE_WORDS:
            warnings.append(
                f"answers of {answer_words:.0f} words are prose, and {card.parameters / 1e6:.0f} million weights write "
                "poor prose however they are trained"
            )
    price = None
    if measured is not None and price_per_hour is not None:
        price = measured.seconds_per_answer * 1000 / 3600 * price_per_hour
    return Candidate(
        name=name, card=card, ruling=ruling, measured=measured, faults=tuple(faults), warnings=tuple(warnings),
        price_per_1000=price,
    )  # fmt: skip


def choose(candidates: Sequence[Candidate], *, within: float = WITHIN) -> Choice:
    """The smallest candidate without faults that is about as good as the best (pure)."""
    fit = [(c, c.measured) for c in candidates if not c.faults and c.measured is not None]
    if not fit:
        return Choice(name=None, says="none will do: each has something against it", candidates=tuple(candidates))
    best = max(measured.f1 for _, measured in fit)
    if best > NOTHING:
        good = [c for c, measured in fit if measured.f1 >= best - within]
        low, high = wilson(round(best * fit[0][1].n), fit[0][1].n, Z95)
        why = f"its F1 is within {within:g} of the best, {best:.2f} (95 % of it: {low:.2f} to {high:.2f})"
    else:
        losses = [(c, measured.loss) for c, measured in fit if measured.loss is not None]
        least = min((loss for _, loss in losses), default=None)
        if least is None:
            says = "nobody is right on anything, and the engine tells no losses: give folders, or more telling examples"
            return Choice(name=None, says=says, candidates=tuple(candidates))
        good = [c for c, loss in losses if loss <= least * (1 + WITHIN_LOSS)]
        why = (
            f"nobody is right without training (best F1 {best:.2f}), and its loss on the right answers is within "
            f"{WITHIN_LOSS:.0%} of the least, {least:.2f} nats a token"
        )
    smallest = min(good, key=lambda c: c.size)
    return Choice(name=smallest.name, says=f"{smallest.name} is the smallest that will do: {why}",
                  candidates=tuple(candidates))  # fmt: skip


def token_f1(expected: str, answer: str) -> float:
    """F1 of the words that two texts share, as SQuAD counts it (Rajpurkar et al. 2016)."""
    left, right = expected.casefold().split(), answer.casefold().split()
    shared = sum((Counter(left) & Counter(right)).values())
    if not left or not right or not shared:
        return float(left == right)
    return 2 * shared / (len(left) + len(right))


def scores(expected: Sequence[str], answers: Sequence[str]) -> Mapping[str, float]:
    """{"exact", "f1"}, means over the examples."""
    pairs = [(a.strip(), b.strip()) for a, b in zip(expected, answers, strict=True)]
    return {
        "exact": sum(a == b for a, b in pairs) / len(pairs),
        "f1": sum(token_f1(a, b) for a, b in pairs) / len(pairs),
    }
