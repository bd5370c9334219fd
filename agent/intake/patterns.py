"""What counts as private in a text (pure).

Lives here: the order of the rules, and which cheap sign in a text makes each worth trying: `mask`.
Comes in: text. Goes out: the same text with placeholders such as [EMAIL].
Must never know: exchanges, settings.

Every repetition is bounded or possessive, so a hostile text costs linear time. Numbers must look like what they
are: a time (10:30), a temperature, a date or a price is no phone and no card.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from agent.intake.numbers import cards, ibans, phones
from agent.intake.secrets import secrets

_ZEROS = bytes(0x30 if 0x30 <= code <= 0x39 else code for code in range(256))
_SHAPE = bytes(
    0x30 if 0x30 <= code <= 0x39 else 0x61 if code >= 0x80 or chr(code).isalpha() or chr(code) in "_\n" else code
    for code in range(256)
)
_SIGNS = bytes(code for code in range(0x80) if not chr(code).isalnum() and chr(code) not in "_\n")
_FAR_DIGIT = re.compile(f"[{''.join(chr(code) for code in range(0x660, 0x10000) if chr(code).isdecimal())}]")
_colons = re.compile(r":[0-9A-Fa-f]{0,4}:").search

_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_EMAIL = re.compile(
    r"(?<![\w.+%'\-])[\w.+'\-](?:[\w.+'\-]|%(?!40))*+(?:@|%40)(?!\d+\.\d+\.)"
    r"(?:[^\W_](?:[\w\-]{0,62})\.){1,8}"
    r"(?!(?:png|jpe?g|gif|svg|webp|js|ts|css|json|html)\b)(?:xn--[a-z0-9\-]{2,59}|[^\W\d_]{2,24})"
)
_IPV4 = re.compile(
    r"[0-9](?<![\w.][0-9])(?<!ersion [0-9])(?<!elease [0-9])(?<!build [0-9])[0-9]{0,2}(?:\.[0-9]{1,3}){3}"
    r"(?!\w|\.[0-9]|-[A-Za-z])"
)
_IPV6 = re.compile(
    rf"(?<![\w:.])[0-9A-Fa-f:]{{2,39}}(?:(?<=:){_OCTET}(?:\.{_OCTET}){{3}})?(?:(?=%)%\w{{1,15}})?(?![\w:])"
)
_SSN = re.compile(r"(?<![\w\-.])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![\w\-])")
_SSN_NAMED = re.compile(
    r"(?i)\b(ssn|social security(?: number| no\.?)?)(\W{0,3}(?:is |no\W )?)[0-9]{3}[ \-]?[0-9]{2}[ \-]?[0-9]{4}\b"
)


def mask(text: str) -> str:
    """The text with everything private in it replaced; digits of other scripts become ASCII ones.

    Most texts hold nothing that any rule looks for. That is seen in copies of the text in which every digit is a
    zero: a date has fewer zeros in a row than a card, whatever stands between them.
    """
    if not text.isascii():
        text = _FAR_DIGIT.sub(lambda digit: str(int(digit.group())), text)
    text = secrets(text)
    if "@" in text or "%40" in text:
        text = _EMAIL.sub("[EMAIL]", text)
    if text.count(":") > 1 and _colons(text):
        text = _IPV6.sub(_ipv6, text)
    raw = text.encode("utf-8", "surrogatepass")
    zeros, runs = raw.translate(_ZEROS), raw.translate(_SHAPE, _SIGNS)
    if b"0.0" in zeros:
        text = _IPV4.sub(_ipv4, text)
    if b"0000000" in runs:
        if b"aa00" in runs:
            text = ibans(text)
        if b"0000000000000" in runs:
            text = cards(text)
        if b"000-00-0000" in zeros:
            text = _SSN.sub("[SSN]", text)
        if "ssn" in text.lower() or "ecurity" in text:
            text = _SSN_NAMED.sub(r"\1\2[SSN]", text)
        text = phones(text)
    return text


def _ipv4(match: re.Match[str]) -> str:
    octets = match.group().split(".")
    fits = all(int(octet) < 256 and str(int(octet)) == octet for octet in octets)
    return "[IP]" if fits else match.group()


def _ipv6(match: re.Match[str]) -> str:
    found = match.group()
    try:
        IPv6Address(found)
    except ValueError:
        return found
    return "[IP]" if any(letter.isdigit() for letter in found) else found  # `dead::beef` is code far oftener
