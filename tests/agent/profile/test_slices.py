"""A window's rows by template and language: few slices, each large enough."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from agent.profile.slices import LEAST_ROWS, SLICED, sliced
from agent.types import Features


def rows(templates: list[str], language: str = "en") -> list[Features]:
    """Rows of these templates."""
    return [
        Features(exchange_id=str(n), numbers={}, labels={"template": name, "prompt_language": language})
        for n, name in enumerate(templates)
    ]


def test_the_commonest_have_their_own_and_the_rest_share_one() -> None:
    """Two of many templates are kept by count, the others are together, and no row is lost or counted twice."""
    names = ["a"] * 50 + ["b"] * 40 + ["c"] * 30 + ["d"] * 10
    found = sliced(rows(names), 2)
    assert {name: len(part) for name, part in found.items()} == {
        "template=a": 50,
        "template=b": 40,
        "template=other": 40,
    }


def test_what_says_nothing_makes_no_slice() -> None:
    """One language for all, no template, too few rows, slices switched off: the window's own profile is enough."""
    assert sliced(rows(["none"] * 60), 4) == {}
    assert sliced(rows(["none"] * 60 + ["a"] * (LEAST_ROWS - 1)), 4) == {}
    assert sliced(rows(["a"] * 60 + ["b"] * 60), 0) == {}


@given(st.lists(st.text(max_size=2), max_size=150), st.integers(1, 3))
def test_slices_are_bounded(names: list[str], most: int) -> None:
    """However many values there are: at most so many slices and one for the rest, each with enough rows."""
    found = sliced(rows(names), most)
    assert len(found) <= len(SLICED) * (most + 1)
    assert all(LEAST_ROWS <= len(part) < len(names) for part in found.values())
    assert not Counter(row.exchange_id for part in found.values() for row in part) - Counter(
        map(str, range(len(names)))
    )
