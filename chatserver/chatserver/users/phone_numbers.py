"""Phone numbers: converts the spellings that users paste and other messengers use to E.164 form. Pure.

The only importer of phonenumbers.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Final

import phonenumbers

from chatserver import bounds
from chatserver.errors import ValidationFailed

EXAMPLE: Final = "+491701234567"

_E164: Final = re.compile(r"\+[1-9][0-9]{5,18}")

# In addition to spaces, dashes and invisible characters, which are recognised by their category.
_PUNCTUATION: Final = frozenset(
    "().-/[]~\t\n\r\u00b7\u2212\u2053\u223c\uff08\uff09\uff0e\uff0f\uff3b\uff3d\uff5e\u30fb\uff65\u30fc"
)
"""Punctuation between digits as in libphonenumber, in full width too. The last one is used as a dash."""

_RETIRED: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), today)
    for pattern, today in (
        # Mexico: the 1 of mobile numbers (until 2019; WhatsApp's ids contain it) and the prefixes for dialling.
        (r"\+52(?:1|01|044|045)([2-9][0-9]{9})", r"+52\1"),
        # Argentina: 9 is for calls from abroad, 15 for domestic calls; a number with both is wrong.
        (r"\+549([0-9]{2,4}15[0-9]{6,8})", r"+54\1"),
        # Brazil: the ninth digit of mobile numbers (2012 to 2016; WhatsApp's ids of older accounts lack it).
        (r"\+55([1-9][1-9])([6-9][0-9]{7})", r"+55\g<1>9\2"),
        # Ivory Coast (2021): two digits of the network, which the second digit named until then.
        (r"\+225([04-9][0-3][0-9]{6})", r"+22501\1"),
        (r"\+225([04-9][4-6][0-9]{6})", r"+22505\1"),
        (r"\+225([04-9][7-9][0-9]{6})", r"+22507\1"),
        # Benin (2024).
        (r"\+229([2-9][0-9]{7})", r"+22901\1"),
    )
)
"""Retired spellings that remain in address books and in the ids of other messengers, with their replacements."""

_BRAZILIAN_MOBILE: Final = re.compile(r"\+55([1-9][1-9])9([6-9][0-9]{7})")


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A phone number.

    Attributes:
        number: the number by its country's current numbering plan, in E.164 form.
        stored: the forms under which an account may be stored, the likeliest first. Earlier releases stored Brazilian
            numbers without the ninth digit as separate numbers; they accepted no other retired spelling.
    """

    number: str
    stored: tuple[str, ...]


def is_number(text: str) -> bool:
    """Return whether a text that identifies a user is a phone number: it begins with a plus or ``tel:``."""
    if text.startswith("+"):
        return True
    return ("+" in text or "\uff0b" in text or text[:4].lower() == "tel:") and _dialled(text).startswith("+")


def check_phone_number(text: str, path: str) -> PhoneNumber:
    """Return the phone number in a text.

    Any *possible* number is accepted (right length for its country), not only assigned ones: scripts and tests use
    invented ones. Users paste digits of any script, spaces, punctuation and invisible characters. A leading 00 means a
    plus.

    Raises:
        ValidationFailed: it is not a phone number; `path` names the field.
    """
    dialled = text if _E164.fullmatch(text) else _dialled(text)
    if not _E164.fullmatch(dialled):
        advice = "must be a phone number with + and its country's calling code, such as"
        raise ValidationFailed.of(path, f"{advice} {EXAMPLE}; only digits and punctuation, no extension")
    number, e164 = _parse(dialled)
    if number is None or not phonenumbers.is_valid_number(number):
        today = _today(e164)
        if today is not None:
            # The written form first: where two accounts exist, it identifies one of them.
            return PhoneNumber(today, tuple(reversed(_stored_forms(today))))
    if number is None:
        raise ValidationFailed.of(path, f"no country has this calling code; in {EXAMPLE} it is 49")
    if not phonenumbers.is_possible_number(number):
        message = (
            f"must be a phone number in E.164 form, such as {EXAMPLE}; this one has the wrong length for its country"
        )
        raise ValidationFailed.of(path, message)
    return PhoneNumber(e164, _stored_forms(e164))


def _stored_forms(number: str) -> tuple[str, ...]:
    mobile = _BRAZILIAN_MOBILE.fullmatch(number)
    return (number, f"+55{mobile[1]}{mobile[2]}") if mobile else (number,)


def _dialled(text: str) -> str:
    """Return the part of a pasted text that is dialled: a plus and digits, if it is a number."""
    if len(text) > bounds.PHONE_NUMBER_MAX_CHARS:
        return ""
    kept = "".join(map(_dialled_character, text))
    kept = kept[4:] if kept[:4].lower() == "tel:" else kept
    return f"+{kept[2:]}" if kept.startswith("00") else kept


def _dialled_character(character: str) -> str:
    if character in _PUNCTUATION or unicodedata.category(character) in {"Cf", "Pd", "Zs"}:
        return ""
    digit = unicodedata.decimal(character, None)
    return str(digit) if digit is not None else "+" if character == "\uff0b" else character


def _parse(dialled: str) -> tuple[phonenumbers.PhoneNumber | None, str]:
    try:
        number = phonenumbers.parse(dialled, None)
    except phonenumbers.NumberParseException:
        return None, dialled
    e164 = str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
    # parse() drops one trunk prefix at a time; with several the result would still contain one.
    return (number, e164) if e164 == dialled else _parse(e164)


def _today(written: str) -> str | None:
    """Return the number that replaced a retired spelling; None: it is not a retired spelling."""
    for pattern, today in _RETIRED:
        if pattern.fullmatch(written):
            number, e164 = _parse(pattern.sub(today, written))
            if number is not None and phonenumbers.is_valid_number(number):
                return e164
    return None
