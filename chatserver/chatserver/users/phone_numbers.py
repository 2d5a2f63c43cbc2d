"""Phone numbers: the spellings that are pasted and that other messengers use, made one number in E.164 form. Pure.

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

# Beside spaces, dashes and invisible characters, of which Unicode has many.
_PUNCTUATION: Final = frozenset(
    "().-/[]~\t\n\r\u00b7\u2212\u2053\u223c\uff08\uff09\uff0e\uff0f\uff3b\uff3d\uff5e\u30fb\uff65\u30fc"
)
"""What is written between digits, as libphonenumber has it, in full width too. The last passes for a dash."""

_RETIRED: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(pattern), today)
    for pattern, today in (
        # Mexico: the 1 of mobile numbers (until 2019; WhatsApp's ids have it) and the prefixes for dialling.
        (r"\+52(?:1|01|044|045)([2-9][0-9]{9})", r"+52\1"),
        # Argentina: 9 is for calls from abroad, 15 for those from within; only together they are one too many.
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
"""Spellings that numbering plans have retired, and that go on in address books and in the ids of other messengers."""

_BRAZILIAN_MOBILE: Final = re.compile(r"\+55([1-9][1-9])9([6-9][0-9]{7})")


@dataclass(frozen=True, slots=True)
class PhoneNumber:
    """A phone number.

    Attributes:
        number: as its country's numbering plan has it today, in E.164 form.
        stored: the forms under which an account of it may be stored, the likeliest first. Brazil's without the ninth
            digit were numbers of their own here once; no other retired spelling has ever been taken.
    """

    number: str
    stored: tuple[str, ...]


def is_number(text: str) -> bool:
    """Return whether a text that names a user is a phone number, and no username: it begins with a plus or ``tel:``."""
    if text.startswith("+"):
        return True
    return ("+" in text or "\uff0b" in text or text[:4].lower() == "tel:") and _dialled(text).startswith("+")


def check_phone_number(text: str, path: str) -> PhoneNumber:
    """Return the number that a text spells.

    Any *possible* number counts (right length for its country), not only those an operator has assigned: scripts and
    tests use made-up ones. Digits of any script, spaces, punctuation and invisible characters are as people paste
    them. 00 in front stands for the plus.

    Raises:
        ValidationFailed: it is none; `path` names the field.
    """
    dialled = text if _E164.fullmatch(text) else _dialled(text)
    if not _E164.fullmatch(dialled):
        advice = "must be a phone number with + and its country's calling code, such as"
        raise ValidationFailed.of(path, f"{advice} {EXAMPLE}; digits and punctuation alone, no extension")
    number, e164 = _parse(dialled)
    if number is None or not phonenumbers.is_valid_number(number):
        today = _today(e164)
        if today is not None:
            # What is written first: where two accounts were made, it tells them apart.
            return PhoneNumber(today, tuple(reversed(_stored_forms(today))))
    if number is None:
        raise ValidationFailed.of(path, f"no country has this calling code; {EXAMPLE} has 49 after the plus")
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
    """Return what is left to dial of a pasted text: a plus and digits, when it is a number."""
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
    # One trunk prefix is dropped at a time; several would leave a form that is not its own.
    return (number, e164) if e164 == dialled else _parse(e164)


def _today(written: str) -> str | None:
    """Return the number that a retired spelling became; None: it is no such spelling."""
    for pattern, today in _RETIRED:
        if pattern.fullmatch(written):
            number, e164 = _parse(pattern.sub(today, written))
            if number is not None and phonenumbers.is_valid_number(number):
                return e164
    return None
