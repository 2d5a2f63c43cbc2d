"""What servers tell each other: where to look for something new, and how that fits into NOTIFY."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from chatserver.model import SeqRange  # noqa: TC001 - msgspec reads the annotations at run time

HINT_CHANNEL = "chat_hints"
"""The PostgreSQL NOTIFY channel that carries hints between servers."""

HINT_MAX_BYTES = 7900
"""Bytes of one encoded hint; PostgreSQL refuses NOTIFY payloads of 8,000 bytes and more."""


class MembershipNews(msgspec.Struct, frozen=True, array_like=True):
    """The membership of these users in this chat changed: servers that hold them must look again."""

    chat_id: int
    user_ids: tuple[int, ...]


class Hint(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"origin": "o", "ranges": "c", "members": "m", "is_batch": "b"},
):
    """What one server tells the others by NOTIFY: only where to look, never the truth itself.

    Losing one costs latency, never a message. Message text never travels here.

    Attributes:
        origin: CHAT_SERVER_NAME of the sender. PostgreSQL sends the hint back to its origin too.
        ranges: new rows, committed with this hint.
        members: chats that users came into or left.
        receipts: changed watermarks (arrays ``[chat_id, user_id, delivered_seq, read_seq]`` on the wire).
        revoked: device ids whose tokens died; their sockets must close.
        typing: ephemeral: ``(chat_id, user_id)`` is writing.
        presence: ephemeral: ``(user_id, 1 online | 0 offline)``.
        claims: ``(device_id, conn_id)`` has connected; older sockets of the device must close.
        relations: pairs of users of whom one has blocked the other, or no longer.
        profiles: users whose profile changed.
        is_batch: the rows are messages that the origin's writer has stored, and brings to its own connections itself.
    """

    origin: str
    ranges: tuple[SeqRange, ...] = ()
    members: tuple[MembershipNews, ...] = ()
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
            JSON texts; none for a hint that says nothing. Decoded, they add up to this hint.

        Raises:
            ValueError: the origin's name alone leaves no room.
        """
        empty = Hint(self.origin, is_batch=self.is_batch)
        pieces: list[Hint] = []
        for field in ("ranges", "receipts", "revoked", "typing", "presence", "claims", "relations", "profiles"):
            items = getattr(self, field)
            starts = range(0, len(items), _HINT_ITEMS)
            pieces.extend(replace(empty, **{field: items[start : start + _HINT_ITEMS]}) for start in starts)
        for news in self.members:
            for start in range(0, len(news.user_ids), _HINT_ITEMS):
                part = MembershipNews(news.chat_id, news.user_ids[start : start + _HINT_ITEMS])
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
