"""How each feature of the table is taken from an exchange (pure).

Lives here: `features`, and `features_of_texts` for a training set that has texts only.
Comes in: an exchange, redacted. Goes out: `Features`: numbers and labels under the names of the table.
Must never know: profiles, references, what counts as drift.

A number that an exchange does not have (no usage, not streamed) is absent, not zero.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from agent.origin import origin
from agent.profile.language import language as language_of
from agent.profile.sketch import sketch
from agent.profile.table import LABELS, OTHER_NUMBERS, TEXT_NUMBERS
from agent.profile.text import Shape, measure, repeated_4gram_share
from agent.types import Exchange, Features

_JSON_CHARS = 100_000
_HEAD_CHARS = 160
_LABEL_CHARS = 64
_MOST = 1e150
_MIN_GENERATION_S = 1e-3
_ENDINGS = tuple(".!?…。！？)]}\"'`”»")  # noqa: RUF001 - the full-width marks are meant
_REFUSALS = (
    "i cannot", "i can't", "i can’t", "i'm unable", "i am unable", "i am not able", "i'm not able",
    "i won't be able", "as an ai", "as a language model", "i'm sorry, but", "i am sorry, but", "sorry, i can",
    "against my guidelines", "not able to assist", "unable to assist", "cannot assist", "can't assist",
    "ich kann nicht", "als ki", "tut mir leid", "je ne peux pas", "désolé", "lo siento", "no puedo",
)  # fmt: skip
_APOLOGIES = (
    "sorry", "apologi", "my mistake", "excuse me", "forgive me", "pardon", "entschuldig", "tut mir leid", "verzeih",
    "désolé", "je m'excuse", "lo siento", "disculp", "perdón", "desculp", "mi dispiace", "mi scuso", "het spijt me",
)  # fmt: skip
_SURROGATES = re.compile("[\ud800-\udfff]")
_TEXT_NAMES = tuple(feature.name for feature in TEXT_NUMBERS)
_OTHER_NAMES = tuple(feature.name for feature in OTHER_NUMBERS)
_TEXT_LABELS = tuple(feature.name for feature in LABELS if feature.texts)
_OTHER_LABELS = tuple(feature.name for feature in LABELS if not feature.texts)


def features(exchange: Exchange, *, language: bool = True) -> Features:
    """All features of an exchange. Finite numbers only; labels of at most 64 storable characters.

    An exchange whose text was dropped brings the features that were measured before.
    """
    if exchange.features is not None:
        return exchange.features
    numbers, labels = _of_texts(exchange.prompt, exchange.answer, language=language)
    _put(numbers, _OTHER_NAMES, _other_numbers(exchange))
    called = exchange.tool_calls[0].name if exchange.tool_calls else "none"
    given = (origin(exchange) or "none", called, exchange.finish_reason or "none", exchange.outcome.value)
    for name, label in zip(_OTHER_LABELS, given, strict=True):
        labels[name] = label if label.isascii() and len(label) <= _LABEL_CHARS else _storable(label)
    return Features(exchange_id=exchange.id, numbers=numbers, labels=labels)


def features_of_texts(exchange_id: str, prompt: str, answer: str, *, language: bool = True) -> Features:
    """The features that a prompt and its answer have without an exchange around them: those marked `texts`."""
    numbers, labels = _of_texts(prompt, answer, language=language)
    return Features(exchange_id=exchange_id, numbers=numbers, labels=labels)


def _of_texts(prompt_text: str, answer_text: str, *, language: bool) -> tuple[dict[str, float], dict[str, str]]:
    prompt, answer = measure(prompt_text), measure(answer_text)
    sketched = sketch(prompt.folded, answer.folded)
    head = answer_text[:_HEAD_CHARS].lower()
    values = (
        *_shape(prompt),
        *sketched.one,
        *_shape(answer),
        *sketched.other,
        repeated_4gram_share(answer.words),
        float(any(phrase in head for phrase in _REFUSALS)),
        float(any(phrase in head for phrase in _APOLOGIES)),
        float(answer_text[-64:].rstrip().endswith(_ENDINGS)),
    )
    numbers: dict[str, float] = dict(zip(_TEXT_NAMES, values, strict=False))
    _put(numbers, _TEXT_NAMES[len(values) :], (_overlap(prompt, answer), sketched.cosine))
    labels = dict(
        zip(
            _TEXT_LABELS,
            (
                language_of(prompt.part, prompt.words) if language else "off",
                language_of(answer.part, answer.words) if language else "off",
                _json_kind(answer_text),
            ),
            strict=True,
        )
    )
    return numbers, labels


def _shape(shape: Shape) -> tuple[float, ...]:
    """In the order of the table's rows for a text."""
    return (
        float(shape.chars),
        float(shape.n_words),
        shape.upper_share,
        shape.digit_share,
        shape.non_letter_share,
        shape.non_ascii_share,
        shape.compression_ratio,
        shape.type_token_ratio,
    )


def _other_numbers(exchange: Exchange) -> tuple[float | None, ...]:
    """In the order of the table's rows for the rest of the exchange."""
    return (
        len(exchange.messages),
        len(exchange.tools),
        exchange.answers,
        len(exchange.reasoning),
        len(exchange.tool_calls),
        _valid_calls(exchange),
        exchange.prompt_tokens,
        exchange.answer_tokens,
        exchange.logprob_mean,
        exchange.ttft_s,
        exchange.gap_p50_s,
        exchange.gap_max_s,
        exchange.total_s,
        _speed(exchange),
    )


def _put(numbers: dict[str, float], names: Iterable[str], values: Iterable[float | None]) -> None:
    """Those values that are there, finite and of a size that sums of squares can hold."""
    for name, value in zip(names, values, strict=True):
        if value is not None and -_MOST < value < _MOST:
            numbers[name] = float(value)


def _overlap(prompt: Shape, answer: Shape) -> float | None:
    """Share of the answer's distinct words that stand in the prompt; None without any word."""
    words = answer.distinct_words
    return len(words & prompt.distinct_words) / len(words) if words else None


def _speed(exchange: Exchange) -> float | None:
    """Tokens after the first over the time after the first; None when the engine counted none or did not stream."""
    tokens, ttft_s = exchange.answer_tokens, exchange.ttft_s
    if tokens is None or ttft_s is None or not 2 <= tokens < _MOST:
        return None
    generating_s = exchange.total_s - ttft_s
    return (tokens - 1) / generating_s if generating_s >= _MIN_GENERATION_S else None


def _valid_calls(exchange: Exchange) -> float | None:
    """Share of the tool calls whose arguments are a JSON text; None without calls."""
    calls = exchange.tool_calls
    return sum(_is_json(call.arguments) for call in calls) / len(calls) if calls else None


def _json_kind(answer: str) -> str:
    """`text` when it does not look like JSON; `valid` or `broken` when it begins like an object or array."""
    if not answer[:64].lstrip().startswith(("{", "[")) or len(answer) > _JSON_CHARS:
        return "text"
    return "valid" if _is_json(answer) else "broken"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _storable(label: str) -> str:
    return _SURROGATES.sub("�", label[:_LABEL_CHARS])
