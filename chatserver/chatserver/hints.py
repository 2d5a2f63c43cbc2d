"""Hints: the notifications by which servers announce new rows to each other, and how they fit into NOTIFY."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from chatserver.model import SeqRange  # noqa: TC001 - msgspec reads the annotations at run time

HINT_CHANNEL = "chat_hints"
"""The PostgreSQL NOTIFY channel that carries hints between servers."""

HINT_MAX_BYTES = 7900
"""Bytes of one encoded hint; PostgreSQL refuses NOTIFY payloads of 8,000 bytes and more."""


class MembershipChange(msgspec.Struct, frozen=True, array_like=True):
    """The membership of these users in this chat changed: servers with connections of them must read it again."""

    chat_id: int
    user_ids: tuple[int, ...]


class Hint(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"origin": "o", "ranges": "c", "members": "m", "is_batch": "b"},
):
    """What one server sends to the others by NOTIFY: where to read, never the data itself.

    A lost hint costs latency, never a message. It never contains the text of a message.

    Attributes:
        origin: CHAT_SERVER_NAME of the sender. PostgreSQL sends the hint back to its origin too.
        ranges: new rows, committed with this hint.
        members: chats that users joined or left.
        receipts: changed watermarks (arrays ``[chat_id, user_id, delivered_seq, read_seq]`` on the wire).
        revoked: ids of devices that were signed out; their sockets must close.
        typing: ephemeral: ``(chat_id, user_id)`` is writing.
        presence: ephemeral: ``(user_id, 1 online | 0 offline)``.
        claims: ``(device_id, conn_id)`` has connected; older sockets of the device must close.
        relations: pairs of users of whom one has blocked the other, or no longer.
        profiles: users whose profile changed.
        is_batch: the rows are messages that the origin's writer stored and delivers to its own connections itself.
    """

    origin: str
    ranges: tuple[SeqRange, ...] = ()
    members: tuple[MembershipChange, ...] = ()
    receipts: tuple[tuple[int, int, int, int], ...] = ()
    revoked: tuple[int, ...] = ()
    typing: tuple[tuple[int, int], ...] = ()
    presence: tuple[tuple[int, int], ...] = ()
    claims: tuple[tuple[int, str], ...] = ()
    relations: tuple[tuple[int, int], ...] = ()
    profiles: tuple[int, ...] = ()
    is_batch: bool = False

    def encode(self) -> list[str]:
        """Encode as NOTIFY payloads, each under HINT_MAX_BYTES; several when it does not fit into one.

        Returns:
            JSON texts; none for an empty hint. Decoded, they add up to this hint.

        Raises:
            ValueError: the origin's name alone leaves no room.
        """
        empty = Hint(self.origin, is_batch=self.is_batch)
        pieces: list[Hint] = []
        for field in ("ranges", "receipts", "revoked", "typing", "presence", "claims", "relations", "profiles"):
            items = getattr(self, field)
            starts = range(0, len(items), _HINT_ITEMS)
            pieces.extend(replace(empty, **{field: items[start : start + _HINT_ITEMS]}) for start in starts)
        for change in self.members:
            for start in range(0, len(change.user_ids), _HINT_ITEMS):
                part = MembershipChange(change.chat_id, change.user_ids[start : start + _HINT_ITEMS])
                pieces.append(replace(empty, members=(part,)))
        whole = _HINT_ENCODER.encode(self)
        if len(whole) <= HINT_MAX_BYTES:
            return [whole.decode()] if pieces else []
        payloads = [_HINT_ENCODER.encode(piece) for piece in pieces]
        if any(len(payload) > HINT_MAX_BYTES for payload in payloads):
            raise ValueError(f"the server name is too long for a hint: {len(self.origin)} characters")
        return [payload.decode() for payload in payloads]

    @staticmethod
    def decode(payload: str) -> Hint:
        """Decode one NOTIFY payload; unknown fields of newer servers are ignored.

        Raises:
            ValueError: not a hint.
        """
        return _HINT_DECODER.decode(payload)


_HINT_ITEMS = 80
"""Entries of one list in one piece: the longest (four 19-digit numbers) takes 82 bytes, 80 of them 6,560."""

_HINT_ENCODER = msgspec.json.Encoder()
_HINT_DECODER = msgspec.json.Decoder(Hint)
