"""What counts as private in a text (pure).

Lives here: the order of the rules: `mask`. Which of them are worth trying `signs` knows.
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
from agent.intake.signs import Rule, worth_trying

_FAR_DIGIT = re.compile(f"[{''.join(chr(code) for code in range(0x660, 0x10000) if chr(code).isdecimal())}]")

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
    """The text with everything private in it replaced; digits of other scripts become ASCII ones."""
    if not text.isascii():
        text = _FAR_DIGIT.sub(lambda digit: str(int(digit.group())), text)
    worth = worth_trying(text)
    if not worth:
        return text
    text = secrets(text, worth)
    if Rule.EMAIL in worth:
        text = _EMAIL.sub("[EMAIL]", text)
    if Rule.IPV6 in worth:
        text = _IPV6.sub(_ipv6, text)
    if Rule.IPV4 in worth:
        text = _IPV4.sub(_ipv4, text)
    if Rule.IBAN in worth and Rule.SEVEN_DIGITS in worth:
        text = ibans(text)
    if Rule.CARD in worth:
        text = cards(text)
    if Rule.SSN in worth:
        text = _SSN.sub("[SSN]", text)
    if Rule.SSN in worth or Rule.SSN_NAMED in worth:  # a number beside [SSN] is named by it
        text = _SSN_NAMED.sub(r"\1\2[SSN]", text)
    return phones(text) if Rule.SEVEN_DIGITS in worth else text


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
