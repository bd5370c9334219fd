"""How much of what is private the rules find, how much else they take for it, and that they cost linear time."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from agent.intake import redact
from agent.intake.names import Names, read_names
from agent.intake.redact import Redactor
from agent.types import InvalidInput

CASES = json.loads(Path(__file__).with_name("pii_cases.json").read_text(encoding="utf-8"))
README = Path(redact.__file__).with_name("README.md")


def measured() -> tuple[Counter[str], Counter[str], list[str]]:
    """Private cases and those found, by kind, and the harmless texts that were changed."""
    redactor = Redactor(names=CASES["names"])
    known, found = Counter[str](), Counter[str]()
    for case in CASES["private"]:
        known[case["kind"]] += 1
        found[case["kind"]] += case["secret"] not in redactor.text(case["text"])
    return known, found, [text for text in CASES["harmless"] if redactor.text(text) != text]


def test_the_readme_tells_what_is_found() -> None:
    """The README's table is what the labelled set gives today: recall by kind, false alarms, precision."""
    known, found, false = measured()
    rows = [f"| {kind} | {found[kind]} / {known[kind]} |" for kind in known]
    total, hit = known.total(), found.total()
    rows.append(f"| all | {hit} / {total} = {hit / total:.3f} |")
    rows.append(f"| harmless texts changed | {len(false)} / {len(CASES['harmless'])} |")
    rows.append(f"| precision on this set | {hit / (hit + len(false)):.3f} |")
    missing = [row for row in rows if row not in README.read_text(encoding="utf-8")]
    assert not missing, f"the README lacks {missing}; changed for nothing: {false}"
    assert hit / total >= 0.95
    assert len(false) <= 2


HOSTILE = {
    "digits": "1",
    "digits and spaces": "1 ",
    "zeros": "0",
    "at signs": "@",
    "addresses": "a@",
    "escaped addresses": "a%40",
    "domains": "a@a.",
    "plus signs": "+1",
    "brackets": "(1",
    "colons": "1:",
    "hex and colons": "ab:",
    "dots": "1.1.",
    "words and digits": "aa11 ",
    "URLs": "://a:",
    "keys": "key=",
    "passwords": "password for a a a a ",
    "tokens": "sk-",
    "JSON web tokens": "eyJaaaaaa.",
    "key blocks": "-----BEGIN PRIVATE KEY-----",
    "openings of key blocks": "-----BEGIN ",
    "bearers": "bearer ",
    "calls": "call me at 1 ",
    "escapes": "\\u0040",
    "nested": "[{(\"'",
    "names": "ada ",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=HOSTILE.keys())
def test_twice_the_text_costs_twice_the_time(unit: str) -> None:
    """No repetition of the beginning of something private costs more than linear time, measured as a ratio."""
    redactor = Redactor(["(a+)+$"], names=["ada lovelace", "Ada B C"])

    def cost_s(chars: int) -> float:
        text = (unit * (chars // len(unit) + 1))[:chars]
        begun = time.process_time()
        redactor.text(text)
        return time.process_time() - begun

    small = max(min(cost_s(30_000) for _ in range(2)), 1e-4)
    assert cost_s(120_000) / small < 16  # 4 is linear, 16 is quadratic


def test_a_megabyte_is_passed() -> None:
    """A megabyte of digits, or of at signs, ends."""
    for unit in ("4111 1111 1111 1111 ", "@", "0171 2345678, "):
        assert Redactor().text(unit * (1_000_000 // len(unit)))


def test_neighbours_are_all_found() -> None:
    """Of several numbers side by side none is passed over."""
    text = "DE89370400440532013000 GB82WEST12345698765432 4111111111111111 5555555555554444 555-123-4567 555-987-6543"
    assert Redactor().text(text) == "[IBAN] [IBAN] [CARD] [CARD] [PHONE] [PHONE]"


def test_digits_and_escapes_that_hide_something_are_resolved() -> None:
    """Digits of another script and JSON's escapes hide neither a card nor an address."""
    far = "".join(chr(0x660 + int(digit)) for digit in "4111111111111111")
    assert Redactor().text(far) == "[CARD]"
    assert Redactor().text(r'{"to":"ada\u0040example.com \u0022"}') == r'{"to":"[EMAIL] \u0022"}'


def test_names_are_found_as_the_list_says() -> None:
    """Small letters in the list mean any case; capitals mean as written or all in capitals; the longer name wins."""
    names = Names(["Mark", "anna", "Ada", "Ada Lovelace", "O'Neil"])
    text = "Mark my mark, MARK; ANNA's and anna_99, Ada Lovelace, Ada King; O'Neil. Adam, Annabel"
    assert (
        names.mask(text) == "[NAME] my mark, [NAME]; [NAME]'s and [NAME]_99, [NAME], [NAME] King; [NAME]. Adam, Annabel"
    )


def test_a_list_of_names_is_read_or_refused(tmp_path: Path) -> None:
    """Comments and empty lines are no names; a missing file and one that is no text are refused in one sentence."""
    listed = tmp_path / "names.txt"
    listed.write_text("# ours\n\nAda Lovelace\n  müller \n", encoding="utf-8")
    assert read_names(listed) == ["Ada Lovelace", "müller"]
    listed.write_bytes(b"\xff\xfe")
    for path in (listed, tmp_path / "none.txt"):
        with pytest.raises(InvalidInput, match=r"capture\.names"):
            read_names(path)
