"""The watermarks that the server has not yet shown to have taken; no I/O."""

from typing import Any

from chatcluster_client.model import ReceiptUpdate
from chatcluster_client.outbox import check_number


class Marks:
    """How far the user has received and read each chat, as far as it is still to be reported."""

    def __init__(self) -> None:
        self._by_chat: dict[int, dict[str, int]] = {}

    def add(self, kind: str, chat_id: int, seq: int) -> dict[str, Any]:
        """Keep a watermark until a receipt shows it, and return its frame.

        Args:
            kind: `delivered` or `read`.
            chat_id: The chat.
            seq: Up to which row.

        Raises:
            Problem: 422 `validation_failed` for numbers that no server takes.
        """
        check_number("chat_id", chat_id, 1)
        check_number("seq", seq, 0)
        marks = self._by_chat.setdefault(chat_id, {})
        marks[kind] = max(seq, marks.get(kind, 0))
        return _frame(kind, chat_id, seq)

    def forget(self, receipt: ReceiptUpdate) -> None:
        """Drop what a receipt of this user shows the server to have taken."""
        marks = self._by_chat.get(receipt.chat_id, {})
        if marks.get("delivered", 0) <= receipt.delivered_seq and marks.get("read", 0) <= receipt.read_seq:
            self._by_chat.pop(receipt.chat_id, None)

    def frames(self) -> list[dict[str, Any]]:
        """Return the frames that report all of them again."""
        return [_frame(kind, chat_id, seq) for chat_id, marks in self._by_chat.items() for kind, seq in marks.items()]


def _frame(kind: str, chat_id: int, seq: int) -> dict[str, Any]:
    return {"type": kind, "chat_id": chat_id, "seq": seq}
