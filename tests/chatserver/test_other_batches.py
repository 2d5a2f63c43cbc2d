"""Batches of other servers: pushed from their hint when nothing is missing before them, and read otherwise."""

import json

import pytest
from msgspec import Raw

from chatserver.fanout.clock import DatabaseClock
from chatserver.fanout.connection import ClientConnection
from chatserver.fanout.other_batches import OtherBatches
from chatserver.hints import ChatRows, Hint, HintRow, merged
from chatserver.model import SeqRange
from tests.support import listening
from tests.support.listening import ANA, BOB, CHAT, EVE


def row(seq: int) -> HintRow:
    frame = json.dumps({"type": "message", "message": {"seq": seq}}).encode()
    return HintRow(seq, ANA, f"id-{seq}", 1_700_000_000_000_000, Raw(frame))


def batch(first: int, last: int, *, user_ids: tuple[int, ...] = (ANA, BOB), carried: bool = True) -> Hint:
    rows = (ChatRows(CHAT, user_ids, [row(seq) for seq in range(first, last + 1)]),) if carried else ()
    return Hint("other", ranges=(SeqRange(CHAT, first, last),), is_batch=True, rows=rows)


class Listening(listening.Listening):
    """A server that gets the hints of another one."""

    def __init__(self, *user_ids: int, last_seq: int = 0) -> None:
        super().__init__(*user_ids, last_seq=last_seq)
        self._batches = OtherBatches(self.hub, self.pending, DatabaseClock(), self.metrics)

    def receive(self, *hints: Hint) -> None:
        """Take hints as a bus hands them over: decoded, and merged where they come together."""
        for hint in merged([Hint.decode(each.encode_with_rows()) for each in hints]):
            self._batches.receive(hint)


def test_rows_of_a_hint_reach_the_members_here_and_nothing_is_read() -> None:
    here = Listening(ANA, BOB)
    here.receive(batch(1, 2), batch(3, 3))
    assert here.got() == [[1, 2, 3], [1, 2, 3]]
    assert (here.woken, here.hub.following.needed_after(CHAT)) == (0, 3)


def test_the_frame_is_that_of_the_sending_server() -> None:
    here = Listening(BOB)
    here.receive(batch(1, 1))
    assert here.connections[0].outbox.take() == [bytes(row(1).frame)]


def test_a_follower_who_was_no_member_at_the_commit_gets_nothing_and_the_chat_goes_on() -> None:
    here = Listening(BOB, EVE)
    here.receive(batch(1, 1))
    assert here.got() == [[1], []]
    here.receive(batch(2, 2, user_ids=(ANA, BOB, EVE)))
    assert here.got() == [[2], [2]]
    assert here.woken == 0


def test_a_member_who_does_not_follow_the_chat_here_yet_gets_nothing() -> None:
    here = Listening(BOB)
    eve = ClientConnection("eve", EVE, EVE)
    here.hub.add(eve)
    here.receive(batch(1, 1, user_ids=(ANA, BOB, EVE)))
    assert (here.got(), eve.outbox.take()) == ([[1]], [])


def test_rows_after_missing_ones_are_read_with_these() -> None:
    here = Listening(BOB)
    here.receive(batch(3, 3))
    assert here.got() == [[]]
    assert here.pending.next_ranges() == [SeqRange(CHAT, 1, 3)]
    # What was missing comes late: the rest alone is read.
    here.receive(batch(1, 2))
    assert here.got() == [[1, 2]]
    assert here.pending.next_ranges() == [SeqRange(CHAT, 3, 3)]


def test_the_second_half_of_a_range_that_is_not_carried_whole_is_read() -> None:
    here = Listening(BOB)
    here.receive(batch(1, 1), batch(2, 2, carried=False))
    assert here.got() == [[1]]
    assert here.pending.next_ranges() == [SeqRange(CHAT, 2, 2)]


def test_rows_that_come_twice_or_were_read_meanwhile_are_delivered_once() -> None:
    here = Listening(BOB, last_seq=1)
    here.receive(batch(1, 3))
    here.receive(batch(1, 3))
    here.receive(batch(2, 4))
    assert here.got() == [[2, 3, 4]]
    assert here.woken == 0


def test_rows_do_not_pass_those_that_one_connection_lacks() -> None:
    here = Listening(BOB, last_seq=5)
    here.hub.following.add_user(EVE)
    eve = ClientConnection("eve", EVE, EVE)
    here.hub.add(eve)
    here.hub.join(EVE, CHAT, 3)
    here.receive(batch(6, 6, user_ids=(BOB, EVE)))
    assert eve.outbox.take() == []
    assert here.pending.next_ranges() == [SeqRange(CHAT, 4, 6)]


def test_the_hint_of_a_chat_that_nobody_follows_yet_is_kept_for_users_who_join() -> None:
    here = Listening()
    here.receive(batch(1, 1))
    assert here.woken == 1
    assert here.pending


@pytest.mark.parametrize("rows", [[], [row(1), row(3)]])
def test_rows_with_a_hole_are_read(rows: list[HintRow]) -> None:
    here = Listening(BOB)
    here.receive(Hint("other", ranges=(SeqRange(CHAT, 1, 3),), is_batch=True, rows=(ChatRows(CHAT, (BOB,), rows),)))
    assert here.got() == [[]]
    assert here.pending.next_ranges() == [SeqRange(CHAT, 1, 3)]


def test_hints_without_rows_are_read() -> None:
    here = Listening(BOB)
    here.receive(batch(1, 2, carried=False))
    assert here.pending.next_ranges() == [SeqRange(CHAT, 1, 2)]
