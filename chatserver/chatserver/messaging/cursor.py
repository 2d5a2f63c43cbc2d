"""The opaque values of ``X-Next-Since`` and of chat lists: what they hold, and how they travel."""

from __future__ import annotations

import base64
import binascii
import functools
import itertools
import re
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from chatserver.bounds import CURSOR_MAX_CHARS, LAST_SECOND, LAST_SHARD
from chatserver.errors import ValidationFailed
from chatserver.storage.feed import FeedKey
from chatserver.storage.stars import StarPlace

if TYPE_CHECKING:
    from collections.abc import Iterable

    from chatserver.model import MessageRow

_PREFIX: Final = "c1."
"""Version of the encoding; its letter keeps a cursor apart from Unix seconds."""

_UNIX_SECONDS: Final = re.compile(r"[0-9]{1,12}")
_SNAPSHOT: Final = re.compile(r"([0-9]{1,20}):([0-9]{1,20}):((?:[0-9]{1,20},?)*)")


class ShardsPosition(msgspec.Struct, frozen=True):
    """The position in shards of one other database: their transaction ids are one sequence.

    Attributes:
        shards: ascending; above 0.
        epoch: history of that database.
        lower: as of `FeedCursor`, in that database.
        upper: the same.
    """

    shards: tuple[int, ...]
    epoch: str
    lower: str | None = None
    upper: str | None = None


class FeedCursor(msgspec.Struct, frozen=True):
    """The position at which a feed continues.

    Attributes:
        epoch: history of the database that the snapshots belong to.
        lower: a pg_snapshot whose rows the client has; None together with `from_second` or from the beginning.
        from_second: Unix seconds; only rows from then on.
        upper: within a run of full pages, the snapshot in which the run began.
        after: the last row of the page before, within a run; its chat_id names the shard.
        elsewhere: the position in other databases. Of a shard that is named nowhere the client has nothing.
    """

    epoch: str
    lower: str | None = None
    from_second: int | None = None
    upper: str | None = None
    after: FeedKey | None = None
    elsewhere: tuple[ShardsPosition, ...] = ()


_Snapshot = tuple[int, ...]
_T = TypeVar("_T")


class _ShardsWire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    # The first, and differences: one byte for most.
    shards: tuple[int, ...]
    epoch: str
    lower: _Snapshot | None
    upper: _Snapshot | None


class _Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    epoch: str
    lower: _Snapshot | None
    from_second: int | None
    upper: _Snapshot | None
    after: FeedKey | None
    # Left out without other databases: the release before does not know it.
    elsewhere: tuple[_ShardsWire, ...] = ()


class ChatWalk(msgspec.Struct, frozen=True):
    """The position at which a walk through a list of chats continues.

    Attributes:
        below: microseconds of the last activity, and id, of the last chat of the page before; None: from the top.
        began: a pg_snapshot of when the first page was read; None: this is the first.
        since: only chats that have changed after this pg_snapshot; None: all.
        epoch: history of the database that the snapshots belong to; empty: without any, or of the release before.
    """

    below: tuple[int, int] | None = None
    began: str | None = None
    since: str | None = None
    epoch: str = ""


class _WalkWire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    # The two numbers alone are a cursor of the release before.
    last_at_us: int
    chat_id: int
    began: _Snapshot | None = None
    since: _Snapshot | None = None
    epoch: str = ""


def encode_feed_cursor(cursor: FeedCursor) -> str:
    """Return the cursor as url-safe text."""
    fields = (
        cursor.epoch,
        _packed_or_none(cursor.lower),
        cursor.from_second,
        _packed_or_none(cursor.upper),
        cursor.after,
    )
    return _encode((*fields, tuple(map(_pack_shards, cursor.elsewhere))) if cursor.elsewhere else fields)


def decode_since(text: str) -> FeedCursor | int:
    """Return what `since` means: Unix seconds, or a cursor.

    Raises:
        ValidationFailed: neither.
    """
    if _UNIX_SECONDS.fullmatch(text):
        return int(text)
    try:
        wire = _decode(text, _Wire)
        lower, upper = _unpack_snapshot(wire.lower), _unpack_snapshot(wire.upper)
        _check_bounds(wire)
        elsewhere = _unpack_shards(wire.elsewhere)
    except ValueError as error:
        raise ValidationFailed.of("since", "must be Unix seconds or the X-Next-Since of an answer") from error
    return FeedCursor(wire.epoch, lower, wire.from_second, upper, wire.after, elsewhere)


def _check_bounds(wire: _Wire) -> None:
    """Refuse numbers that PostgreSQL's types cannot hold: a cursor may be forged."""
    numbers = [wire.from_second or 0]
    if wire.after is not None:
        numbers += [wire.after.chat_id, wire.after.seq]
    if not wire.epoch or any(not 0 <= number < 2**62 for number in numbers):
        raise ValueError("no cursor of ours")
    if not 0 <= (wire.from_second or 0) <= LAST_SECOND:
        raise ValueError("no time")
    if wire.after is not None and not 0 <= wire.after.created_at_us <= LAST_SECOND * 1_000_000:
        raise ValueError("no time")


def next_cursor(
    cursor: FeedCursor, rows: tuple[MessageRow, ...], *, more: bool, snapshot: str, epoch: str
) -> FeedCursor:
    """Return the position at which the feed continues after a page.

    While there are more rows, both bounds stay, and the place of the last row is kept, so that rows that are committed
    meanwhile wait for the end of the run instead of shifting it; the last page hands out what its run could see.
    """
    upper = cursor.upper or snapshot
    if not more:
        return FeedCursor(epoch, lower=upper)
    last = rows[-1]
    after = FeedKey(last.created_at_us, last.chat_id, last.seq)
    return FeedCursor(epoch, cursor.lower, cursor.from_second, upper, after)


def sees(snapshot: str, xact: int) -> bool:
    """Whether a transaction had committed when a snapshot was taken (PostgreSQL's ``pg_visible_in_snapshot``).

    Example:
        >>> [sees("10:14:11,12", xact) for xact in range(9, 15)]
        [True, True, False, False, True, False]
    """
    xmin, xmax, open_ids = _parse_snapshot(snapshot)
    return xact < xmin or (xact < xmax and xact not in open_ids)


def earliest_snapshot(snapshots: Iterable[str]) -> str:
    """Return a snapshot that sees nothing that one of these does not see.

    Example:
        >>> earliest_snapshot(["10:14:11,12", "8:9:"])
        '8:8:'
    """
    xmin = min(_parse_snapshot(snapshot)[0] for snapshot in snapshots)
    return f"{xmin}:{xmin}:"


@functools.lru_cache(maxsize=256)
def _parse_snapshot(snapshot: str) -> tuple[int, int, frozenset[int]]:
    xmin, xmax, open_ids = snapshot.split(":")
    return int(xmin), int(xmax), frozenset(int(xid) for xid in open_ids.split(",") if xid)


def encode_chat_walk(walk: ChatWalk) -> str:
    """Return the cursor of a list of chats as url-safe text."""
    last_at_us, chat_id = walk.below or (LAST_SECOND * 1_000_000, 0)
    snapshots = _packed_or_none(walk.began), _packed_or_none(walk.since)
    return _encode(_WalkWire(last_at_us, chat_id, *snapshots, walk.epoch))


def _check_place(at_us: int, *numbers: int) -> None:
    if not 0 <= at_us <= LAST_SECOND * 1_000_000 or any(not 0 <= number < 2**62 for number in numbers):
        raise ValueError("no place")


def decode_chat_walk(text: str) -> ChatWalk:
    """Return what `encode_chat_walk` was given.

    Raises:
        ValidationFailed: not such a text.
    """
    try:
        wire = _decode(text, _WalkWire)
        _check_place(wire.last_at_us, wire.chat_id)
        began, since = _unpack_snapshot(wire.began), _unpack_snapshot(wire.since)
    except ValueError as error:
        raise ValidationFailed.of("cursor", "must be the next_cursor of an answer") from error
    return ChatWalk((wire.last_at_us, wire.chat_id), began, since, wire.epoch)


def decode_changed_since(text: str) -> ChatWalk:
    """Return the beginning of a walk through the chats that have changed since the position of a feed's cursor.

    Raises:
        ValidationFailed: no such cursor.
    """
    try:
        cursor = decode_since(text)
    except ValidationFailed:
        cursor = 0
    if isinstance(cursor, int) or cursor.lower is None or cursor.elsewhere:
        raise ValidationFailed.of("changed_since", "must be the next_changed_since of an answer")
    return ChatWalk(since=cursor.lower, epoch=cursor.epoch)


def encode_star_place(place: StarPlace) -> str:
    """Return the cursor of a list of stars as url-safe text."""
    return _encode((place.starred_at_us, place.chat_id, place.seq))


def decode_star_place(text: str) -> StarPlace:
    """Return what `encode_star_place` was given.

    Raises:
        ValidationFailed: not such a text.
    """
    try:
        starred_at_us, chat_id, seq = _decode(text, tuple[int, int, int])
        _check_place(starred_at_us, chat_id, seq)
    except ValueError as error:
        raise ValidationFailed.of("cursor", "must be the next_cursor of an answer") from error
    return StarPlace(starred_at_us, chat_id, seq)


def _encode(value: object) -> str:
    return _PREFIX + base64.urlsafe_b64encode(msgspec.msgpack.encode(value)).decode().rstrip("=")


def _decode(text: str, type_: type[_T]) -> _T:
    if not text.startswith(_PREFIX) or len(text) > CURSOR_MAX_CHARS:
        raise ValueError("no cursor of this version")
    body = text.removeprefix(_PREFIX)
    try:
        packed = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    return msgspec.msgpack.decode(packed, type=type_)


def _pack_snapshot(snapshot: str) -> _Snapshot:
    """Turn ``xmin:xmax:xip,...`` into xmin and differences: one byte for most open transactions."""
    matched = _SNAPSHOT.fullmatch(snapshot)
    if matched is None:
        raise ValueError("no snapshot")
    xmin, xmax = int(matched[1]), int(matched[2])
    open_ids = [int(xid) for xid in matched[3].split(",") if xid]
    return (xmin, xmax - xmin, *(after - before for before, after in itertools.pairwise([xmin, *open_ids])))


def _packed_or_none(snapshot: str | None) -> _Snapshot | None:
    return None if snapshot is None else _pack_snapshot(snapshot)


def _pack_shards(position: ShardsPosition) -> _ShardsWire:
    steps = (after - before for before, after in itertools.pairwise((0, *position.shards)))
    return _ShardsWire(tuple(steps), position.epoch, _packed_or_none(position.lower), _packed_or_none(position.upper))


def _unpack_shards(packed: tuple[_ShardsWire, ...]) -> tuple[ShardsPosition, ...]:
    positions = tuple(
        ShardsPosition(
            tuple(itertools.accumulate(wire.shards)),
            wire.epoch,
            _unpack_snapshot(wire.lower),
            _unpack_snapshot(wire.upper),
        )
        for wire in packed
    )
    shards = [shard for position in positions for shard in position.shards]
    rising = all(step > 0 for wire in packed for step in wire.shards)
    named = all(position.shards and position.epoch for position in positions)
    if not rising or not named or len(set(shards)) < len(shards) or any(shard > LAST_SHARD for shard in shards):
        raise ValueError("no shards")
    return positions


def _unpack_snapshot(packed: _Snapshot | None) -> str | None:
    if packed is None:
        return None
    if len(packed) < 2 or any(not 0 <= number < 2**62 for number in packed):  # noqa: PLR2004 - xmin and xmax
        raise ValueError("no snapshot")
    xmin, span, *differences = packed
    open_ids = list(itertools.accumulate(differences, initial=xmin))[1:]
    # PostgreSQL requires them rising and within [xmin, xmax).
    if any(step == 0 for step in differences[1:]) or (open_ids and open_ids[-1] >= xmin + span) or xmin == 0:
        raise ValueError("no snapshot")
    return f"{xmin}:{xmin + span}:{','.join(map(str, open_ids))}"
