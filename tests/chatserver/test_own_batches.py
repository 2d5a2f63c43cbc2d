"""A server's own batches: pushed when nothing is missing before them, and looked for by their hints otherwise."""

import json

from chatserver.fanout.connection import Connection
from chatserver.fanout.hub import Hub
from chatserver.fanout.own_batches import Echo
from chatserver.metrics import Metrics
from chatserver.model import SeqRange
from chatserver.storage.messages import AppendResult, NewMessage

CHAT, ANA, BOB, EVE = 10, 1, 2, 3


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


def listening(*user_ids: int, last_seq: int = 0) -> tuple[Hub, Echo, list[Connection]]:
    hub = Hub()
    connections = [Connection(f"c{user_id}", user_id, user_id) for user_id in user_ids]
    for connection in connections:
        hub.add(connection)
        hub.follow(connection.user_id, CHAT, last_seq)
    return hub, Echo(hub, Metrics()), connections


def seqs(connection: Connection) -> list[int]:
    return [json.loads(frame)["message"]["seq"] for frame in connection.outbox.take()]


def test_a_batch_reaches_the_members_here_and_its_hint_has_nothing_to_add() -> None:
    hub, echo, [ana, bob] = listening(ANA, BOB)
    ana.own_ids.update({"id-1", "id-2"})
    echo.begin([CHAT])
    assert echo.deliver([message(1), message(2)], [stored(1, (ANA, BOB)), stored(2)]) == []
    assert echo.end([CHAT]) == []
    assert (seqs(ana), seqs(bob)) == ([], [1, 2])
    assert hub.needed_after(CHAT) == 2
    assert echo.settles(SeqRange(CHAT, 1, 2))


def test_a_frame_says_what_one_made_of_the_stored_row_says() -> None:
    _hub, echo, [bob] = listening(BOB)
    echo.deliver([message(1)], [stored(1, (ANA, BOB))])
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


def test_who_follows_but_is_no_member_any_more_gets_nothing() -> None:
    _hub, echo, [bob, eve] = listening(BOB, EVE)
    echo.deliver([message(1)], [stored(1, (ANA, BOB))])
    assert (seqs(bob), seqs(eve)) == ([1], [])


def test_rows_behind_missing_ones_wait_for_these() -> None:
    hub, echo, [bob] = listening(BOB)
    assert echo.deliver([message(2), message(3)], [stored(2, (ANA, BOB)), stored(3)]) == [SeqRange(CHAT, 2, 3)]
    assert seqs(bob) == []
    assert hub.needed_after(CHAT) == 0


def test_rows_that_a_query_was_faster_with_come_once() -> None:
    hub, echo, [bob] = listening(BOB, last_seq=1)
    hub.push(CHAT, (), 2)
    echo.deliver([message(2), message(3)], [stored(2, (ANA, BOB)), stored(3)])
    assert seqs(bob) == [3]


def test_a_hint_that_overtakes_the_result_of_its_batch_waits_for_it() -> None:
    _hub, echo, [bob] = listening(BOB)
    echo.begin([CHAT])
    assert echo.settles(SeqRange(CHAT, 1, 1))
    echo.deliver([message(1)], [stored(1, (ANA, BOB))])
    assert echo.end([CHAT]) == []
    assert seqs(bob) == [1]


def test_what_is_hinted_of_a_batch_whose_result_is_lost_is_looked_for() -> None:
    _hub, echo, _ = listening(BOB)
    echo.begin([CHAT])
    assert echo.settles(SeqRange(CHAT, 2, 2))
    assert echo.settles(SeqRange(CHAT, 1, 1))
    assert echo.end([CHAT]) == [SeqRange(CHAT, 1, 2)]
    # And so it is when the hint comes later.
    assert not echo.settles(SeqRange(CHAT, 3, 3))


def test_a_chat_that_nobody_follows_yet_is_looked_at() -> None:
    _hub, echo, _ = listening()
    assert echo.deliver([message(1)], [stored(1, (ANA, BOB))]) == []
    assert not echo.settles(SeqRange(CHAT, 1, 1))


def test_refused_messages_are_not_told() -> None:
    _hub, echo, [bob] = listening(BOB)
    refused = AppendResult("blocked", None, None, None)
    assert echo.deliver([message(1), message(2), message(3)], [refused, stored(1, (ANA, BOB)), refused]) == []
    assert seqs(bob) == [1]
