"""Which texts are one emoji, and in which spelling it is kept: Unicode's list (UTS #51). Pure.

An emoji can be spelled with and without the variation selectors U+FE0E and U+FE0F, which keyboards and systems add as
they like. Two spellings are one emoji; another skin tone is another emoji.
"""

from __future__ import annotations

from typing import Final

import emoji
import regex

MAX_CHARS: Final = 16
"""Code points of an emoji: the longest in Unicode's list, a kissing couple with two skin tones, has 10."""

_SELECTORS: Final = str.maketrans("", "", "\ufe0e\ufe0f")

# Code points that Unicode keeps free for emoji: next year's, which clients have before servers.
_RESERVED: Final = regex.compile(r"[\p{Extended_Pictographic}&&\p{Cn}]\p{Emoji_Modifier}?", regex.VERSION1)


def without_selectors(text: str) -> str:
    """Return a text as emoji are compared: without variation selectors."""
    return text.translate(_SELECTORS)


_QUALIFIED: Final = (emoji.STATUS["component"], emoji.STATUS["fully_qualified"])


def _listed() -> dict[str, str]:
    """Return the spelling that Unicode calls fully qualified, by the one without selectors."""
    found: dict[str, str] = {}
    # Fully qualified ones come first, and components (a skin tone alone) have no other spelling.
    for spelling in sorted(emoji.EMOJI_DATA, key=lambda text: emoji.EMOJI_DATA[text]["status"] not in _QUALIFIED):
        found.setdefault(without_selectors(spelling), spelling)
    return found


_LISTED: Final = _listed()


def find(text: str) -> str | None:
    r"""Return the emoji that a text is, as Unicode's list spells it; None: it is none, or more than one.

    Example:
        >>> find("\u2764"), find("\u2764\ufe0f"), find("\u2014")
        ('❤️', '❤️', None)
    """
    if not 0 < len(text) <= MAX_CHARS:
        return None
    bare = without_selectors(text)
    return _LISTED.get(bare) or (bare if _RESERVED.fullmatch(bare) else None)


def spelled(stored: str) -> str:
    """Return a stored reaction as it is shown: reactions from before this list keep what they were, if need be."""
    return find(stored) or stored
