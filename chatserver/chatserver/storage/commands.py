"""Splits a migration file into its commands, which are sent one by one: Citus takes no more at a time. Pure."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(
    r"""--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|"[^"]*"|\$((?:[A-Za-z_]\w*)?)\$.*?\$\1\$|;""", re.DOTALL
)
"""Comments, texts, quoted names, bodies, and the semicolon that ends a command."""


def split_commands(text: str) -> tuple[str, ...]:
    r"""Return the commands of a text, without comments outside of bodies.

    Texts with backslash escapes (``E'...'``) and nested comments are not understood; a test compares all migrations
    with what PostgreSQL's parser finds.

    Example:
        >>> split_commands("SELECT ';'; -- twice;\nSELECT $$;$$;")
        ("SELECT ';'", 'SELECT $$;$$')
    """
    commands, command, start = [], "", 0
    for token in _TOKEN.finditer(text):
        if token[0] == ";" or token[0].startswith(("--", "/*")):
            command += text[start : token.start()]
            start = token.end()
        if token[0] == ";":
            commands.append(command.strip())
            command = ""
    commands.append((command + text[start:]).strip())
    return tuple(command for command in commands if command)
