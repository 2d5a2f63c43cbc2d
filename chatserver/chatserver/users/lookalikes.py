"""Names that look alike: Unicode's confusable characters and scripts (UTS #39). Pure, except for data read at import.

Only the data of confusable-homoglyphs is used: which characters look alike.
"""

from __future__ import annotations

import json
import unicodedata
from importlib import resources
from typing import Final

import regex

# Scripts in use today by UAX #31 (recommended, and limited use). Japanese and Korean use several together.
_SCRIPTS: Final = """
    Latn Arab Armn Beng Cyrl Deva Ethi Geor Grek Gujr Guru Hebr Khmr Knda Laoo Mlym Mymr Orya Sinh Taml Telu Thaa
    Thai Tibt Adlm Bali Bamu Batk Cakm Cans Cham Cher Hmnp Java Kali Lana Lepc Limb Lisu Mand Mong Mtei Newa Nkoo
    Olck Osge Plrd Rohg Saur Sund Sylo Syrc Tale Talu Tavt Tfng Vaii Wcho Yiii
"""
_TOGETHER: Final = (("Hani", "Hira", "Kana"), ("Hani", "Bopo"), ("Hani", "Hang"))

_SINGLE_SCRIPT: Final = regex.compile(
    "|".join(
        "[" + "".join(rf"\p{{scx={name}}}" for name in (*scripts, "Zyyy", "Zinh")) + "]+"
        for scripts in (*((name,) for name in _SCRIPTS.split()), *_TOGETHER)
    )
)
_INVISIBLE: Final = regex.compile(r"\p{Default_Ignorable_Code_Point}")


def _bare(text: str) -> str:
    """Return a text of the data without the direction marks around right-to-left characters."""
    return text.strip("\u200e\u200f")


def _prototypes() -> dict[str, str]:
    """Return, by character, the prototype for all characters that look like it.

    The data lists pairs in both directions: a prototype has several look-alikes, or is the first of a pair.
    """
    data = json.loads(resources.files("confusable_homoglyphs").joinpath("confusables.json").read_text("utf-8"))
    alike = {_bare(character): [_bare(one["c"]) for one in similar] for character, similar in data.items()}
    found: dict[str, str] = {}
    for character, similar in alike.items():
        other = similar[0]
        pair = len(alike.get(other, ())) == 1
        if len(character) == 1 and len(similar) == 1 and (not pair or other < character):
            found[character] = other
    return found


_PROTOTYPES: Final = _prototypes()


def is_single_script(text: str) -> bool:
    r"""Return whether a text is written in one script that is in use today, and its digits in one row of digits.

    Example:
        >>> is_single_script("ada1"), is_single_script("\u0430da"), is_single_script("\u674e\u3055\u3093")
        (True, False, True)
    """
    zeros = {ord(digit) - unicodedata.decimal(digit) for digit in text if unicodedata.category(digit) == "Nd"}
    return len(zeros) <= 1 and _SINGLE_SCRIPT.fullmatch(text) is not None


def _skeleton(text: str) -> str:
    seen = _INVISIBLE.sub("", unicodedata.normalize("NFD", text))
    return unicodedata.normalize("NFD", "".join(_PROTOTYPES.get(character, character) for character in seen))


def look(name: str) -> str:
    r"""Return a skeleton: it is the same for all names that look alike, in upper or lower case.

    Example:
        >>> look("PayPaI") == look("paypal"), look("\u0441\u043e\u0441\u043e") == look("coco")
        (True, True)
    """
    # First as written: a capital I looks like a small l, but a small i does not.
    return _skeleton(_skeleton(unicodedata.normalize("NFKC", name)).casefold())
