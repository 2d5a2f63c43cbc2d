"""Rows as clients get them, many at a time: one that cannot be rendered is left out, and its neighbours are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from chatserver.messaging.row_views import frame_of_row, view_or_none
from chatserver.supervision import caught

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from chatserver.messaging.row_views import RowView
    from chatserver.model import MessageRow


ESCAPED_BYTES: Final = 6
"""Bytes of a character in JSON at most: of a control character, as in `\\u0001`, which is one byte in the database."""


def fitting(texts: Sequence[str | None], most_bytes: int) -> int:
    r"""Return how many of the first texts fit into so many bytes of JSON; the one that passes them is the last one.

    Example:
        >>> fitting(["\x01" * 10, "a", "b"], 60), fitting(["a" * 10, None, "b"], 60)
        (1, 3)
    """
    # Nearly all pages are far below, and are not looked at one by one.
    if ESCAPED_BYTES * sum(len(text) for text in texts if text is not None) <= most_bytes:
        return len(texts)
    size = 0
    for number, text in enumerate(texts):
        if size >= most_bytes:
            return number
        size += 0 if text is None else len(msgspec.json.encode(text)) - 2
    return len(texts)


def frame_or_none(row: MessageRow) -> bytes | None:
    """Return a row as ``frame_of_row`` does; None when it cannot be rendered, which is logged and counted."""
    try:
        return frame_of_row(row)
    except Exception as error:  # noqa: BLE001 - as of `view_or_none`
        caught("row_not_rendered", error, chat_id=row.chat_id, seq=row.seq)
        return None


def frames_of(rows: Iterable[MessageRow]) -> list[tuple[int, int, bytes]]:
    """Return chat_id, seq and frame of the rows that can be rendered."""
    return [(row.chat_id, row.seq, frame) for row in rows if (frame := frame_or_none(row)) is not None]


def views_of(rows: Iterable[MessageRow]) -> list[RowView]:
    """Return the rows that can be rendered as ``view_row`` does."""
    return [view for row in rows if (view := view_or_none(row)) is not None]
