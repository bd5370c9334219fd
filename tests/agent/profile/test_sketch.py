"""The sketch of a text: the same everywhere, of length one, and near where texts are alike."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.profile.sketch import AXES, sketch


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_two_at_once_are_as_one_by_one(one: bytes, other: bytes) -> None:
    """A text's axes do not depend on its neighbour, have length 1 (or 0), and the cosine is symmetrical."""
    both = sketch(one, other)
    assert both.one == sketch(one, b"").one == sketch(b"", one).other
    assert both.other == sketch(other, b"").one
    assert math.hypot(*both.one) in (0, 1) or abs(math.hypot(*both.one) - 1) < 1e-12
    back = sketch(other, one).cosine
    assert both.cosine == back or (both.cosine is not None and back is not None and abs(both.cosine - back) < 1e-12)
    assert both.cosine is None or -1 <= both.cosine <= 1


def test_the_numbers_are_the_same_on_every_machine() -> None:
    """A plain walk over the bytes gives the same axes: no random hash, no byte order of the machine."""
    text = b"turn on the light in the kitchen"
    axes = [0] * AXES
    for at in range(len(text) - 3):
        hashed = int.from_bytes(text[at : at + 4], "little") * 2654435761 % 2**32 >> 23
        axes[hashed % 256 % AXES] += 1 if hashed < 256 else -1
    length = math.hypot(*axes)
    assert sketch(text, b"").one == tuple(axis / length for axis in axes)


def test_alike_texts_are_near_and_topics_are_apart() -> None:
    """The cosine of a text with itself is 1, with another topic small; means of topics differ by many errors."""
    lights = [
        f"turn {on} the {room} lights please".encode() for on in ("on", "off") for room in ("hall", "bath", "attic")
    ]
    songs = [
        f"play some {kind} music by {who}".encode() for kind in ("jazz", "folk", "soul") for who in ("anna", "ben")
    ]
    cosine = sketch(lights[0], lights[0]).cosine
    assert cosine is not None
    assert math.isclose(cosine, 1)
    first, second = (np.array([sketch(text, b"").one for text in texts]) for texts in (lights, songs))
    spread = (first.var(0) + second.var(0)) / 2
    assert ((first.mean(0) - second.mean(0)) ** 2 / spread).sum() > 5
