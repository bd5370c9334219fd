"""A line that is none must be found by its number and its fault."""

from __future__ import annotations

import pytest

from agent.policy.history import read
from agent.types import InvalidInput

GOOD = '{"at":"2026-03-02T08:00:00Z","kind":"phase","phase":"shift"}'


def test_lines_come_back_in_the_order_of_time() -> None:
    """Whatever order the file has; empty lines are none."""
    later = GOOD.replace("08:00", "09:00").replace("shift", "drain")
    assert [line.at.hour for line in read([later, "", GOOD], "h")] == [8, 9]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "line 2 of h.jsonl: it is no JSON object"),
        ("[1]", "line 2 of h.jsonl"),
        ('{"at": "2026-03-02T08:00:00Z"}', "kind must be one of champion, alarm"),
        (GOOD.replace("phase", "moon", 1), "kind must be one of champion, alarm"),
        (GOOD.replace("Z", ""), "phase.at: input should have timezone info"),
        (GOOD.replace('"shift"', '"shift","more":1'), "phase.more: extra inputs are not permitted"),
        (
            '{"at":"2026-03-02T08:00:00Z","kind":"exchanges","version":"v","n":0,"upto":1}',
            "exchanges.n: input should be",
        ),
    ],
)
def test_a_bad_line_is_named(text: str, says: str) -> None:
    """File, line, place, fault: one sentence."""
    with pytest.raises(InvalidInput) as refused:
        read([GOOD, text], "h.jsonl")
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_empty_file_is_told_how_to_fill() -> None:
    """Nothing can be run over nothing."""
    with pytest.raises(InvalidInput, match="write one with `trimtab policy history`"):
        read([], "h.jsonl")
