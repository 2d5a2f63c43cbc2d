r"""Finds unpaired surrogates in JSON that the strict decoder refused, so that an answer can name field and frame. Pure.

JSON can write half of a surrogate pair as an escape (``"\ud83d"``), UTF-8 cannot: such a text can neither be stored
nor sent on. It comes from clients that cut texts by UTF-16 units, in the middle of an emoji.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

MESSAGE: Final = "has an unpaired surrogate (half an emoji, for example), which UTF-8 cannot hold: remove it"

MAX_PATH_CHARS: Final = 200
"""Characters of a path: names of fields are the client's, and an error is short."""


@dataclass(frozen=True, slots=True)
class Unpaired:
    """An unpaired surrogate in a document.

    Attributes:
        path: of the text that holds it, such as ``text`` or ``members[3]``; of the object, when it is in a name.
        frame_id: the document's own ``id``, when that is a text without one.
    """

    path: str
    frame_id: str | None


def is_utf8(text: str) -> bool:
    """Return whether UTF-8 can hold a text: whether it has no unpaired surrogate."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_unpaired(data: str | bytes) -> Unpaired | None:
    r"""Return the first unpaired surrogate of a document; None when it has none, or is no JSON for another reason.

    It reads the document a second time, more slowly: only for what has been refused.

    Example:
        >>> find_unpaired(r'{"id": "7", "text": "\ud83d"}')
        Unpaired(path='text', frame_id='7')
    """
    try:
        document = json.loads(data if isinstance(data, str) else data.decode())
    except (ValueError, RecursionError):
        return None
    path = _path_in(document)
    if path is None:
        return None
    frame_id = document.get("id") if isinstance(document, dict) else None
    return Unpaired(path[:MAX_PATH_CHARS], frame_id if isinstance(frame_id, str) and is_utf8(frame_id) else None)


def _path_in(document: Any) -> str | None:
    # A stack and no recursion: the reader takes documents that are deeper than what Python calls.
    waiting: list[tuple[str, Any]] = [("", document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and not is_utf8(value):
            return path or "body"
        if isinstance(value, dict):
            if not all(map(is_utf8, value)):
                return path or "body"
            inner = [(f"{path}.{name}" if path else name, item) for name, item in value.items()]
        elif isinstance(value, list):
            inner = [(f"{path}[{number}]", item) for number, item in enumerate(value)]
        else:
            continue
        waiting.extend(reversed(inner))
    return None
