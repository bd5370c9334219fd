"""The table of features, and how each is taken from an exchange (pure).

Lives here: `FEATURES`, the one list of what is profiled, and `features`.
Comes in: an exchange, redacted. Goes out: `Features`: numbers and labels under the names of the table.
Must never know: profiles, references, what counts as drift.

A number that an exchange does not have (no usage, not streamed) is absent, not zero.
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from agent.profile.text import Shape, measure
from agent.types import Exchange, Features

_JSON_CHARS = 100_000
_HEAD_CHARS = 400
_LABEL_CHARS = 64
_MIN_GENERATION_S = 1e-3
_ENDINGS = tuple(".!?…。！？)]}\"'`”»")  # noqa: RUF001 - the full-width marks are meant
_REFUSALS = (
    "i cannot", "i can't", "i can’t", "i'm unable", "i am unable", "i am not able", "i'm not able",
    "i won't be able", "as an ai", "as a language model", "i'm sorry, but", "i am sorry, but", "sorry, i can",
    "against my guidelines", "not able to assist", "unable to assist", "cannot assist", "can't assist",
    "ich kann nicht", "als ki", "tut mir leid", "je ne peux pas", "désolé", "lo siento", "no puedo",
)  # fmt: skip
_SURROGATES = re.compile("[\ud800-\udfff]")


class Kind(enum.StrEnum):
    """How a feature is profiled."""

    COUNT = "count"
    """A whole number that is always there."""
    NUMBER = "number"
    """A real number that may be absent."""
    FLAG = "flag"
    """0 or 1, always there."""
    LABEL = "label"
    """One of a few short strings, always there."""


@dataclass(frozen=True, slots=True)
class Seen:
    """An exchange with its texts measured once."""

    exchange: Exchange
    prompt: Shape
    answer: Shape


@dataclass(frozen=True, slots=True)
class Feature:
    """One row of the table. `take` gives the value, or None when the exchange does not have it."""

    name: str
    kind: Kind
    says: str
    take: Callable[[Seen], float | str | None]


def _text_features(which: str, of: Callable[[Seen], Shape], text: Callable[[Seen], str]) -> tuple[Feature, ...]:
    return (
        Feature(f"{which}_chars", Kind.COUNT, "characters", lambda s: of(s).chars),
        Feature(f"{which}_words", Kind.COUNT, "words, split by white space", lambda s: of(s).n_words),
        Feature(f"{which}_upper_share", Kind.NUMBER, "capitals of all characters", lambda s: of(s).upper_share),
        Feature(f"{which}_digit_share", Kind.NUMBER, "digits of all characters", lambda s: of(s).digit_share),
        Feature(f"{which}_non_letter_share", Kind.NUMBER, "characters no letters", lambda s: of(s).non_letter_share),
        Feature(f"{which}_non_ascii_share", Kind.NUMBER, "characters beyond ASCII", lambda s: of(s).non_ascii_share),
        Feature(f"{which}_compression_ratio", Kind.NUMBER, "zlib size over size", lambda s: of(s).compression_ratio),
        Feature(
            f"{which}_type_token_ratio", Kind.NUMBER, "distinct words over words", lambda s: of(s).type_token_ratio
        ),
        Feature(f"{which}_question_marks", Kind.COUNT, "question marks", lambda s: _questions(text(s))),
    )


def _questions(text: str) -> int:
    found = text.count("?")
    return found if text.isascii() else found + text.count("？") + text.count("¿")


def _overlap(seen: Seen) -> float | None:
    """Share of the answer's distinct words that stand in the prompt; None without any word."""
    words = set(seen.answer.words)
    return len(words.intersection(seen.prompt.words)) / len(words) if words else None


def _refuses(answer: str) -> float:
    head = answer[:_HEAD_CHARS].lower()
    return float(any(phrase in head for phrase in _REFUSALS))


def _closed(answer: str) -> float:
    return float(answer[-64:].rstrip().endswith(_ENDINGS))


def _speed(exchange: Exchange) -> float | None:
    """Tokens after the first over the time after the first; None when the engine counted none or did not stream."""
    if exchange.answer_tokens is None or exchange.ttft_s is None or exchange.answer_tokens < 2:
        return None
    generating_s = exchange.total_s - exchange.ttft_s
    return (exchange.answer_tokens - 1) / generating_s if generating_s >= _MIN_GENERATION_S else None


def _json_kind(answer: str) -> str:
    """`text` when it does not look like JSON; `valid` or `broken` when it begins like an object or array."""
    head = answer[:64].lstrip()
    if not head.startswith(("{", "[")) or len(answer) > _JSON_CHARS:
        return "text"
    try:
        json.loads(answer)
    except (ValueError, RecursionError):
        return "broken"
    return "valid"


FEATURES: tuple[Feature, ...] = (
    *_text_features("prompt", lambda s: s.prompt, lambda s: s.exchange.prompt),
    *_text_features("answer", lambda s: s.answer, lambda s: s.exchange.answer),
    Feature("messages", Kind.COUNT, "messages in the request", lambda s: len(s.exchange.messages)),
    Feature("prompt_tokens", Kind.NUMBER, "tokens, as the engine counted", lambda s: s.exchange.prompt_tokens),
    Feature("answer_tokens", Kind.NUMBER, "tokens, as the engine counted", lambda s: s.exchange.answer_tokens),
    Feature("reasoning_chars", Kind.COUNT, "characters of reasoning", lambda s: len(s.exchange.reasoning)),
    Feature("answer_prompt_overlap_share", Kind.NUMBER, "answer's words that the prompt has", _overlap),
    Feature("answer_refusal", Kind.FLAG, "opens with a phrase of refusal", lambda s: _refuses(s.exchange.answer)),
    Feature(
        "answer_ends_with_punctuation", Kind.FLAG, "the last character closes", lambda s: _closed(s.exchange.answer)
    ),
    Feature("ttft_s", Kind.NUMBER, "seconds to the first token", lambda s: s.exchange.ttft_s),
    Feature("total_s", Kind.NUMBER, "seconds to the last byte", lambda s: s.exchange.total_s),
    Feature("answer_tokens_per_s", Kind.NUMBER, "tokens a second after the first", lambda s: _speed(s.exchange)),
    Feature("finish_reason", Kind.LABEL, "why the answer ended", lambda s: s.exchange.finish_reason or "none"),
    Feature("outcome", Kind.LABEL, "how the exchange ended", lambda s: s.exchange.outcome.value),
    Feature("answer_json", Kind.LABEL, "text, valid or broken JSON", lambda s: _json_kind(s.exchange.answer)),
)


def features(exchange: Exchange) -> Features:
    """All features of an exchange. Finite numbers only; labels of at most 64 storable characters."""
    seen = Seen(exchange, measure(exchange.prompt), measure(exchange.answer))
    numbers: dict[str, float] = {}
    labels: dict[str, str] = {}
    for feature in FEATURES:
        value = feature.take(seen)
        if isinstance(value, str):
            labels[feature.name] = _SURROGATES.sub("�", value[:_LABEL_CHARS])
        elif value is not None and math.isfinite(value):
            numbers[feature.name] = float(value)
    return Features(exchange_id=exchange.id, numbers=numbers, labels=labels)
