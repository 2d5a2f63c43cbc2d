"""What may be written to a terminal: an image's name or a log line must not move the reader's cursor. Pure."""

from __future__ import annotations

REPLACEMENT = "�"


def line(text: str) -> str:
    r"""Text as one line: control characters, line ends and what turns the direction of writing are replaced.

    Example:
        >>> line("\x1b[2Jgone\nReady")
        '�[2Jgone�Ready'
    """
    return "".join(letter if letter.isprintable() or letter == "\t" else REPLACEMENT for letter in text)


def page(text: str) -> str:
    """Text of several lines: each of them cleaned, their ends kept."""
    return "\n".join(line(one) for one in text.split("\n"))
