"""The table of features says what is in an exchange, for any text."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.profile.features import features, features_of_texts
from agent.profile.table import FEATURES, Kind
from agent.profile.text import measure, repeated_4gram_share
from agent.types import Exchange, Features, Message, Outcome, ToolCall

ENDS = (
    "_chars _words _share _ratio _tokens _s _mean _cosine messages tools_offered answers tool_calls _refusal _apology "
    "_punctuation _topic_ finish_reason outcome _json _language template tool_called"
)


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
    assert got.labels == {
        "prompt_language": "en",
        "answer_language": "unknown",
        "answer_json": "text",
        "template": "system:ebe2cf6b",
        "tool_called": "none",
        "finish_reason": "none",
        "outcome": "complete",
    }


def test_the_rest_of_the_exchange_is_measured() -> None:
    """Tools, gaps and log-probabilities are those of the exchange."""
    got = features(
        exchange(
            "x",
            "y",
            tools=("a", "b"),
            answers=2,
            logprob_mean=-0.5,
            gap_p50_s=0.01,
            gap_max_s=0.2,
            template="t1",
            tool_calls=(ToolCall(name="a", arguments='{"x": 1}'), ToolCall(name="b", arguments='{"x": ')),
        )
    )
    expected = {
        "tools_offered": 2,
        "tool_calls": 2,
        "tool_arguments_valid_share": 0.5,
        "answers": 2,
        "answer_logprob_mean": -0.5,
        "gap_p50_s": 0.01,
        "gap_max_s": 0.2,
    }
    assert {name: got.numbers[name] for name in expected} == expected
    assert (got.labels["tool_called"], got.labels["template"]) == ("a", "t1")


def test_features_measured_before_the_text_was_dropped_are_kept() -> None:
    """An exchange without text brings its features along."""
    before = Features(exchange_id="x", numbers={"prompt_chars": 7.0}, labels={})
    assert features(exchange("", "", features=before)) is before


def test_texts_alone_have_the_features_of_texts() -> None:
    """A training pair has exactly the features that the table marks, with the values of a whole exchange."""
    whole, alone = features(exchange("is it on", "no, off")), features_of_texts("x", "is it on", "no, off")
    marked = {feature.name for feature in FEATURES if feature.texts}
    assert {*alone.numbers, *alone.labels} == marked
    assert alone.numbers.items() <= whole.numbers.items()
    assert alone.labels.items() <= whole.labels.items()


def test_a_loop_shows_as_repetition() -> None:
    """An answer that repeats itself has repeated runs of four words and compresses well; prose has not."""
    loop = features(exchange("x", "and then it goes on " * 50)).numbers
    prose = features(exchange("x", "One sentence follows another here, and no two of them are alike.")).numbers
    assert loop["answer_repeated_4gram_share"] > 0.9
    assert loop["answer_compression_ratio"] < 0.1
    assert prose["answer_repeated_4gram_share"] == repeated_4gram_share(()) == 0
    assert prose["answer_compression_ratio"] > 0.5


def test_an_apology_is_flagged_and_language_can_be_switched_off() -> None:
    """Apologies are flagged apart from refusals; without language the label says so."""
    got = features(exchange("x", "My apologies, the lamp is on now."), language=False)
    assert (got.numbers["answer_apology"], got.numbers["answer_refusal"]) == (1, 0)
    assert got.labels["prompt_language"] == got.labels["answer_language"] == "off"


def test_numbers_that_no_sum_can_hold_are_absent() -> None:
    """Integers and floats beyond any measurement are absent, not a fault."""
    got = features(exchange("x", "y", prompt_tokens=10**400, answer_tokens=10**400, ttft_s=1e200, total_s=math.inf))
    assert {"prompt_tokens", "answer_tokens", "ttft_s", "total_s", "answer_tokens_per_s"}.isdisjoint(got.numbers)


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
    assert all(feature.name.rstrip("0123456789").endswith(tuple(ENDS.split())) for feature in FEATURES)
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)
    assert all(feature.says for feature in FEATURES)
