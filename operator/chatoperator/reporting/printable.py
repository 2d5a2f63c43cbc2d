"""Text of others as a condition or an Event may show it: images, Kubernetes' messages, what pods answered. Pure."""

from __future__ import annotations

import re

REPLACEMENT = "�"

_SPACE = re.compile(r"\s+")


def printable(text: str) -> str:
    r"""One line without what would move a reader's cursor or turn the direction of writing.

    Example:
        >>> printable("image \x1b[2Jgone\n  cannot be pulled")
        'image �[2Jgone cannot be pulled'
    """
    line = _SPACE.sub(" ", text).strip()
    return "".join(letter if letter.isprintable() else REPLACEMENT for letter in line)
