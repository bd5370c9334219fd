"""What a row is made of: spelling, length, language, private data (pure, but for a recogniser handed in).

In: rows. Out: rows, or why they go. Must never know: splits, files.

Private data are found by the patterns that guard capture (`agent.intake.patterns`). A person's, a city's or a
company's name has no pattern: an owner's own list does that (`capture.names`), or Presidio with a model, outside.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Collection
from dataclasses import replace

from agent.intake.patterns import mask
from agent.profile.language import UNKNOWN, language
from retrain.curate.rows import Row
from serving.errors import InvalidInput

Mask = Callable[[str], str]
_INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200e\u200f\u2060\ufeff\u00ad"))
_LEAST_SURE = 0.6


def normalised(row: Row) -> Row:
    """The row in one spelling: NFC, plain line ends, no invisible or control characters, no white space at the ends."""
    messages = tuple((role, _tidy(text)) for role, text in row.messages)
    answer = _tidy(row.answer)
    same = messages == row.messages and answer == row.answer
    return row if same else replace(row, messages=messages, answer=answer)


def _tidy(text: str) -> str:
    text = text.strip()
    if text.isascii() and text.isprintable():
        return text
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n").replace("\r", "\n").translate(_INVISIBLE)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc").strip()


def misfit(row: Row, *, least: int, most: int, languages: Collection[str]) -> str | None:
    """Why a row goes (empty, too short, too long, another language), or None."""
    prompt = row.prompt
    if not prompt.strip():
        return "empty prompt"
    if len(prompt) < least:
        return f"prompt shorter than {least} characters"
    if max(len(prompt), len(row.answer)) > most:
        return f"longer than {most} characters"
    if languages:
        code = language(prompt, prompt.lower().split())
        if code != UNKNOWN and code not in languages:
            return f"language {code}"
    return None


def masked(row: Row, by: Mask = mask) -> Row:
    """The row without private data; the same object when it holds none. Its group becomes a hash when it is text."""
    messages = tuple((role, by(text)) for role, text in row.messages)
    answer = by(row.answer)
    if messages == row.messages and answer == row.answer:
        return row
    group = row.group
    if by(group) != group:
        group = "masked:" + hashlib.sha256(group.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return replace(row, messages=messages, answer=answer, group=group)


def presidio() -> Mask:
    """Our patterns and, after them, Presidio's pattern recognisers. Raises InvalidInput when it is not installed."""
    try:
        from presidio_analyzer import PatternRecognizer, predefined_recognizers
    except ImportError as error:
        raise InvalidInput("pii_engine presidio needs `pip install presidio-analyzer`, or write builtin") from error
    kinds = [getattr(predefined_recognizers, name) for name in predefined_recognizers.__all__]
    found = [kind() for kind in kinds if isinstance(kind, type) and issubclass(kind, PatternRecognizer)]
    english = [one for one in found if one.supported_language == "en" and one.supported_entities != ["DATE_TIME"]]

    def by(text: str) -> str:
        text = mask(text)
        spans = [
            (hit.start, hit.end, hit.entity_type)
            for one in english
            for hit in one.analyze(text, one.supported_entities, None)
            if hit.score >= _LEAST_SURE
        ]
        for start, end, kind in sorted(spans, reverse=True):
            if "[" not in text[start:end]:
                text = f"{text[:start]}[{kind}]{text[end:]}"
        return text

    return by
