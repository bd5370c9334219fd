"""Moulds: what stands around the one string in which the events of a stream differ (pure).

Lives here: `Caster`, which tells the mould of an event and takes what the event says without decoding it.
Comes in: the bytes of an event. Goes out: changes to a `Reply`.
Must never know: captures, times, which API it serves.

A probe proves a mould: the shape must read the event, with its string exchanged, as just that string, and with an empty
one as nothing. Moulds are remembered for other streams, whose events differ in id, date and model alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from agent.intake.cut import together
from agent.intake.reply import Reply, decoded
from agent.intake.sse import BOM, events

_VALUE = re.compile(
    rb'"(?:content|text|delta|reasoning|reasoning_content|arguments|thinking|partial_json)" ?: ?"'
    rb'(?=((?:[^"\\\x00-\x1f]|\\.)*+)")'
)
_HEAD = re.compile(
    rb'data: \{"id":"([ !#-\[\]-~]{1,256})","object":"[\w.]{1,64}","created":[1-9]\d{0,15},'
    rb'"model":"([ !#-\[\]-~]{1,256})",'
)
"""How OpenAI's events begin: what stands in these four says nothing of where the text is."""
_ANY_HEAD = b'data: {"id":"x","object":"x","created":1,"model":"x",'
_PROBE = "trimtab\N{BULLET}probe"
_MOULDS, _MOULD_BYTES = 256, 4096
_TRIES = 3

Told = Callable[[Mapping[str, Any], Reply], bool]


class Mould(NamedTuple):
    """What events say that differ in one string: where the string belongs, and what they say besides."""

    choice: int
    tool: int | None
    """Set when the string is a piece of this tool call's arguments."""
    thought: bool
    """True when it is reasoning, else text."""
    finish: str | None
    named: bool
    """True when the head names id and model."""
    alone: bool
    """True when nothing else is said, so that even the first such event need not be decoded."""

    def pieces(self, reply: Reply) -> list[str]:
        """The list that takes the strings."""
        choice = reply.choice(self.choice)
        if self.tool is not None:
            return choice.tools.setdefault(self.tool, [""])
        return choice.reasoning if self.thought else choice.text


class Cast(NamedTuple):
    """An event in its mould."""

    mould: Mould
    prefix: bytes
    string: bytes
    suffix: bytes


class Caster:
    """For the events of one stream, in their order."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._head, self._id, self._model = b"\n", "", ""

    def cast(self, stream: bytes, start: int, end: int) -> Cast | None:
        """The event in the mould that it shares with others; None when it is in none that is known or worth a probe."""
        at = body = start + self._head_length(stream, start)
        for _ in range(_TRIES):
            found = _VALUE.search(stream, at, end)
            if found is None:
                break
            string, at = found[1], found.end()
            suffix = stream[at + len(string) : end]
            if at - body + len(suffix) > _MOULD_BYTES:
                break
            key, prefix = (self._told, body > start, stream[body:at], suffix), stream[start:at]
            mould = _moulds.get(key)
            if mould is None and key not in _moulds and (stream.startswith(prefix, end) or _again(key)):
                if len(_moulds) >= _MOULDS:
                    _moulds.clear()
                mould = _moulds[key] = _proved(*key)
            if mould is not None:
                return Cast(mould, prefix, string, suffix)
        return None

    def fill(self, cast: Cast, reply: Reply) -> bool | None:
        """Take what an event in its mould says; True when it brought content, None when its string is none."""
        mould, text = cast.mould, together([cast.string], cast.string)
        if text is None:
            return None
        if mould.named:
            reply.id = reply.id or self._id
            reply.model = self._model
        if mould.finish:
            reply.choice(mould.choice).finish_reason = mould.finish
        mould.pieces(reply).append(text)
        return bool(text)

    def _head_length(self, stream: bytes, start: int) -> int:
        """Bytes of the head of the event that begins here; 0 when it has none."""
        if not stream.startswith(self._head, start):
            found = _HEAD.match(stream, start)
            if found is None:
                return 0
            self._head, self._id, self._model = found[0], found[1].decode(), found[2].decode()
        return len(self._head)


_Key = tuple[Told, bool, bytes, bytes]
_moulds: dict[_Key, Mould | None] = {}
"""What probes have shown; None: no mould."""
_once: set[_Key] = set()


def _again(key: _Key) -> bool:
    """True when an event like this came before, maybe in another stream."""
    if key in _once:
        return True
    if len(_once) >= _MOULDS:
        _once.clear()
    _once.add(key)
    return False


def _proved(told: Told, headed: bool, prefix: bytes, suffix: bytes) -> Mould | None:
    """The mould around a string; None when that is not simply a piece of text."""
    full, empty = Reply(), Reply()
    prefix = _ANY_HEAD + prefix if headed else prefix
    if prefix.startswith(BOM) or not suffix.endswith(b"\n\n"):
        return None
    try:
        for _, _, data in events(prefix + json.dumps(_PROBE).encode()[1:-1] + suffix):
            told(decoded(data, "the probe", strict=True), full)
        came = [told(decoded(data, "the probe", strict=True), empty) for _, _, data in events(prefix + suffix)]
    except ValueError:
        return None
    said, idle = _said(full), not any(came) and not _said(empty)
    if len(said) != 1 or said[0][-1] != _PROBE or not idle or len(full.choices) != 1 or full.logprobs or full.failed:
        return None
    ((index, tool, thought, _),) = said
    named = headed and (full.id, full.model) == ("x", "x")
    alone = (named or full.id is full.model is None) and full.prompt_tokens is full.answer_tokens is None
    return Mould(index, tool, thought, full.choices[index].finish_reason, named, alone)


def _said(reply: Reply) -> list[tuple[int, int | None, bool, str]]:
    """All strings in a reply that say something: whose, of which tool, whether it is reasoning, what."""
    said: list[tuple[int, int | None, bool, str]] = []
    for index, choice in reply.choices.items():
        said += [(index, None, False, "".join(choice.text)), (index, None, True, "".join(choice.reasoning))]
        said += [(index, tool, False, "".join(pieces)) for tool, (_, *pieces) in choice.tools.items()]
    return [item for item in said if item[-1]]
