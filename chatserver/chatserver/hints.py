"""Hints: the notifications by which servers announce new rows to each other, how they merge and fit into NOTIFY."""

from __future__ import annotations

from collections.abc import Sequence  # noqa: TC003 - msgspec reads the annotations at run time
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from chatserver.model import SeqRange

if TYPE_CHECKING:
    from collections.abc import Iterable

Item = TypeVar("Item")

HINT_CHANNEL = "chat_hints"
"""The PostgreSQL NOTIFY channel that carries hints between servers."""

HINT_MAX_BYTES = 7900
"""Bytes of one encoded hint; PostgreSQL refuses NOTIFY payloads of 8,000 bytes and more."""

HINT_ITEMS = 80
"""Entries of one list that fit into one NOTIFY: the longest (four 19-digit numbers) takes 86 bytes as PostgreSQL writes
JSON, 80 of them 6,880."""


FIELDS = (
    "ranges", "receipts", "own_receipts", "revoked", "typing", "presence", "claims", "relations", "profiles",
)  # fmt: skip
"""Lists of a hint whose entries do not depend on each other."""


class MembershipChange(msgspec.Struct, frozen=True, array_like=True):
    """The membership of these users in this chat changed: servers with connections of them must read it again."""

    chat_id: int
    user_ids: tuple[int, ...]


class HintRow(msgspec.Struct, frozen=True, array_like=True):
    """A message as its server has rendered it.

    Attributes:
        created_at_us: its time in the database, in microseconds since 1970.
        frame: what connections get.
    """

    seq: int
    from_id: int
    client_id: str
    created_at_us: int
    frame: msgspec.Raw


class ChatRows(msgspec.Struct, frozen=True, array_like=True):
    """Messages that one batch stored in a chat, one after the other.

    Attributes:
        user_ids: who may see them: the members at their commit.
    """

    chat_id: int
    user_ids: Sequence[int]
    rows: Sequence[HintRow]


class Hint(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    rename={"origin": "o", "ranges": "c", "members": "m", "is_batch": "b", "rows": "r"},
):
    """What one server sends to the others: where to read, and by Valkey small messages as well, so that nobody reads.

    A lost hint costs latency, never a message. What NOTIFY and slots carry of it never contains the text of a message.

    Attributes:
        origin: CHAT_SERVER_NAME of the sender. PostgreSQL sends the hint back to its origin too.
        ranges: new rows, committed before this hint is sent.
        members: chats that users joined or left.
        receipts: changed watermarks (arrays ``[chat_id, user_id, delivered_seq, read_seq]`` on the wire).
        own_receipts: the same of users who do not show what they have read: for their own devices alone.
        revoked: ids of devices that were signed out; their sockets must close.
        typing: ephemeral: ``(chat_id, user_id)`` is writing.
        presence: ephemeral: ``(user_id, 1 online | 0 offline)``.
        claims: ``(device_id, conn_id)`` has connected; older sockets of the device must close.
        relations: pairs of users of whom one has blocked the other, or no longer.
        profiles: users whose profile changed.
        is_batch: the rows are messages that the origin's writer stored and delivers to its own connections itself.
        rows: what is in `ranges`, or a part of it. Only `encode_with_rows` encodes it.
        to: ids of the users whom all of it concerns; None: see ``audiences``. Not sent.
        audiences: by chat, ids of the users whom its rows concern; a chat that is missing: everybody. Not sent.
    """

    origin: str
    ranges: tuple[SeqRange, ...] = ()
    members: tuple[MembershipChange, ...] = ()
    receipts: tuple[tuple[int, int, int, int], ...] = ()
    own_receipts: tuple[tuple[int, int, int, int], ...] = ()
    revoked: tuple[int, ...] = ()
    typing: tuple[tuple[int, int], ...] = ()
    presence: tuple[tuple[int, int], ...] = ()
    claims: tuple[tuple[int, str], ...] = ()
    relations: tuple[tuple[int, int], ...] = ()
    profiles: tuple[int, ...] = ()
    is_batch: bool = False
    rows: tuple[ChatRows, ...] = ()
    to: tuple[int, ...] | None = None
    audiences: dict[int, Sequence[int]] | None = None

    def encode(self) -> list[str]:
        """Encode as NOTIFY payloads, each under HINT_MAX_BYTES; several when it does not fit into one.

        Returns:
            JSON texts; none for an empty hint. Decoded, they add up to this hint.

        Raises:
            ValueError: the origin's name alone leaves no room.
        """
        empty = Hint(self.origin, is_batch=self.is_batch)
        pieces: list[Hint] = []
        for field in FIELDS:
            items = getattr(self, field)
            starts = range(0, len(items), HINT_ITEMS)
            pieces.extend(replace(empty, **{field: items[start : start + HINT_ITEMS]}) for start in starts)
        for change in self.members:
            for start in range(0, len(change.user_ids), HINT_ITEMS):
                part = MembershipChange(change.chat_id, change.user_ids[start : start + HINT_ITEMS])
                pieces.append(replace(empty, members=(part,)))
        whole = _HINT_ENCODER.encode(self._content())
        if len(whole) <= HINT_MAX_BYTES:
            return [whole.decode()] if pieces else []
        payloads = [_HINT_ENCODER.encode(piece) for piece in pieces]
        if any(len(payload) > HINT_MAX_BYTES for payload in payloads):
            raise ValueError(f"the server name is too long for a hint: {len(self.origin)} characters")
        return [payload.decode() for payload in payloads]

    def encode_whole(self) -> str:
        """Encode as one JSON text of any length, without `rows`."""
        return _HINT_ENCODER.encode(self._content()).decode()

    def encode_with_rows(self) -> str:
        """Encode as one line of JSON of any length."""
        return _HINT_ENCODER.encode(replace(self, to=None, audiences=None)).decode()

    def _content(self) -> Hint:
        """Return what every bus may carry."""
        if self.to is None and self.audiences is None and not self.rows:
            return self
        return replace(self, rows=(), to=None, audiences=None)

    @staticmethod
    def decode(payload: str | bytes) -> Hint:
        """Decode a JSON text; unknown fields of newer servers are ignored.

        Raises:
            ValueError: not a hint.
        """
        return _HINT_DECODER.decode(payload)


def payloads_of(hints: Iterable[Hint]) -> list[str]:
    """Return NOTIFY payloads that add up to these hints; raises as of `Hint.encode`."""
    return [payload for hint in hints for payload in hint.encode()]


def merged(hints: Sequence[Hint]) -> list[Hint]:
    """Return as few hints as possible that lead to the same as these, in this order.

    The rows of a chat become one range, a member's watermarks their highest, and the last state of a user counts.
    """
    if len(hints) <= 1:
        return list(hints)
    kinds: dict[tuple[str, bool, bool], list[Hint]] = {}
    for hint in hints:
        kinds.setdefault((hint.origin, hint.is_batch, hint.to is None), []).append(hint)
    return [found[0] if len(found) == 1 else _merged_kind(found) for found in kinds.values()]


def _merged_kind(hints: Sequence[Hint]) -> Hint:
    ranges: dict[int, SeqRange] = {}
    members: dict[int, dict[int, None]] = {}
    for hint in hints:
        for item in hint.ranges:
            known = ranges.get(item.chat_id)
            if known is not None:
                first_seq, last_seq = min(known.first_seq, item.first_seq), max(known.last_seq, item.last_seq)
                item = SeqRange(item.chat_id, first_seq, last_seq)  # noqa: PLW2901 - the same rows and more
            ranges[item.chat_id] = item
        for change in hint.members:
            members.setdefault(change.chat_id, {}).update(dict.fromkeys(change.user_ids))
    return Hint(
        hints[0].origin,
        ranges=tuple(ranges.values()),
        members=tuple(MembershipChange(chat_id, tuple(user_ids)) for chat_id, user_ids in members.items()),
        receipts=_highest(hint.receipts for hint in hints),
        own_receipts=_highest(hint.own_receipts for hint in hints),
        revoked=_each(hint.revoked for hint in hints),
        typing=_each(hint.typing for hint in hints),
        presence=tuple(dict(item for hint in hints for item in hint.presence).items()),
        claims=tuple(item for hint in hints for item in hint.claims),
        relations=_each(hint.relations for hint in hints),
        profiles=_each(hint.profiles for hint in hints),
        is_batch=hints[0].is_batch,
        rows=tuple(item for hint in hints for item in hint.rows),
        to=None if hints[0].to is None else _each(hint.to or () for hint in hints),
        audiences=_merged_audiences(hints),
    )


def _highest(lists: Iterable[Iterable[tuple[int, int, int, int]]]) -> tuple[tuple[int, int, int, int], ...]:
    receipts: dict[tuple[int, int], tuple[int, int, int, int]] = {}
    for chat_id, user_id, delivered_seq, read_seq in (item for items in lists for item in items):
        _, _, delivered, read = receipts.get((chat_id, user_id), (0, 0, 0, 0))
        receipts[chat_id, user_id] = (chat_id, user_id, max(delivered, delivered_seq), max(read, read_seq))
    return tuple(receipts.values())


def _merged_audiences(hints: Sequence[Hint]) -> dict[int, Sequence[int]] | None:
    audiences: dict[int, Sequence[int]] = {}
    for hint in hints:
        for chat_id, user_ids in (hint.audiences or {}).items():
            known = audiences.get(chat_id, user_ids)
            # Whoever left or joined between two hints gets both.
            audiences[chat_id] = known if known == user_ids else tuple({*known, *user_ids})
    for hint in hints:
        for item in hint.ranges:
            if item.chat_id not in (hint.audiences or {}):
                audiences.pop(item.chat_id, None)
    return audiences or None


def _each(lists: Iterable[Iterable[Item]]) -> tuple[Item, ...]:
    return tuple(dict.fromkeys(item for items in lists for item in items))


_HINT_ENCODER = msgspec.json.Encoder()
_HINT_DECODER = msgspec.json.Decoder(Hint)
