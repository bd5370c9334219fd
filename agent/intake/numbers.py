"""Private numbers: payment cards, IBANs, telephone numbers (pure).

Lives here: one function a kind. Cards and IBANs prove themselves by their check digits; phones by form or by the word
before them.
Comes in: text. Goes out: the same text with placeholders.
Must never know: exchanges, settings, the other rules.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby

_CARD_DIGITS = range(13, 20)
_CARD_GROUP = 3
_SERIES_DIGITS = 24
"""The longest card and its security code have fewer."""
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)
_PHONE_DIGITS = range(8, 16)
_NAMED_PHONE_DIGITS = range(7, 16)
_IBANS = """
AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18
FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20
LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24
SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20
"""
_IBAN_LENGTHS = {item[:2]: int(item[2:]) for item in _IBANS.split()}
_IBAN_DIGITS = re.compile(r"[0-9](?<=[A-Za-z]{2}[0-9])[0-9](?<![A-Za-z0-9][A-Za-z]{2}[0-9]{2})(?=[ \-]?[A-Za-z0-9])")
_CARD_RUN = re.compile(r"[0-9](?<![\w.][0-9])(?:[ \-]{0,2}[0-9]){12,}+")
_GROUPS = re.compile(r"[ \-]+")

_PHONES = (
    r"\+[0-9](?:[ .\-/]?\(?[0-9]\)?){6,16}",
    r"\([0-9]{2,5}\)[ .\-]?[0-9]{3,5}[ .\-]?[0-9]{3,5}",
    r"(?:1[\-.])?[2-9][0-9]{2}([\-.])[0-9]{3}\1[0-9]{4}",
    r"(?<![0-9] )(?:1 )?[2-9][0-9]{2} [2-9][0-9]{2} [0-9]{4}",
    r"(?<![0-9] )0[1-9][0-9]{0,4}[ /\-][0-9]{3,4}[ \-]?[0-9]{3,5}",
    r"(?<![0-9] )0[1-9][0-9]{0,3}([ .\-/])[0-9]{2,4}(?:\2[0-9]{2,4}){2,4}",
    r"(?<![0-9] )00?[1-9][0-9]{8,11}",
    r"(?<![0-9] )00[1-9][0-9]{0,2}(?:[ \-][0-9]{2,7}){2,5}",
)
_PHONE = re.compile(rf"(?<![\w.,+\-/:])(?:{'|'.join(_PHONES)})(?![\w]|[.,:\-/][0-9])")
_CHUNK = re.compile(r"[+(0-9][0-9 ().+\-/]{5,}+")
_ANNOUNCED = re.compile(
    r"(?i)\b(?:(?:tele)?phone|tel|mobile|cell|fax|whatsapp|sms|handy|call|ring|dial|text|m[oó]vil|tel[eé]fono|telefon)\b"
    r"(?:[ ]?(?:number|no\.?|me|us|her|him|them|at|on|is|nummer|back|under)){0,4}[:#. ]{1,3}\Z"
)
_NUMBER = re.compile(r"\(?\+?[0-9][0-9().\-/ ]{4,20}[0-9](?!\w|[.,:\-/%][0-9]|[ ]?[%€$£°])")
_DATE = re.compile(r"[0-9]{4}[.\-/][0-9]{1,2}[.\-/][0-9]{1,2}|[0-9]{1,2}[.\-/][0-9]{1,2}[.\-/][0-9]{2,4}")
_BEFORE_CHARS, _BEHIND_CHARS = 60, 2


def luhn(digits: str) -> bool:
    """The check digit of payment cards (ISO/IEC 7812-1, annex B)."""
    plain = sum(map(int, digits[-1::-2]))
    return (plain + sum(map(_DOUBLED.__getitem__, map(int, digits[-2::-2])))) % 10 == 0


def cards(text: str) -> str:
    """Mask runs of digit groups that make a card; a security code or a date beside it stays."""
    return _CARD_RUN.sub(_card, text)


def ibans(text: str) -> str:
    """Mask what is as long as its country's IBANs are and leaves remainder 1 (ISO 13616)."""
    parts, done = [], 0
    for digits in _IBAN_DIGITS.finditer(text):
        start = digits.start() - 2
        length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
        found = _iban_of(length).match(text, start) if length and start >= done else None
        if found and _remainder(found.group()) == 1:
            parts += [text[done:start], "[IBAN]"]
            done = found.end()
    return "".join(parts) + text[done:] if done else text


def phones(text: str) -> str:
    """Mask telephone numbers in the commonest forms, and any number that a word such as `call` announces."""
    parts, done = [], 0
    for chunk in _CHUNK.finditer(text):
        at = chunk.start()
        if _digits(chunk.group()) < _NAMED_PHONE_DIGITS.start:
            continue
        while found := _phone_in(text, at, chunk.start(), chunk.end()):
            parts += [text[done : found[0]], "[PHONE]"]
            done = at = found[1]
    return "".join(parts) + text[done:] if done else text


def _phone_in(text: str, at: int, start: int, end: int) -> tuple[int, int] | None:
    """Where the next phone in a chunk of digits stands."""
    if at == start and _ANNOUNCED.search(text, max(0, start - _BEFORE_CHARS), start):
        number = _NUMBER.match(text, start)
        if number and _digits(number.group()) in _NAMED_PHONE_DIGITS and not _DATE.match(number.group()):
            return number.span()
    for number in _PHONE.finditer(text, at, min(end + _BEHIND_CHARS, len(text))):
        if _digits(number.group()) in _PHONE_DIGITS:
            return number.span()
    return None


def _digits(number: str) -> int:
    return sum(map(str.isdigit, number))


def _is_card(digits: str) -> bool:
    likely = "2" <= digits[0] <= "6" or len(digits) > 16
    return len(digits) in _CARD_DIGITS and likely and len(set(digits)) > 1 and luhn(digits)


def _card(match: re.Match[str]) -> str:
    run = match.group()
    groups, gaps = _GROUPS.split(run), _GROUPS.findall(run)
    follower = match.string[match.end() : match.end() + 1]
    usable = len(groups) - (follower.isalnum() or follower == "_")
    widths = [*map(len, groups)]
    series = _series(widths)
    kept: list[str] = []
    start = 0
    while start < len(groups):
        end = start if series[start] else _card_end(groups, widths, gaps, start, usable)
        kept.append(groups[start] if end == start else "[CARD]")
        start = max(end, start + 1)
        if start <= len(gaps):
            kept.append(gaps[start - 1])
    return "".join(kept)


def _series(widths: list[int]) -> list[bool]:
    """Which groups stand in a series of small numbers, longer than any card that is written digit by digit."""
    found: list[bool] = []
    for width, alike in groupby(widths):
        n = len([*alike])
        found += [width < _CARD_GROUP and n * width > _SERIES_DIGITS] * n
    return found


def _card_end(groups: list[str], widths: list[int], gaps: list[str], start: int, usable: int) -> int:
    """Behind the last group of the card that begins with this one; `start` when none does.

    Widths come first: most runs of groups are no card for them alone, and digits are looked at only then.
    """
    n_digits = 0
    for end in range(start, usable):
        n_digits += widths[end]
        if n_digits >= _CARD_DIGITS.stop or (end > start + 1 and gaps[end - 1] != gaps[start]):
            return start
        if end > start and widths[end - 1] < _CARD_GROUP and widths[end] != widths[start]:
            return start
        if (
            n_digits >= _CARD_DIGITS.start
            and _evenly(widths[start : end + 1])
            and _is_card("".join(groups[start : end + 1]))
        ):
            return end + 1
    return start


def _evenly(widths: list[int]) -> bool:
    """True for how people group a card: not a series of numbers that grow from one digit to two."""
    return len(widths) == 1 or min(widths[:-1]) >= _CARD_GROUP or len(set(widths)) == 1


@cache
def _iban_of(length: int) -> re.Pattern[str]:
    return re.compile(rf"[A-Za-z]{{2}}[0-9]{{2}}(?:[ \-]?[A-Za-z0-9]){{{length - 4}}}(?![A-Za-z0-9])")


def _remainder(iban: str) -> int:
    letters = [letter for letter in iban if letter.isalnum()]
    return int("".join(str(int(letter, 36)) for letter in letters[4:] + letters[:4])) % 97
