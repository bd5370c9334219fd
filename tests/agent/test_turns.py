"""A turn is known by what its user had said before, and was answered."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from agent.turns import Turns, completed
from agent.types import Exchange, Message, Outcome

_ROLES = ("user", "assistant")


def _turn(id_: str, *said: str, answer: str, system: str = "", path: str = "/v1/chat/completions") -> Exchange:
    """An exchange whose history was said in turn, the user's first words first."""
    messages = [Message(role=_ROLES[i % 2], text=text) for i, text in enumerate(said)]
    if system:
        messages.insert(0, Message(role="system", text=system))
    return Exchange(
        id=id_, worker="w", seq=1, started_at=datetime(2026, 1, 1, tzinfo=UTC), path=path, alias="a", version="v",
        status=200, outcome=Outcome.COMPLETE, messages=tuple(messages), answer=answer,
    )  # fmt: skip


def test_turns_of_a_conversation_bear_its_first_ones_id() -> None:
    """However long it goes on, in the midst of others, with another clock in the system prompt, and edited answers."""
    turns = Turns()
    told = [
        turns.joined(_turn("a1", "hello", answer="hi ", system="it is 9:00")),
        turns.joined(_turn("b1", "what is 1 + 1", answer="2")),
        turns.joined(_turn("a2", "hello", "[hi]", "lights on", answer="on", system="it is 9:01")),
        turns.joined(_turn("b2", "what is 1 + 1", "2", "and 2 + 2", answer="4")),
        turns.joined(_turn("a3", "hello", "hi", "lights on", "on", "off again", answer="off")),
    ]
    assert [exchange.conversation for exchange in told] == [None, None, "a1", "b1", "a1"]


def test_who_begins_alike_is_told_apart_by_when() -> None:
    """Two who say hello: what goes on from the later one's answer is the later one's."""
    turns = Turns()
    turns.joined(_turn("a1", "hello", answer="hi"))
    assert turns.joined(_turn("a2", "hello", "hi", "one", answer="1")).conversation == "a1"
    turns.joined(_turn("b1", "hello", answer="hi"))
    assert turns.joined(_turn("b2", "hello", "hi", "two", answer="2")).conversation == "b1"
    assert turns.joined(_turn("a3", "hello", "hi", "one", "1", "more", answer="3")).conversation == "a1"


def test_examples_in_a_prompt_are_no_conversation() -> None:
    """Nobody asked them here; nor is a named conversation renamed, nor a plain completion one."""
    turns = Turns()
    for n in range(3):
        assert turns.joined(_turn(f"x{n}", "good", "positive", f"text {n}", answer="negative")).conversation is None
    named = replace(_turn("c1", "hello", answer="hi"), conversation="own")
    assert turns.joined(named) is named
    assert turns.joined(_turn("c2", "hello", "hi", "on", answer="on")).conversation is None
    turns.joined(_turn("d1", "p", answer="q", path="/v1/completions"))
    assert turns.joined(_turn("d2", "p", "q", "r", answer="s", path="/v1/completions")).conversation is None


def test_what_is_remembered_is_bounded() -> None:
    """The answers that were given longest ago are forgotten first."""
    turns = Turns(most=2)
    for n in range(3):
        turns.joined(_turn(f"f{n}", f"first {n}", answer="yes"))
    assert turns.joined(_turn("g0", "first 0", "yes", "more", answer="no")).conversation is None
    assert turns.joined(_turn("g2", "first 2", "yes", "more", answer="no")).conversation == "f2"


def test_who_sees_them_all_names_the_first_turn_too() -> None:
    """By what the later ones are called; turns that were stored without a name are joined as well."""
    a1, a2 = _turn("a1", "hello", answer="hi"), _turn("a2", "hello", "hi", "on", answer="on")
    b1, b2 = _turn("b1", "who", answer="me"), _turn("b2", "who", "me", "why", answer="so")
    alone = _turn("c1", "good", "positive", "text", answer="negative")
    told = completed([a1, b1, replace(a2, conversation="#a"), b2, alone])
    assert [exchange.conversation for exchange in told] == ["#a", "b1", "#a", "b1", None]
