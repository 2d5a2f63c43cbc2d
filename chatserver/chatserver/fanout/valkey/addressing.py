"""Which part of a hint concerns whom. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from chatserver.fanout.valkey.scripts import Kind  # noqa: TC001 - a named tuple's
from chatserver.hints import Hint

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from chatserver.hints import ChatRows
    from chatserver.model import SeqRange


class Addressed(NamedTuple):
    """A part of a hint.

    Attributes:
        hint: the part.
        to: ids of users whose servers get it; None: all servers.
        of: which servers these are: where the users are connected, or watched.
    """

    hint: Hint
    to: Collection[int] | None
    of: Kind = "user"


def addressed(
    hint: Hint,
    members_of: Callable[[int], Collection[int] | None],
    rows_of: Callable[[SeqRange], tuple[ChatRows, ...]],
) -> Iterator[Addressed]:
    """Divide a hint by the users whom its parts concern.

    Rows go to the members that were read with their commit, and messages themselves to nobody else. Watermarks and
    typing go to the members that are known here, and to the other devices of the user from whom they are, who may have
    left; watermarks that a user shows to nobody go to these devices alone. Presence goes where the user is watched. All
    else goes to all servers.

    Args:
        hint: to divide.
        members_of: returns the members of a chat that this server knows; None: it knows none.
        rows_of: returns the messages of a range as the hint may carry them.
    """
    if hint.to is not None:
        yield Addressed(hint, hint.to)
        return
    audiences = hint.audiences or {}
    ranges: list[SeqRange] = []
    for chat_range in hint.ranges:
        to = audiences.get(chat_range.chat_id)
        if to is None:
            ranges.append(chat_range)
        else:
            rows = rows_of(chat_range) if hint.is_batch else ()
            yield Addressed(Hint(hint.origin, ranges=(chat_range,), is_batch=hint.is_batch, rows=rows), to)
    receipts: list[tuple[int, int, int, int]] = []
    for receipt in hint.receipts:
        members = members_of(receipt[0])
        if members is None:
            receipts.append(receipt)
        else:
            yield Addressed(Hint(hint.origin, receipts=(receipt,)), {receipt[1], *members})
    yield from (Addressed(Hint(hint.origin, own_receipts=(own,)), own[1:2]) for own in hint.own_receipts)
    typing: list[tuple[int, int]] = []
    for typed in hint.typing:
        members = members_of(typed[0])
        if members is None:
            typing.append(typed)
        else:
            yield Addressed(Hint(hint.origin, typing=(typed,)), members)
    for turned in hint.presence:
        yield Addressed(Hint(hint.origin, presence=(turned,)), turned[:1], "watched")
    rest = replace(
        hint,
        ranges=tuple(ranges),
        receipts=tuple(receipts),
        own_receipts=(),
        typing=tuple(typing),
        presence=(),
        audiences=None,
    )
    if rest != Hint(hint.origin, is_batch=hint.is_batch):
        yield Addressed(rest, None)
