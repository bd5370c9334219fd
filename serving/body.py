"""Where the string values of a JSON object's top-level keys stand in its bytes, without building the object.

In: a request body. Out: spans and values, exactly those that a JSON parser would find. Pure, standard library only.
Must never know: HTTP, which keys matter.

A request may be a megabyte of prompt, and only two short strings of it are wanted. `find_values` walks from string to
string at the speed of `bytes.find`; what stands between two strings tells the depth, and is mostly one of a few gaps
(`":"`, `","`, `"},{"`) whose meaning is remembered. A conversation of many short messages has too many strings for
that: `find_value` first looks whether the few bytes before or behind the last `"model"` settle it, as they mostly do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container
from functools import lru_cache

Span = tuple[int, int, str]

_SPACE = b" \t\r\n"
_BACKSLASH = ord("\\")
_LONGEST_KEY = 64  # bytes of a wanted key, each letter written as an escape, quotes included
_LONGEST_GAP = 16  # bytes of a gap worth remembering
_CLOSE = 2048  # bytes from an end of the body that are worth parsing
_SAMPLE, _DENSE = 1024, 24  # so many quotes in so many bytes: too many strings to walk
_STRING_VALUE = re.compile(rb'[ \t\r\n]*:[ \t\r\n]*("[^"\\\x00-\x1f]*")')
_decode = json.JSONDecoder().decode


def find_value(body: bytes, key: str) -> Span | None:
    """As `find_values` for one key of ASCII letters, where the body is JSON."""
    quoted = b'"%b"' % key.encode()
    at = body.rfind(quoted)
    if at < 0 and not _escapes(body, 0):
        return None
    span = _proved(body, at, len(quoted))
    if span is None and at >= 0 and _dense(body) and not _escapes(body, 0):
        keys, values = body.count(quoted + b":"), body.count(quoted + b",") + body.count(quoted + b"}")
        if body.count(quoted) == keys + values:  # else some are keys in another way of writing
            if not keys:
                return None
            span = _proved(body, body.rfind(quoted + b":"), len(quoted))
    return span or find_values(body, (key,)).get(key)


def _proved(body: bytes, at: int, width: int) -> Span | None:
    r"""The value behind the key at `at`, when that is surely the last such key at the top level.

    A quote that no backslash stands before is no part of a string; so in JSON `"model":` is a key, whatever surrounds
    it. It belongs to the outermost object if what comes from it on, behind `{`, is an object, or what comes before it
    becomes one by an end. No equal key follows, unless it is spelled in escapes, which for ASCII letters begin `\u00`.
    """
    value = _STRING_VALUE.match(body, at + width)
    if at < 1 or value is None or body[at - 1] == _BACKSLASH or _escapes(body, at):
        return None
    if len(body) - at <= _CLOSE:
        whole = _is_object(b"{" + body[at:])
    else:
        whole = at <= _CLOSE and _is_object(body[:at] + b'"":0}')
    return (*value.span(1), _text(value[1])) if whole else None


def _is_object(raw: bytes) -> bool:
    try:
        return isinstance(_decode(raw.decode()), dict)
    except (ValueError, RecursionError):
        return False


def _escapes(body: bytes, start: int) -> bool:
    """True when an ASCII letter may be spelled as an escape from `start` on."""
    at = body.find(b"\\", start)
    return at >= 0 and body.find(b"\\u00", at) >= 0


def _dense(body: bytes) -> bool:
    """True when the body is likely to have many strings."""
    return body.count(b'"', 0, _SAMPLE) >= _DENSE or body.count(b'"', max(0, len(body) - _SAMPLE)) >= _DENSE


def find_values(body: bytes, keys: Container[str]) -> dict[str, Span]:
    """Where the string values of top-level `keys` stand: key -> (start, end, value), quotes inside the span.

    The last of equal keys wins, as in `json.loads`. What is no JSON object in UTF-8 yields nothing.
    """
    found: dict[str, Span] = {}
    find = body.find
    depth = at = 0
    key: str | None = None  # the wanted key that ended just before `at`
    while (start := find(b'"', at)) >= 0:
        end = find(b'"', start + 1)
        if end > 0 and body[end - 1] == _BACKSLASH:
            end = _closing_quote(body, end)
        if end < 0:
            return {}
        gap = body[at:start]
        is_value, is_other_value, deeper = _meaning(gap) if len(gap) <= _LONGEST_GAP else _read_gap(gap)
        at = end + 1
        if key is not None:
            if is_value:
                found[key] = (start, at, _text(body[start:at]))
            elif is_other_value:
                found.pop(key, None)
            key = None
        depth += deeper
        if depth == 1 and not is_value and at - start <= _LONGEST_KEY:
            name = _text(body[start:at])
            key = name if name in keys else None
    if key is not None:
        found.pop(key, None)
    return found


def _read_gap(gap: bytes) -> tuple[bool, bool, int]:
    """What stands between two strings: is the second the value of the first, has the first another, how much deeper."""
    gap = gap.strip(_SPACE)
    deeper = gap.count(b"{") + gap.count(b"[") - gap.count(b"}") - gap.count(b"]")
    return gap == b":", len(gap) > 1 and gap[:1] == b":", deeper


_meaning = lru_cache(maxsize=512)(_read_gap)


def _closing_quote(body: bytes, end: int) -> int:
    """The quote that closes a string, from its first quote behind a backslash on; -1 when none does."""
    while end > 0 and body[end - 1] == _BACKSLASH:
        slashes = end - 1
        while body[slashes - 1] == _BACKSLASH:
            slashes -= 1
        if (end - slashes) % 2 == 0:
            break
        end = body.find(b'"', end + 1)
    return end


def _text(token: bytes) -> str:
    """What a JSON string says; nothing when it is none."""
    try:
        return token[1:-1].decode() if b"\\" not in token else str(json.loads(token))
    except ValueError:
        return ""
