"""A server's own batches: pushed when nothing is missing before them, and looked for by their hints otherwise."""

import json

from chatserver.fanout.own_batches import OwnBatches
from chatserver.model import SeqRange
from chatserver.storage.messages import AppendResult, NewMessage
from tests.support import listening
from tests.support.listening import ANA, BOB, CHAT, EVE, seqs


def message(number: int, chat_id: int = CHAT) -> NewMessage:
    return NewMessage(
        chat_id=chat_id,
        sender_id=ANA,
        client_id=f"id-{number}",
        client_hash=b"",
        text=f"text {number}",
        client_timestamp=None,
    )


def stored(seq: int, members: tuple[int, ...] | None = None) -> AppendResult:
    return AppendResult("stored", 100 + seq, seq, 1_700_000_000_000_000 + seq, "ana", "bob", members)


class Listening(listening.Listening):
    """A server whose writer stores messages."""

    def __init__(self, *user_ids: int, last_seq: int = 0) -> None:
        super().__init__(*user_ids, last_seq=last_seq, needed_after=lambda _: 0)
        self.own_batches = OwnBatches(self.hub, self.pending, self.metrics)

    def commit(self, messages: list[NewMessage], results: list[AppendResult]) -> None:
        self.own_batches.begin(messages)
        self.own_batches.committed(messages, results)

    def to_read(self) -> list[SeqRange]:
        """Return the rows that are to be read."""
        found = self.pending.next_ranges()
        assert bool(found) == bool(self.woken)
        return found


def test_a_batch_reaches_the_members_here_and_its_hint_adds_nothing() -> None:
    here = Listening(ANA, BOB)
    [ana, bob] = here.connections
    ana.own_ids.update({"id-1", "id-2"})
    here.commit([message(1), message(2)], [stored(1, (ANA, BOB)), stored(2)])
    assert (seqs(ana), seqs(bob)) == ([], [1, 2])
    assert here.hub.following.needed_after(CHAT) == 2
    here.own_batches.receive([SeqRange(CHAT, 1, 2)])
    assert here.to_read() == []


def test_a_frame_says_what_one_made_of_the_stored_row_says() -> None:
    here = Listening(BOB)
    [bob] = here.connections
    here.commit([message(1)], [stored(1, (ANA, BOB))])
    [frame] = bob.outbox.take()
    assert json.loads(frame)["message"] == {
        "message_id": 101,
        "chat_id": CHAT,
        "seq": 1,
        "kind": "message",
        "from": "ana",
        "from_id": ANA,
        "to": "bob",
        "text": "text 1",
        "type": "text",
        "media_url": None,
        "timestamp": 1_700_000_000,
        "created_at": "2023-11-14T22:13:20.000001Z",
        "status": "sent",
        "client_id": "id-1",
        "reply_to": None,
        "target_seq": None,
        "detail": None,
        "edited_at": None,
        "deleted_at": None,
        "reactions": [],
    }


def test_a_follower_who_is_no_longer_a_member_gets_nothing() -> None:
    here = Listening(BOB, EVE)
    here.commit([message(1)], [stored(1, (ANA, BOB))])
    assert [seqs(connection) for connection in here.connections] == [[1], []]


def test_rows_after_missing_ones_are_read_with_these() -> None:
    here = Listening(BOB)
    here.commit([message(2), message(3)], [stored(2, (ANA, BOB)), stored(3)])
    assert seqs(here.connections[0]) == []
    assert here.to_read() == [SeqRange(CHAT, 1, 3)]


def test_rows_that_a_query_delivered_before_come_once() -> None:
    here = Listening(BOB, last_seq=1)
    here.hub.push(CHAT, (), 2)
    here.commit([message(2), message(3)], [stored(2, (ANA, BOB)), stored(3)])
    assert seqs(here.connections[0]) == [3]


def test_a_hint_that_arrives_before_the_result_of_its_batch_waits_for_it() -> None:
    here = Listening(BOB)
    here.own_batches.begin([message(1)])
    here.own_batches.receive([SeqRange(CHAT, 1, 1)])
    assert here.to_read() == []
    here.own_batches.committed([message(1)], [stored(1, (ANA, BOB))])
    assert here.to_read() == []
    assert seqs(here.connections[0]) == [1]


def test_the_hinted_rows_of_a_batch_whose_result_is_unknown_are_read() -> None:
    here = Listening(BOB)
    here.own_batches.begin([message(1), message(2)])
    here.own_batches.receive([SeqRange(CHAT, 2, 2), SeqRange(CHAT, 1, 1)])
    assert here.to_read() == []
    here.own_batches.failed([message(1), message(2)])
    assert here.to_read() == [SeqRange(CHAT, 1, 2)]


def test_a_hint_after_a_batch_whose_result_is_unknown_is_read() -> None:
    here = Listening(BOB)
    here.own_batches.begin([message(3)])
    here.own_batches.failed([message(3)])
    assert here.to_read() == []
    here.own_batches.receive([SeqRange(CHAT, 3, 3)])
    assert here.to_read() == [SeqRange(CHAT, 1, 3)]


def test_the_hint_of_a_chat_that_nobody_follows_yet_is_kept_for_users_who_join() -> None:
    here = Listening()
    here.commit([message(1)], [stored(1, (ANA, BOB))])
    here.own_batches.receive([SeqRange(CHAT, 1, 1)])
    assert here.to_read() == [SeqRange(CHAT, 1, 1)]


def test_refused_messages_are_not_delivered() -> None:
    here = Listening(BOB)
    refused = AppendResult("blocked", None, None, None)
    here.commit([message(1), message(2), message(3)], [refused, stored(1, (ANA, BOB)), refused])
    assert seqs(here.connections[0]) == [1]


def test_a_batch_that_cannot_be_rendered_is_read_and_raises_nothing() -> None:
    here = Listening(BOB)
    here.own_batches.begin([message(1)])
    here.own_batches.receive([SeqRange(CHAT, 1, 1)])
    unreadable = AppendResult("stored", 101, 1, 10**30, "ana", "bob", (ANA, BOB))
    here.own_batches.committed([message(1)], [unreadable])
    assert here.to_read() == [SeqRange(CHAT, 1, 1)]


def test_the_lag_is_taken_once_for_each_batch_though_one_hint_is_of_several() -> None:
    here = Listening(BOB)
    for seq in (1, 3):
        here.commit([message(seq), message(seq + 1)], [stored(seq, (ANA, BOB)), stored(seq + 1, (ANA, BOB))])
    here.own_batches.receive([SeqRange(CHAT, 1, 4)])
    here.own_batches.receive([SeqRange(CHAT, 1, 4)])
    assert here.metrics.bus_lag_seconds.count == 2


def test_the_lag_of_a_hint_that_came_before_the_answer_of_its_commit_is_none() -> None:
    here = Listening(BOB)
    here.own_batches.begin([message(1)])
    here.own_batches.receive([SeqRange(CHAT, 1, 1)])
    here.own_batches.committed([message(1)], [stored(1, (ANA, BOB))])
    assert (here.metrics.bus_lag_seconds.count, here.metrics.bus_lag_seconds.sum) == (1, 0)
    assert not here.own_batches._unheard
