"""Whom which part of a hint concerns."""

from msgspec import Raw

from chatserver.fanout.valkey.addressing import Addressed, addressed
from chatserver.hints import ChatRows, Hint, HintRow, MembershipChange, merged
from chatserver.model import SeqRange

ORIGIN = "server-1"
A, B = SeqRange(1, 5, 7), SeqRange(2, 1, 1)
ROWS = ChatRows(1, (20, 21), (HintRow(5, 20, "id", 0, Raw(b'{"text":"secret"}')),))
CARRIED = {1: (ROWS,)}
MEMBERS = {1: (10, 11), 2: (10, 12, 13)}


def parts(hint: Hint) -> list[Addressed]:
    return list(addressed(hint, MEMBERS.get, lambda chat_range: CARRIED.get(chat_range.chat_id, ())))


def test_rows_go_to_the_members_who_were_read_with_their_commit() -> None:
    hint = Hint(ORIGIN, ranges=(A, B), is_batch=True, audiences={1: [20, 21]})
    assert parts(hint) == [
        Addressed(Hint(ORIGIN, ranges=(A,), is_batch=True, rows=(ROWS,)), [20, 21]),
        Addressed(Hint(ORIGIN, ranges=(B,), is_batch=True), None),
    ]


def test_messages_go_to_nobody_unless_it_is_known_whom_they_concern() -> None:
    swept = Hint(ORIGIN, ranges=(A,), is_batch=True)
    assert parts(swept) == [Addressed(swept, None)]


def test_messages_are_in_no_hint_by_notify_and_in_no_slot() -> None:
    hint = Hint(ORIGIN, ranges=(A,), is_batch=True, rows=(ROWS,), audiences={1: (20,)})
    plain = Hint(ORIGIN, ranges=(A,), is_batch=True)
    assert hint.encode() == plain.encode()
    assert hint.encode_whole() == plain.encode_whole()
    (carried,) = Hint.decode(hint.encode_with_rows()).rows
    assert (carried.chat_id, list(carried.user_ids), list(carried.rows)) == (1, [20, 21], list(ROWS.rows))


def test_rows_never_go_by_members_who_were_read_before() -> None:
    assert parts(Hint(ORIGIN, ranges=(A,))) == [Addressed(Hint(ORIGIN, ranges=(A,)), None)]


def test_watermarks_go_to_the_members_and_to_the_devices_of_one_who_left() -> None:
    hint = Hint(ORIGIN, receipts=((1, 99, 5, 5), (3, 10, 1, 1)), own_receipts=((1, 11, 5, 5),))
    assert parts(hint) == [
        Addressed(Hint(ORIGIN, receipts=((1, 99, 5, 5),)), {10, 11, 99}),
        Addressed(Hint(ORIGIN, own_receipts=((1, 11, 5, 5),)), (11,)),
        Addressed(Hint(ORIGIN, receipts=((3, 10, 1, 1),)), None),
    ]


def test_typing_goes_to_the_members() -> None:
    hint = Hint(ORIGIN, typing=((2, 10), (3, 10)))
    assert parts(hint) == [
        Addressed(Hint(ORIGIN, typing=((2, 10),)), (10, 12, 13)),
        Addressed(Hint(ORIGIN, typing=((3, 10),)), None),
    ]


def test_presence_goes_where_the_user_is_watched() -> None:
    hint = Hint(ORIGIN, presence=((10, 1), (11, 0)), profiles=(10,))
    assert parts(hint) == [
        Addressed(Hint(ORIGIN, presence=((10, 1),)), (10,), "watched"),
        Addressed(Hint(ORIGIN, presence=((11, 0),)), (11,), "watched"),
        Addressed(Hint(ORIGIN, profiles=(10,)), None),
    ]


def test_all_else_goes_to_everybody() -> None:
    hint = Hint(
        ORIGIN,
        members=(MembershipChange(1, (10,)),),
        revoked=(1,),
        claims=((1, "c"),),
        relations=((10, 11),),
        profiles=(10,),
    )
    assert parts(hint) == [Addressed(hint, None)]
    assert parts(Hint(ORIGIN)) == []


def test_a_hint_for_some_users_stays_whole() -> None:
    hint = Hint(ORIGIN, claims=((1, "c"),), to=(10,))
    assert parts(hint) == [Addressed(hint, (10,))]


def test_whom_a_hint_concerns_is_not_sent() -> None:
    hint = Hint(ORIGIN, ranges=(A,), to=(10,), audiences={1: (10,)})
    plain = Hint(ORIGIN, ranges=(A,))
    assert hint.encode() == plain.encode()
    assert hint.encode_whole() == plain.encode_whole()


def test_merged_hints_concern_the_users_of_each() -> None:
    first = Hint(ORIGIN, ranges=(SeqRange(1, 1, 1), B), audiences={1: (10, 11), 2: (10,)})
    second = Hint(ORIGIN, ranges=(SeqRange(1, 2, 2),), audiences={1: (11, 12)})
    (hint,) = merged([first, second])
    assert hint.ranges == (SeqRange(1, 1, 2), B)
    assert {chat_id: set(to) for chat_id, to in (hint.audiences or {}).items()} == {1: {10, 11, 12}, 2: {10}}


def test_a_chat_without_an_audience_in_one_hint_concerns_everybody() -> None:
    (hint,) = merged([Hint(ORIGIN, ranges=(A,), audiences={1: (10,)}), Hint(ORIGIN, ranges=(A,))])
    assert hint.audiences is None


def test_hints_for_some_users_are_not_merged_with_those_for_everybody() -> None:
    some, other, everybody = (
        Hint(ORIGIN, profiles=(1,), to=(10,)),
        Hint(ORIGIN, profiles=(2,), to=(11,)),
        Hint(ORIGIN, profiles=(3,)),
    )
    assert merged([some, everybody, other]) == [Hint(ORIGIN, profiles=(1, 2), to=(10, 11)), everybody]
