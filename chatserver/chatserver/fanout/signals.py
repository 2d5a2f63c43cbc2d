"""Delivery of receipts and typing, which are not rows, to the connections of this server."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from chatserver.hints import Hint
from chatserver.messaging import sync
from chatserver.protocol import Receipt, TypingFrom, encode_frame
from chatserver.supervision import apart
from chatserver.visibility import crosses_block

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from chatserver.fanout.hub import Hub
    from chatserver.storage.database import Database

# Chats whose receipts one query of a recovery reads: two index look-ups for each of their members.
RECOVER_CHATS = 1000
# Users whose own receipts one query of a recovery reads.
RECOVER_USERS = 1000
# Receipts that were raised within this time before the bus was last known to be healthy are sent again: it is checked
# every 5 s, counts as healthy for 4 s after its last sign of life, a receipt's transaction takes 5 s at most, and its
# hint is published within 10 s, even if the server that stored it ends.
RECEIPTS_MARGIN_SECONDS = 30.0
# Both follow the same rule.
SIGNALS_CROSS_BLOCKS = crosses_block("receipts") and crosses_block("typing")
# Interval of typing hints of a user in a chat, however fast the keys.
TYPING_SECONDS = 2.0


class Signals:
    """Receipts and typing that wait for delivery.

    Args:
        database: where members and watermarks are.
        hub: the connections of this server.
        wake: has ``deliver`` run.
    """

    def __init__(self, database: Database, hub: Hub, wake: Callable[[], None]) -> None:
        self._database = database
        self._hub = hub
        self._wake = wake
        # By chat and user: delivered and read. By chat: the users who type.
        self._receipts: dict[int, dict[int, tuple[int, int]]] = {}
        self._typing: dict[int, set[int]] = {}
        # By chat: the users here who type, to be published once it is known who the members are.
        self._typing_here: dict[int, set[int]] = {}
        # Receipts that could not be delivered, until the next try.
        self._failed: list[tuple[int, int, int, int]] = []
        self._typed_at: dict[tuple[int, int], float] = {}
        # The time (monotonic) up to which all receipts are known to have been received.
        self._received_until = time.monotonic()

    def receive_own(self, receipts: Iterable[tuple[int, int, int, int]]) -> None:
        """Send the devices of users who do not show what they have read their watermarks."""
        for receipt in receipts:
            self._hub.registry.send_to((receipt[1],), encode_frame(Receipt(*receipt)))

    def receive(self, receipts: Iterable[tuple[int, int, int, int]], typing: Iterable[tuple[int, int]] = ()) -> None:
        """Take those of a hint: ``(chat_id, user_id, delivered_seq, read_seq)`` and ``(chat_id, user_id)``."""
        for chat_id, user_id, delivered_seq, read_seq in receipts:
            marks = self._receipts.get(chat_id)
            if marks is None:
                # In nearly all chats those of one member wait.
                self._receipts[chat_id] = {user_id: (delivered_seq, read_seq)}
                continue
            delivered, read = marks.get(user_id, (0, 0))
            marks[user_id] = (max(delivered, delivered_seq), max(read, read_seq))
        for chat_id, user_id in typing:
            self._typing.setdefault(chat_id, set()).add(user_id)

    async def deliver(self, joining: Collection[int]) -> None:
        """Send what waits to the members who are here.

        Args:
            joining: chats that recovery has just found; they wait until users here follow them.

        Raises:
            ServiceUnavailable: the database is unavailable; the rest waits.
        """
        chat_ids = {*self._receipts, *self._typing, *self._typing_here}.difference(joining)
        for chat_id in await apart("signals_not_delivered", sorted(chat_ids), self._deliver):
            # Typing would be over by the next try.
            receipts, _ = self._take(chat_id)
            self._typing_here.pop(chat_id, None)
            self._failed += [(chat_id, user_id, *marks) for user_id, marks in receipts]

    def retry(self) -> bool:
        """Queue the receipts again that could not be delivered; returns whether there are any."""
        failed, self._failed = self._failed, []
        self.receive(failed)
        return bool(failed)

    async def _deliver(self, chat_ids: Sequence[int]) -> None:
        unknown = self._hub.unknown_members(chat_ids)
        if unknown:
            audiences = await sync.audience_of(self._database, unknown)
            for chat_id in unknown:
                members, blocks, hiding_ids = audiences.get(chat_id, ((), [], []))
                self._hub.members.learn(chat_id, members, () if SIGNALS_CROSS_BLOCKS else blocks, hiding_ids)
        for chat_id in chat_ids:
            for user_id in self._typing_here.pop(chat_id, ()):
                self._publish_typing(chat_id, user_id)
            marks, typing = self._take(chat_id)
            hiding = self._hub.members.hiding(chat_id)
            for user_id, (delivered_seq, read_seq) in marks:
                frame = encode_frame(Receipt(chat_id, user_id, delivered_seq, read_seq))
                kept_from = hiding - {user_id}
                self._hub.send_to_members(chat_id, frame, from_id=user_id, but=kept_from)
                if kept_from:
                    frame = encode_frame(Receipt(chat_id, user_id, delivered_seq, 0))
                    others = (self._hub.members.of(chat_id) or frozenset()) - kept_from
                    self._hub.send_to_members(chat_id, frame, from_id=user_id, but=others)
            for user_id in typing:
                frame = encode_frame(TypingFrom(chat_id, user_id))
                self._hub.send_to_members(chat_id, frame, from_id=user_id, but=(user_id,))

    def _take(self, chat_id: int) -> tuple[Iterable[tuple[int, tuple[int, int]]], Iterable[int]]:
        return self._receipts.pop(chat_id, {}).items(), self._typing.pop(chat_id, ())

    def relay_typing(self, chat_id: int, user_id: int) -> None:
        """Publish that a user types in a chat; lost when the bus is unavailable."""
        now = time.monotonic()
        if not self._hub.following.follows(user_id, chat_id):
            return
        if now - self._typed_at.get((chat_id, user_id), -TYPING_SECONDS) < TYPING_SECONDS:
            return
        self._typed_at[chat_id, user_id] = now
        if self._hub.members.knows(chat_id):
            self._publish_typing(chat_id, user_id)
        else:
            # Read first: a bus that knows where they are then sends it nowhere else.
            self._typing_here.setdefault(chat_id, set()).add(user_id)
            self._wake()

    def _publish_typing(self, chat_id: int, user_id: int) -> None:
        self._database.hints.say(Hint(self._database.server_name, typing=((chat_id, user_id),)))

    def forget_typed(self, now: float) -> None:
        """Forget typing that is too old to suppress further hints."""
        self._typed_at = {key: at for key, at in self._typed_at.items() if now - at < TYPING_SECONDS}

    def bus_was_healthy(self, now: float) -> None:
        """Record that all receipts up to now were received."""
        self._received_until = now

    async def recover(self, found: Iterable[int]) -> None:
        """Queue the watermarks that were raised since the bus was last healthy; repeating some does no harm.

        Args:
            found: chats that recovery found and that are not followed yet.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        now = time.monotonic()
        within_seconds = now - self._received_until + RECEIPTS_MARGIN_SECONDS
        chat_ids = sorted({*self._hub.present_chats(), *found})
        for start in range(0, len(chat_ids), RECOVER_CHATS):
            chunk = chat_ids[start : start + RECOVER_CHATS]
            raised = await sync.receipts_of(self._database, chunk, within_seconds=within_seconds)
            self.receive((r.chat_id, r.user_id, r.delivered_seq, r.read_seq) for r in raised)
        users = sorted(self._hub.registry.by_user)
        for start in range(0, len(users), RECOVER_USERS):
            own = await sync.own_receipts_of(self._database, users[start : start + RECOVER_USERS])
            self.receive_own((r.chat_id, r.user_id, r.delivered_seq, r.read_seq) for r in own)
        self._received_until = now
