"""Messages that this server has stored, rendered, until their hint is published, which may carry them. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from chatserver.hints import ChatRows
    from chatserver.model import SeqRange

MOST_ROW_BYTES: Final = 4096
"""Bytes of a frame that a hint carries: nearly all are a tenth of it, and a larger one is seldom enough to be read."""

MOST_CHAT_BYTES: Final = 32_768
"""Bytes of a chat's messages, with the ids of those who may see them, in a hint: the ids of a full group are half."""

MOST_BYTES: Final = 524_288
"""Bytes of all messages that wait, so that no publication stops Valkey for long."""

ID_BYTES: Final = 17
"""Bytes of a user's id in JSON: they are below 2^53."""


class RenderedRows:
    """What hints may carry; what does not fit is read by those who need it."""

    def __init__(self) -> None:
        # By chat: the batches in their order, with their bytes.
        self._chats: dict[int, list[tuple[int, ChatRows]]] = {}
        self._bytes = 0

    def add(self, batch: ChatRows) -> None:
        """Keep the messages that a batch has stored in a chat, ascending by seq, unless they are too large."""
        size = ID_BYTES * len(batch.user_ids)
        for row in batch.rows:
            if len(row.frame) > MOST_ROW_BYTES:
                return
            size += len(row.frame)
        if size > MOST_CHAT_BYTES or self._bytes + size > MOST_BYTES:
            return
        self._chats.setdefault(batch.chat_id, []).append((size, batch))
        self._bytes += size

    def take(self, chat_range: SeqRange) -> tuple[ChatRows, ...]:
        """Return the messages of a range, and forget them: a hint that is published again carries none.

        Returns:
            All of the range, or nothing: without one of them, all would be read.
        """
        chat_id, last_seq = chat_range.chat_id, chat_range.last_seq
        batches = self._chats.pop(chat_id, None)
        if batches is None:
            return ()
        later = [batch for batch in batches if batch[1].rows[-1].seq > last_seq]
        if later:
            self._chats[chat_id] = later
        taken = batches[: len(batches) - len(later)]
        size = sum(batch[0] for batch in taken)
        self._bytes -= size
        found = tuple(batch[1] for batch in taken)
        is_whole = sum(len(rows.rows) for rows in found) == last_seq - chat_range.first_seq + 1
        return found if is_whole and size <= MOST_CHAT_BYTES else ()
