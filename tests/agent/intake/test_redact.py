"""Nothing private passes the choke point, and ordinary words and numbers do."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.intake import numbers, patterns
from agent.intake.assemble import assemble
from agent.intake.names import Forms, Names
from agent.intake.numbers import luhn
from agent.intake.redact import MAX_PATTERN_CHARS, Redactor
from agent.intake.signs import Rule
from agent.profile.features import features
from agent.types import InvalidInput, Message, Outcome
from tests.agent.intake.captures import CHAT, CHAT_ANSWER, capture

PRIVATE = [
    ("mail bob.o'neil+x@mail.example.co.uk now", "mail [EMAIL] now"),
    ("grüße an jürgen@müller.de.", "grüße an [EMAIL]."),
    ("a" * 300 + "@example.com", "[EMAIL]"),
    ("call +49 30 901820", "call [PHONE]"),
    ("call +1 (555) 010-9999, please", "call [PHONE], please"),
    ("(555) 123-4567 or 555-123-4567", "[PHONE] or [PHONE]"),
    ("020 7946 0958 / 07700900123", "[PHONE] / [PHONE]"),
    ("card 4111 1111 1111 1111 123 exp 12/27", "card [CARD] 123 exp 12/27"),
    ("5500-0000-0000-0004", "[CARD]"),
    ("378282246310005.", "[CARD]."),
    ("DE89 3704 0044 0532 0130 00 please", "[IBAN] please"),
    ("BE68 5390 0754 7034 then it goes", "[IBAN] then it goes"),
    ("gb82west12345698765432", "[IBAN]"),
    ("from 10.0.0.1, to 192.168.1.254.", "from [IP], to [IP]."),
    ("fe80::1 and 2001:db8::ff00:42:8329", "[IP] and [IP]"),
    ("2001:0db8:0000:0000:0000:ff00:0042:8329", "[IP]"),
    ("sk-abcdefghijklmnop1234", "[SECRET]"),
    ("key=AKIAIOSFODNN7EXAMPLE;", "key=[SECRET];"),
    ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[SECRET]"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_DEF-12", "[SECRET]"),
    ("Authorization: Bearer abcDEF0123456789xyz", "Authorization: Bearer [SECRET]"),
    ("postgres://user:hunter2@db/x", "postgres://[SECRET]@db/x"),
    ("-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- ok", "[SECRET] ok"),
]
FIELDS = "id path alias version answer reasoning finish_reason user conversation template"
HARMLESS = [
    "set the bedroom to 21 degrees at 10:30",
    "set a timer for 1 hour 30 minutes and 15 seconds",
    "2026-11-24 10:30, 2026-11-24T10:30:15.123Z, am 24.11.2026 um 18:30",
    "1,234,567.89 euros, 0.123456789, 3 000 000 000 people, room 101 102 1033",
    "the years 2024 2025 2026 2027 2028, order 1234567890123456",
    "uuid 12345678-1234-1234-1234-123456789012",
    "std::vector a :: b, v1.2.3, bearer of internationalization, sk-short",
    "volume to 35 %, channel 7, 9 to 5, 50/50, 16:9, 3-2-1",
]


@pytest.mark.parametrize(("text", "masked"), PRIVATE)
def test_private_data_are_masked(text: str, masked: str) -> None:
    """Each kind of private data gives way to its placeholder and leaves its neighbours alone."""
    assert Redactor().text(text) == masked


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_numbers_are_left_alone(text: str) -> None:
    """Times, dates, amounts, identifiers and code are no private data."""
    assert Redactor().text(text) == text


def test_every_text_of_an_exchange_goes_through_the_choke_point() -> None:
    """No field of an exchange lets an address through, whoever put it there; names become keyed hashes."""
    address = "ada@example.com"
    spoiled: dict[str, Any] = dict.fromkeys(FIELDS.split(), f"to {address}")
    messages = (Message(role=address, text=address), Message(role="system", text=f"<{address}>"))
    exchange = replace(assemble(capture(CHAT, CHAT_ANSWER)), messages=messages, **spoiled)
    redactor = Redactor(user_key="k")
    got = redactor.exchange(exchange)
    assert address not in repr(asdict(got))
    assert (got.answer, got.messages[1].text, got.id) == ("to [EMAIL]", "<[EMAIL]>", f"{exchange.worker}-1")
    assert got.user == got.conversation == redactor.hash(f"to {address}")
    assert redactor.failures == 0


def test_the_same_user_has_the_same_hash_under_the_same_key_only() -> None:
    """Hashes link the records of one user, and another key unlinks them."""
    assert Redactor(user_key="a").hash("ada") == Redactor(user_key="a").hash("ada")
    assert len({Redactor(user_key=key).hash(name) for key in ("a", "b", "c" * 99) for name in ("ada", "bob")}) == 6


def test_own_patterns_are_masked_first() -> None:
    """The owner's RE2 patterns are replaced by [REDACTED], before the built-in rules."""
    redactor = Redactor(["(?i)project \\w+", "K-\\d{4}"])
    assert redactor.text("about Project Zebra, K-1234, zoë@x.org") == "about [REDACTED], [REDACTED], [EMAIL]"


@pytest.mark.parametrize("pattern", ["(", "(?=x)", "a{2000}", "x*", "", "x" * (MAX_PATTERN_CHARS + 1), "\ud800"])
def test_a_bad_pattern_is_refused_in_one_sentence(pattern: str) -> None:
    """What RE2 does not know, what is too long and what matches nothing at all is the caller's fault."""
    with pytest.raises(InvalidInput, match="pattern"):
        Redactor([pattern])


def test_a_hostile_pattern_takes_no_more_than_linear_time() -> None:
    """A pattern that explodes in a backtracking engine passes a megabyte."""
    assert Redactor(["(a+)+$"]).text("a" * 1_000_000 + "b")


def test_redaction_fails_closed() -> None:
    """When redaction raises, the exchange still counts, without any text."""

    class Broken(Redactor):
        def text(self, text: str) -> str:
            raise RuntimeError(text)

    redactor = Broken()
    got = redactor.exchange(assemble(capture(CHAT, CHAT_ANSWER)))
    assert (got.outcome, got.messages, got.answer, got.user, got.seq) == (Outcome.UNREADABLE, (), "", None, 1)
    assert redactor.failures == 1


@settings(deadline=None)
@given(st.text(st.characters(), max_size=60), st.sampled_from([text for text, _ in PRIVATE]))
def test_no_text_is_fatal_and_the_result_can_be_stored(noise: str, private: str) -> None:
    """Any text, lone surrogates and NULs too, comes out as text that UTF-8 can carry."""
    got = Redactor().text(f"{noise}\x00 {private} {noise}")
    assert "\x00" not in got
    got.encode()


@settings(deadline=None)
@given(st.integers(10**14, 10**15 - 1), st.sampled_from(["", " ", "-"]), st.integers(3, 6))
def test_every_card_number_is_found(body: int, gap: str, step: int) -> None:
    """Whatever its digits and their grouping, a number with a right check digit is masked."""
    digits = f"4{str(body)[1:]}"
    digits += next(check for check in "0123456789" if luhn(digits + check))
    shown = gap.join(digits[i : i + step] for i in range(0, len(digits), step))
    assert "[CARD]" in Redactor().text(f"pay with {shown} today")


@pytest.mark.parametrize("series", ["0-" * 30_000, "4 " * 30_000, "41-" * 20_000, "4 11 " * 20_000])
def test_a_long_series_of_small_numbers_is_not_weighed(series: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The widths of groups alone say that these are no cards; not one candidate's digits are summed."""
    weighed: list[str] = []
    monkeypatch.setattr(numbers, "luhn", weighed.append)
    assert Redactor().text(series) == series
    assert weighed == []


def test_a_card_written_digit_by_digit_is_found() -> None:
    """A card of single digits, its security code behind it, is no series."""
    assert Redactor().text("it is 4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 2 3 ok") == "it is [CARD] 1 2 3 ok"
    assert Redactor().text("it is 41-11-11-11-11-11-11-11 ok") == "it is [CARD] ok"


def test_names_that_begin_alike_cost_no_more_than_one() -> None:
    """Thousands of names with one first word are one look-up, and of two that fit the longer one wins."""
    names = Names([*(f"Anna {'abcdefghij'[i // 100]}{'abcdefghij'[i % 10]}" for i in range(1000)), "Anna ab cd"])
    assert names.mask("Anna ab cd, Anna ab x, Anna zz, ANNA ab") == "[NAME], [NAME] x, Anna zz, ANNA ab"
    forms = Forms()
    for i in range(1000):
        forms.keep(("Anna", str(i)))
    assert forms.first == {"Anna": (2,)}


def test_a_stored_exchange_survives_the_database(tmp_path: Any) -> None:
    """An answer with a lone surrogate, which SQLite cannot take, is stored after redaction."""
    from agent.store import Store

    store = Store.at(tmp_path)
    answer = {"id": "c", "choices": [{"message": {"content": "ok \ud800 \x00"}}]}
    got = Redactor().exchange(assemble(capture(CHAT, answer)))
    assert store.add_exchanges([got]) == 1
    assert store.exchanges_after(0, 1)[0][1].answer == "ok � �"
    store.close()


@pytest.mark.parametrize("name", ["chatcmpl-4204889394184875", "chatcmpl-ba1960bc-7c27-4848-8655-b9cd4c61282c"])
def test_an_engines_own_id_stands_whatever_its_digits_look_like(name: str) -> None:
    """Feedback must find an answer whose random id passes for a card; a card that a client chose as id must go."""
    given_name = replace(assemble(capture(CHAT, CHAT_ANSWER)), id=name)
    assert Redactor().exchange(given_name).id == name
    chosen = re.split("[-_]", name, maxsplit=1)[1]
    assert chosen not in Redactor().exchange(given_name, chosen_id=chosen).id


def test_odd_signs_stay_where_nothing_is_masked() -> None:
    """Typographic spaces and dashes, joiners and accents are the writer's own until something private is among them."""
    text = "5\u00a0000 – 6\u00a0000 €, cafe\u0301, 👩\u200d💻"
    assert Redactor(["zebra"]).text(text) == text
    assert Redactor().text(f"{text} ada\uff20example.com") == "5 000 - 6 000 €, café, 👩💻 [EMAIL]"


def test_an_id_that_a_client_chose_is_hashed_where_no_text_is_stored() -> None:
    """The engine's own id stands; any other is somebody's text, and its hash is found by whoever knows it."""
    redactor = Redactor(measure=features)
    exchange = assemble(capture(CHAT, CHAT_ANSWER))
    mine = replace(exchange, id="chatcmpl-visit-of-frau-schmidt")
    assert redactor.exchange(mine, chosen_id="visit-of-frau-schmidt").id == redactor.hashed_id(mine.id)
    engines = replace(exchange, id="chatcmpl-0123456789abcdef0123456789abcdef")
    assert redactor.exchange(engines).id == engines.id


LABELLED = [case["text"] for case in json.loads(Path(__file__).with_name("pii_cases.json").read_text())["private"]]
NOISE = [
    *" \t\n.:-/@+()'\"=1a",
    "::",
    "%40",
    "key is ",
    "token: ",
    "Kennwort",
    "\u017f",
    "\u0131",
    "\u212a",
    "\u2028",
    "٣",
    "4111 1111",
    "GB82",
]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.one_of(st.sampled_from(LABELLED), st.sampled_from(NOISE)), max_size=5),
    st.integers(0, 200),
    st.sampled_from(NOISE),
)
def test_no_sign_hides_a_rule(parts: list[str], at: int, noise: str) -> None:
    """A rule that is not tried, because its sign is not in the text, would have found nothing."""
    text = "".join(parts)
    text = text[:at] + noise + text[at + 1 :]
    with patch.object(patterns, "worth_trying", lambda _text: [*Rule]):
        tried = patterns.mask(text)
    assert patterns.mask(text) == tried
