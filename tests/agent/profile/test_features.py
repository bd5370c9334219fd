"""The table of features says what is in an exchange, for any text."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.profile.features import FEATURES, Kind, features
from agent.profile.text import measure
from agent.types import Exchange, Message, Outcome

ENDS = "_chars _words _share _ratio _marks _tokens _s messages _refusal _punctuation finish_reason outcome _json"


def exchange(prompt: str, answer: str, **changes: Any) -> Exchange:
    """A whole exchange with these texts."""
    values: dict[str, Any] = {
        "id": "x",
        "worker": "w",
        "seq": 1,
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        "path": "/v1/chat/completions",
        "alias": "home",
        "version": "home-v1",
        "status": 200,
        "outcome": Outcome.COMPLETE,
        "messages": (Message(role="system", text="be brief"), Message(role="user", text=prompt)),
        "answer": answer,
    }
    return Exchange(**{**values, **changes})


def test_each_feature_has_its_value() -> None:
    """The numbers of a small exchange are what a person counts."""
    got = features(
        exchange("Is the Light ON in room 7?", "The light is off.", answer_tokens=5, ttft_s=0.1, total_s=0.5)
    )
    expected = {
        "prompt_chars": 26,
        "prompt_words": 7,
        "prompt_upper_share": 4 / 26,
        "prompt_digit_share": 1 / 26,
        "prompt_non_letter_share": 8 / 26,
        "prompt_question_marks": 1,
        "answer_words": 4,
        "answer_type_token_ratio": 1,
        "messages": 2,
        "answer_tokens": 5,
        "answer_prompt_overlap_share": 3 / 4,
        "answer_refusal": 0,
        "answer_ends_with_punctuation": 1,
        "ttft_s": 0.1,
        "answer_tokens_per_s": 10,
    }
    assert {name: got.numbers[name] for name in expected} == pytest.approx(expected)
    assert got.labels == {"finish_reason": "none", "outcome": "complete", "answer_json": "text"}


def test_what_is_not_known_is_absent() -> None:
    """Without usage and streaming there is no token count and no time to the first token, rather than a zero."""
    got = features(exchange("hi", ""))
    absent = {"prompt_tokens", "answer_tokens", "ttft_s", "answer_tokens_per_s", "answer_prompt_overlap_share"}
    assert absent.isdisjoint(got.numbers)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [('{"a": 1}', "valid"), (" [1, 2", "broken"), ("plain {", "text"), ("[" * 50_000, "broken"), ("", "text")],
)
def test_json_is_recognised(answer: str, kind: str) -> None:
    """Answers that begin like JSON are valid or broken; the others are text."""
    assert features(exchange("x", answer)).labels["answer_json"] == kind


@pytest.mark.parametrize("answer", ["I'm sorry, but I can't do that.", "As an AI, no", "Ich kann nicht helfen"])
def test_refusals_are_flagged(answer: str) -> None:
    """An answer that opens with a phrase of refusal is flagged."""
    assert features(exchange("x", answer)).numbers["answer_refusal"] == 1


@given(st.text(st.characters(), max_size=80))
def test_shares_agree_with_unicode(text: str) -> None:
    """The fast counts are those of a plain walk over the characters, lone surrogates too."""
    got, n = measure(text), max(1, len(text))
    assert got.chars == len(text)
    assert got.upper_share == pytest.approx(sum(c.isupper() for c in text) / n)
    assert got.digit_share == pytest.approx(sum(unicodedata.category(c) == "Nd" for c in text) / n)
    assert got.non_letter_share == pytest.approx(sum(not c.isalpha() for c in text) / n)
    assert got.non_ascii_share == pytest.approx(sum(c > "\x7f" for c in text) / n)
    assert got.n_words == len(text.split())


@given(st.text(st.characters(), max_size=60), st.text(st.characters(), max_size=60), st.floats(), st.floats())
def test_every_exchange_has_features(prompt: str, answer: str, ttft_s: float, total_s: float) -> None:
    """Whatever the texts and times, all numbers are finite, all shares are shares, all labels can be stored."""
    got = features(exchange(prompt, answer, ttft_s=ttft_s, total_s=total_s, finish_reason=answer, answer_tokens=3))
    assert all(math.isfinite(value) for value in got.numbers.values())
    assert all(0 <= value <= 1 for name, value in got.numbers.items() if name.endswith("_share"))
    assert all(label.encode() is not None and len(label) <= 64 for label in got.labels.values())
    always = {feature.name for feature in FEATURES if feature.kind in {Kind.COUNT, Kind.FLAG}}
    assert always <= set(got.numbers)


def test_a_megabyte_is_measured() -> None:
    """A very long text has its exact length and the rest from its beginning."""
    got = features(exchange("x y" * 333_333, "é" * 1_000_000))
    assert got.numbers["prompt_chars"] == 999_999
    assert got.numbers["prompt_words"] == 333_334
    assert got.numbers["answer_non_ascii_share"] == 1


def test_names_tell_units() -> None:
    """Every name is one word a unit, known ends only, and no name stands twice."""
    assert all(feature.name.endswith(tuple(ENDS.split())) for feature in FEATURES)
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)
    assert all(feature.says for feature in FEATURES)
