"""Runs of like events in a stream (pure).

Lives here: `follow`, which cuts the strings out of events that are alike but for one string; `together`.
Comes in: the bytes of a stream, what stands around the string. Goes out: what the strings say, where the run ends.
Must never know: what the events mean.
"""

from __future__ import annotations

import json
from itertools import takewhile
from operator import itemgetter, methodcaller

_NOT_PLAIN = bytes([*range(0x20), *b'"\\'])
_CONTROL = bytes(range(0x20))
_decode = json.JSONDecoder().decode
_decode_apart = json.JSONDecoder(strict=False).decode
_SEAM, _SEAM_BYTES = "\x1f", b"\x1f"
_WINDOW_BYTES = 16 * 1024
_KEY_BYTES = 16


def follow(stream: bytes, at: int, prefix: bytes, suffix: bytes, pieces: list[str]) -> int:
    """Cut the strings out of like events; where the last of them ends that says something.

    In windows that double, so that no stream costs more than linear time.
    """
    between, window = suffix + prefix, _WINDOW_BYTES
    whole = True
    while whole and stream.startswith(prefix, at):
        begin = at + len(prefix)
        stop = stream.find(b"\n\n", begin) + 2 - len(suffix)
        if stop < begin or not stream.startswith(suffix, stop):
            break
        parts = _cut(stream[begin : max(begin + window, stop + len(suffix))], between, prefix[-_KEY_BYTES:])
        closing = parts.pop()
        tail = closing.find(suffix)
        if tail >= 0:
            parts.append(closing[:tail])
        told = len(parts)
        while parts and not parts[-1]:
            parts.pop()
        taken, nbytes, texts = _texts(parts)
        pieces += texts
        at += nbytes + taken * len(between)
        whole = 0 < taken == told
        window *= 2
    return at


def _cut(seen: bytes, between: bytes, key: bytes) -> list[bytes]:
    """The strings that stand with `between` between them, and what is behind the last. `key` ends `between`.

    Short needles are found several times faster than long ones; that the rest is there too one comparison shows.
    """
    rest = between[: -len(key)]
    bare = itemgetter(slice(None, -len(rest)))
    parts = seen.split(key)
    closing = parts.pop()
    cut = [*map(bare, parts), closing]
    if between.join(cut) == seen:
        return cut
    like = [*map(bare, takewhile(methodcaller("endswith", rest), parts))]
    return [*like, parts[len(like)] if len(like) < len(parts) else closing]


def _texts(parts: list[bytes]) -> tuple[int, int, list[str]]:
    """How many of the strings are JSON strings up to the first that is none, their bytes, and what they say."""
    joined = b"".join(parts)
    text = together(parts, joined)
    if text is not None:
        return len(parts), len(joined), [text]
    texts: list[str] = []
    for part in parts:
        try:
            texts.append(_decode(f'"{part.decode("utf-8", "surrogatepass")}"'))
        except ValueError:
            break
    return len(texts), sum(map(len, parts[: len(texts)])), texts


def together(parts: list[bytes], joined: bytes) -> str | None:
    """What the strings say one after the other; None when some must be decoded for itself, or is no JSON string."""
    if joined.isascii() and len(joined.translate(None, _NOT_PLAIN)) == len(joined):
        return joined.decode()
    if len(joined.translate(None, _CONTROL)) < len(joined):
        return None
    try:
        # a seam between two strings lets no character and no escape reach over it
        text: str = _decode_apart(f'"{_SEAM_BYTES.join(parts).decode()}"')
    except ValueError:
        return None
    return text.replace(_SEAM, "") if text.count(_SEAM) == len(parts) - 1 else None
