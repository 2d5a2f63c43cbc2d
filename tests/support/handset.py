"""A device as docs/protocol.md describes it, driven step by step; it keeps what it has when connections end."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from chatcluster_client.model import Item
from chatcluster_client.order import RowOrder
from chatserver.messaging import chats
from chatserver.model import Principal
from chatserver.protocol import CLOSE_REPLACED
from tests.support.inprocess import Wire
from tests.support.replica import Replica, Row, as_client_sees, row_of_event

if TYPE_CHECKING:
    from chatserver.model import SignIn
    from tests.support.inprocess import ChatServer, Frame

HISTORY_ROWS = 200

GONE_CODES = frozenset({"chat_not_found", "not_a_member", "not_an_admin", "blocked"})
"""After these a message can never be sent."""

_BLANK: Row = {
    "kind": "message",
    "type": "text",
    "target_seq": None,
    "detail": None,
    "reactions": [],
    "edited_at": None,
    "deleted_at": None,
}
"""What a text message has when it is new."""


class Handset:
    """One device: its rows, its unacknowledged messages, the watermarks it knows, and at most one connection.

    Attributes:
        acked: (chat_id, seq) by client_id of own acknowledged messages.
        doubled: rows that came twice, or not ascending, on one connection: what the protocol rules out.
        unlike: acks of one message that differ.
        failed: what no device may be told.
    """

    def __init__(self, session: SignIn) -> None:
        self.user_id = session.user.user_id
        self._principal = Principal(session.user.user_id, session.device_id)
        self.order = RowOrder()
        self.replica = Replica(self.user_id)
        self.outbox: dict[str, Frame] = {}
        self.sent: list[Frame] = []
        self.acked: dict[str, tuple[int, int]] = {}
        self.read_seq: dict[int, int] = {}
        self.wire: Wire | None = None
        self.doubled: list[tuple[int, int]] = []
        self.unlike: list[str] = []
        self.failed: list[str] = []
        self.handed_on: list[tuple[int, int]] = []
        self._newest: dict[int, int] = {}
        self._syncing = False
        self._syncs = 0

    # --- the connection

    async def connect(self, server: ChatServer) -> None:
        """Connect, sync, and repeat what was not acknowledged."""
        wire = Wire(server, self._principal)
        await wire.open()
        self.wire, self._newest, self._syncing, self._syncs = wire, {}, False, 0
        self.sync()
        self.repeat_unacknowledged()

    def disconnect(self, *, noticed: bool) -> None:
        """Lose the connection, with the frames in it; the server may not notice."""
        if self.wire is not None and noticed:
            self.wire.close()
        self.wire = None

    def sync(self) -> None:
        """Ask for what is missing, unless that is being answered."""
        if self.wire is not None and not self._syncing:
            self._syncing = True
            self._syncs += 1
            self.wire.submit({"type": "sync", "chats": {str(chat): seq for chat, seq in self.order.have.items()}})

    def send(self, text: str, **target: object) -> None:
        """Write a message to a `chat_id` or `to` a name; it stays until it is acknowledged."""
        client_id = str(uuid.uuid4())
        frame: Frame = {"type": "send", "id": client_id, "text": text, **target}
        self.outbox[client_id] = frame
        self.sent.append(frame)
        if self.wire is not None:
            self.wire.submit(frame)

    def repeat(self, place: int) -> None:
        """Send a message of before again, acknowledged or not."""
        if self.wire is not None and self.sent:
            self.wire.submit(self.sent[place % len(self.sent)])

    def repeat_unacknowledged(self) -> None:
        """Send again what was not answered."""
        for frame in self.outbox.values():
            if self.wire is not None:
                self.wire.submit(frame)

    def mark(self, kind: str, chat_id: int) -> None:
        """Tell that all rows of a chat so far are delivered or read."""
        seq = self.order.have.get(chat_id, 0)
        if self.wire is not None and seq:
            self.wire.submit({"type": kind, "chat_id": chat_id, "seq": seq})

    # --- what comes

    def read(self) -> None:
        """Take what has come.

        Raises:
            AssertionError: the server ended the newest connection of the device for an older one.
        """
        if self.wire is None:
            return
        for frame in self.wire.take():
            self._take(frame)
        code = self.wire.close_code
        if code is not None:
            assert code != CLOSE_REPLACED, "an older connection replaced a newer one"
            self.disconnect(noticed=True)

    def _take(self, frame: Frame) -> None:
        match frame["type"]:
            case "message":
                self._take_row(frame["message"])
            case "event":
                self._take_row(row_of_event(frame))
            case "ack":
                self._take_ack(frame)
            case "receipt":
                self._note_read(frame["chat_id"], frame["user_id"], frame["read_seq"])
            case "synced":
                self._syncing = False
                for chat in frame["chats"]:
                    for member in chat["members"]:
                        self._note_read(chat["chat_id"], member["user_id"], member["read_seq"])
            case "error" if frame.get("id") in self.outbox and frame["code"] in GONE_CODES:
                # For good: the application shows it as not sent.
                del self.outbox[frame["id"]]
            case "error" if frame["code"] == "internal_error":
                self.failed.append(frame["detail"])
            case "error" if "id" not in frame:
                # The sync was refused: the database was away.
                self._syncing = False
                self.sync()
            case _:
                pass

    def _take_row(self, row: Row) -> None:
        chat_id, seq = row["chat_id"], row["seq"]
        # What is on its way when a connection syncs again is asked for again.
        if seq <= self._newest.get(chat_id, 0) and self._syncs == 1:
            self.doubled.append((chat_id, seq))
        self._newest[chat_id] = max(seq, self._newest.get(chat_id, 0))
        self._hand_on(self.order.take(self._item(row)))

    def _take_ack(self, frame: Frame) -> None:
        place = (frame["chat_id"], frame["seq"])
        if self.acked.setdefault(frame["id"], place) != place:
            self.unlike.append(frame["id"])
        sent = self.outbox.pop(frame["id"], None)
        if sent is not None:
            self._learn_chat(sent.get("to"), frame["chat_id"])
            row = {
                **_BLANK,
                "chat_id": frame["chat_id"],
                "seq": frame["seq"],
                "from_id": self.user_id,
                "text": sent["text"],
                "client_id": frame["id"],
                "created_at": frame["created_at"],
            }
            self._hand_on(self.order.take(self._item(row)))

    def _learn_chat(self, to: str | None, chat_id: int) -> None:
        """Repeat what went to the same name with the chat's id from here on."""
        for frame in self.sent:
            if to is not None and frame.get("to") == to:
                del frame["to"]
                frame["chat_id"] = chat_id

    def _item(self, row: Row) -> Item:
        return Item(row["chat_id"], row["seq"], row["kind"], own=row["from_id"] == self.user_id, row=row)

    def _hand_on(self, items: list[Item]) -> None:
        for item in items:
            self.handed_on.append((item.chat_id, item.seq))
            self.replica.apply(item.row)

    def _note_read(self, chat_id: int, user_id: int, seq: int) -> None:
        if user_id == self.user_id:
            self.read_seq[chat_id] = max(seq, self.read_seq.get(chat_id, 0))

    # --- healing

    async def recover(self, server: ChatServer, chat_id: int) -> None:
        """Fetch by REST what a chat lacks before rows that are here, as `chatcluster_client` does."""
        while self.order.is_waiting(chat_id):
            asked_about = self.order.newest_held(chat_id)
            page = await chats.read_history(
                server.database, self.user_id, chat_id, after=self.order.have.get(chat_id, 0), limit=HISTORY_ROWS
            )
            self._hand_on(self.order.fill(chat_id, [self._item(as_client_sees(row)) for row in page.rows]))
            if not page.rows:
                self._hand_on(self.order.skip_hole(chat_id, asked_about))
        if chat_id in self.replica.stale:
            self.replica.stale.discard(chat_id)
            page = await chats.read_history(server.database, self.user_id, chat_id, limit=chats.HISTORY_MAX)
            # What is not handed on yet comes in its turn.
            have = self.order.have.get(chat_id, 0)
            self.replica.refetch(chat_id, [as_client_sees(row) for row in page.rows], have)

    def unread(self, chat_id: int) -> int:
        """Return how many messages of others it shows as unread."""
        return sum(
            place[0] == chat_id
            and place[1] > self.read_seq.get(chat_id, 0)
            and row["from_id"] != self.user_id
            and row["deleted_at"] is None
            for place, row in self.replica.messages.items()
        )
