"""Sending: numbering, idempotency, membership, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import msgspec
import pytest

from chatserver.errors import (
    Blocked,
    ChatNotFound,
    IdempotencyConflict,
    NotAMember,
    ServiceUnavailable,
    UserNotFound,
    ValidationFailed,
)
from chatserver.hints import Hint, MembershipChange
from chatserver.messaging import changes, chats, feed, groups, sync
from chatserver.messaging.messages import send_message
from chatserver.messaging.writer import MessageWriter
from chatserver.model import SendMessage, SeqRange
from chatserver.storage.outages import StatementFailed
from chatserver.storage.publishing import notify
from tests.support.people import Server, running_server, sign_in
from tests.support.playedbus import published

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


async def test_first_message_makes_the_direct_chat_that_both_ends_share(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    first = await server.send(ada.user.user_id, "hello", to="bOB")
    answer = await server.send(bob.user.user_id, "hi", to=ada.user.phone_number)
    assert (first.seq, answer.seq) == (1, 2)
    assert first.chat_id == answer.chat_id
    page = await feed.read_feed(server.database, bob.user.user_id)
    assert [(row.from_name, row.to, row.text, row.status) for row in page.rows] == [
        ("Ada", "Bob", "hello", "sent"),
        ("Bob", "Ada", "hi", "sent"),
    ]


async def test_note_to_oneself_is_a_chat_of_one(server: Server) -> None:
    ada = await sign_in(server.database, "Ada")
    sent = await server.send(ada.user.user_id, "milk", to="ada")
    chat = await chats.get_chat(server.database, ada.user.user_id, sent.chat_id)
    assert [member.user_id for member in chat.members] == [ada.user.user_id]
    assert chat.unread == 0
    assert chat.last_message is not None
    assert (chat.last_message.to, chat.last_message.text) == ("Ada", "milk")


async def test_two_servers_that_open_a_direct_chat_at_once_open_one(read_dsn: Callable[[], str]) -> None:
    async with running_server(read_dsn, "a") as one, running_server(read_dsn, "b") as two:
        ada, bob = await sign_in(one.database, "Ada"), await sign_in(one.database, "Bob")
        sent = await asyncio.gather(
            *(server.send(ada.user.user_id, "x", to="Bob") for server in (one, two) for _ in range(5)),
            *(server.send(bob.user.user_id, "y", to="Ada") for server in (one, two) for _ in range(5)),
        )
        assert len({item.chat_id for item in sent}) == 1
        assert sorted(item.seq for item in sent) == list(range(1, 21))


async def test_seq_is_gapless_with_writers_on_many_servers(read_dsn: Callable[[], str]) -> None:
    """Many chats in each batch, each server locking the same ones: no gaps, no deadlocks, order as acknowledged."""
    async with (
        running_server(read_dsn, "a") as one,
        running_server(read_dsn, "b") as two,
        running_server(read_dsn, "c") as three,
    ):
        people = [await sign_in(one.database, f"p{number}") for number in range(6)]
        opened = {
            (await one.send(sender.user.user_id, "open", to=f"p{number}")).chat_id: sender.user.user_id
            for sender in people[:3]
            for number in range(3, 6)
        }

        async def write(server: Server, worker: int) -> list[tuple[int, int]]:
            acknowledged = []
            for number in range(20):
                rows = await asyncio.gather(
                    *(
                        server.send(user_id, f"{worker} {number}", chat_id=chat_id)
                        for chat_id, user_id in opened.items()
                    )
                )
                acknowledged += [(row.chat_id, row.seq) for row in rows]
            return acknowledged

        workers = [write(server, number) for server in (one, two, three) for number in range(3)]
        results = await asyncio.gather(*workers)
        acknowledged = [key for result in results for key in result]
        assert len(set(acknowledged)) == len(acknowledged) == 9 * 20 * len(opened)
        for chat_id in opened:
            assert sorted(seq for chat, seq in acknowledged if chat == chat_id) == list(range(2, 182))
        # Each worker's own messages keep their order in each chat.
        for result in results:
            for chat_id in opened:
                mine = [seq for chat, seq in result if chat == chat_id]
                assert mine == sorted(mine)
        table = await one.database.fetch("SELECT chat_id, seq, created_at FROM messages ORDER BY chat_id, seq")
        assert {(row[0], row[1]) for row in table} == set(acknowledged) | {(chat_id, 1) for chat_id in opened}
        times = [(row[0], row[2]) for row in table]
        assert times == sorted(times)


async def test_same_client_id_returns_the_first_result(server: Server) -> None:
    ada, _ = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    client_id = str(uuid.uuid4())
    first = await server.send(ada.user.user_id, "once", to="Bob", client_id=client_id)
    again = await server.send(ada.user.user_id, "once", chat_id=first.chat_id, client_id=client_id.upper())
    assert (first.duplicate, again.duplicate) == (False, True)
    assert (again.message_id, again.seq, again.created_at_us) == (first.message_id, first.seq, first.created_at_us)
    with pytest.raises(IdempotencyConflict):
        await server.send(ada.user.user_id, "other", chat_id=first.chat_id, client_id=client_id)
    assert (await server.send(ada.user.user_id, "next", to="Bob")).seq == 2


async def test_retries_within_one_batch_and_on_two_servers_store_once(read_dsn: Callable[[], str]) -> None:
    async with running_server(read_dsn, "a") as one, running_server(read_dsn, "b") as two:
        ada, _ = await sign_in(one.database, "Ada"), await sign_in(one.database, "Bob")
        chat_id = (await one.send(ada.user.user_id, "open", to="Bob")).chat_id
        for _round in range(10):
            client_id = str(uuid.uuid4())
            results = await asyncio.gather(
                *(
                    server.send(ada.user.user_id, "same", chat_id=chat_id, client_id=client_id)
                    for server in (one, two) * 4
                ),
                one.send(ada.user.user_id, "another", chat_id=chat_id, client_id=client_id),
                return_exceptions=True,
            )
            stored = [item for item in results[:8] if not isinstance(item, BaseException)]
            assert len(stored) in {0, 8}
            # Whichever content came first wins; the other one is the conflict.
            winners = stored or [item for item in results[8:] if not isinstance(item, BaseException)]
            assert sum(not item.duplicate for item in winners) == 1
            assert len({item.seq for item in winners}) == 1
            assert all(isinstance(item, IdempotencyConflict) for item in results if isinstance(item, BaseException))
        rows = await one.database.fetch("SELECT seq FROM messages WHERE chat_id = $1 ORDER BY seq", chat_id)
        assert [row[0] for row in rows] == list(range(1, 12))


async def test_one_bad_row_does_not_take_its_batch_along(server: Server) -> None:
    ada, _ = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    chat_id = (await server.send(ada.user.user_id, "open", to="Bob")).chat_id
    results = await asyncio.gather(
        server.send(ada.user.user_id, "good", chat_id=chat_id),
        server.send(ada.user.user_id, "no such chat", chat_id=987654),
        server.send(ada.user.user_id, "also good", chat_id=chat_id),
        return_exceptions=True,
    )
    assert isinstance(results[1], ChatNotFound)
    assert [item.seq for item in results if not isinstance(item, BaseException)] == [2, 3]


async def test_chat_that_somebody_holds_fails_alone_and_in_bounded_time(server: Server) -> None:
    ada, _, _ = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Cy")]
    held = (await server.send(ada.user.user_id, "open", to="Bob")).chat_id
    free = (await server.send(ada.user.user_id, "open", to="Cy")).chat_id
    # The same lane, so that both are in one batch.
    while (free - held) % 4:
        other = await sign_in(server.database, f"x{free}")
        free = (await server.send(ada.user.user_id, "open", to=other.user.phone_number)).chat_id
    async with server.database.transaction() as connection:
        await connection.execute("SELECT FROM chats WHERE chat_id = $1 FOR UPDATE", held)
        stuck, passed = await asyncio.gather(
            server.send(ada.user.user_id, "stuck", chat_id=held),
            server.send(ada.user.user_id, "passes", chat_id=free),
            return_exceptions=True,
        )
    assert isinstance(stuck, ServiceUnavailable)
    assert not isinstance(passed, BaseException)
    assert passed.seq == 2
    assert (await server.send(ada.user.user_id, "again", chat_id=held)).seq == 2


async def test_strangers_former_members_and_the_blocked_cannot_send(server: Server) -> None:
    ada, bob, eve = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Eve")]
    sent = await server.send(ada.user.user_id, "hello", to="Bob")
    with pytest.raises(ChatNotFound):
        await server.send(eve.user.user_id, "let me in", chat_id=sent.chat_id)
    with pytest.raises(ChatNotFound):
        await chats.get_chat(server.database, eve.user.user_id, sent.chat_id)
    with pytest.raises(ChatNotFound):
        await chats.read_history(server.database, eve.user.user_id, sent.chat_id)
    with pytest.raises(UserNotFound):
        await server.send(ada.user.user_id, "?", to="nobody")
    with pytest.raises(UserNotFound):
        await server.send(ada.user.user_id, "?", to="+15559999999")
    group = await groups.create_group(server.database, ada.user.user_id, "team", ["Bob"])
    await groups.remove_member(server.database, ada.user.user_id, group.group_id, bob.user.user_id)
    with pytest.raises(NotAMember):
        await server.send(bob.user.user_id, "still here?", chat_id=group.chat_id)
    await server.database.execute(
        "INSERT INTO blocks (blocker_id, blocked_id) VALUES ($1, $2)", bob.user.user_id, ada.user.user_id
    )
    with pytest.raises(Blocked):
        await server.send(ada.user.user_id, "hello?", to="Bob")


async def test_member_removed_while_a_send_waits_for_the_chat_does_not_get_in(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    group = await groups.create_group(server.database, ada.user.user_id, "team", ["Bob"])
    async with server.database.transaction() as connection:
        await connection.execute("SELECT FROM chats WHERE chat_id = $1 FOR NO KEY UPDATE", group.chat_id)
        sending = asyncio.create_task(server.send(bob.user.user_id, "me too", chat_id=group.chat_id))
        while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        await connection.execute(
            "UPDATE chat_members SET left_seq = 1 WHERE chat_id = $1 AND user_id = $2",
            group.chat_id,
            bob.user.user_id,
        )
    with pytest.raises(NotAMember):
        await sending


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"to": "Bob", "chat_id": 1, "text": "x"}, "to"),
        ({"text": "x"}, "to"),
        ({"to": "+1", "text": "x"}, "to"),
        ({"to": "Bob", "text": ""}, "text"),
        ({"to": "Bob", "text": "a\x00b"}, "text"),
        ({"to": "Bob", "text": "\ud800"}, "text"),
        ({"to": "Bob", "text": "x" * 65_537}, "text"),
        ({"to": "Bob", "text": "x", "client_id": "17"}, "client_id"),
        ({"to": "Bob", "text": "x", "message_type": "hologram"}, "type"),
        ({"to": "Bob", "text": "x", "message_type": "image"}, "media_url"),
        ({"to": "Bob", "text": "x", "media_url": "javascript:alert(1)"}, "media_url"),
        ({"to": "Bob", "text": "x", "reply_to": 5}, "reply_to"),
        ({"to": "Bob", "text": "x", "timestamp": float("nan")}, "timestamp"),
    ],
)
async def test_wrong_field_is_named(server: Server, fields: dict[str, object], path: str) -> None:
    ada, _ = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    with pytest.raises(ValidationFailed) as caught:
        await send_message(
            server.database, server.writer, ada.user.user_id, msgspec.structs.replace(SendMessage(), **fields)
        )
    assert [error.path for error in caught.value.errors] == [path]


async def test_a_reply_to_what_the_sender_cannot_see_any_more_is_refused(server: Server) -> None:
    ada, bob = [(await sign_in(server.database, name)).user.user_id for name in ("Ada", "Bob")]
    group_id = (await groups.create_group(server.database, ada, "team", ["Bob"])).group_id

    async def reply(sender_id: int, to_seq: int, client_id: str | None = None) -> bool:
        message = SendMessage(chat_id=group_id, text="to that", reply_to=to_seq, client_id=client_id)
        return (await send_message(server.database, server.writer, sender_id, message)).duplicate

    kept, deleted, hidden = [(await server.send(ada, str(number), chat_id=group_id)).seq for number in range(3)]
    client_id = str(uuid.uuid4())
    await reply(bob, deleted, client_id)
    event = (await changes.delete_message(server.database, ada, group_id, deleted)).seq or 0
    await changes.hide_message(server.database, bob, group_id, hidden)
    await groups.remove_member(server.database, ada, group_id, bob)
    away = (await server.send(ada, "while Bob is out", chat_id=group_id)).seq
    await groups.add_member(server.database, ada, group_id, bob)
    # For everyone, for oneself, of another kind than message, unseen, and not written yet.
    for seq in (deleted, hidden, event, 1, away, 1000):
        with pytest.raises(ValidationFailed) as caught:
            await reply(bob, seq)
        assert [error.path for error in caught.value.errors] == ["reply_to"]
    assert not await reply(bob, kept)
    assert not await reply(ada, hidden)
    # What was sent before is answered as before.
    assert await reply(bob, deleted, client_id)


async def test_rows_for_hinted_ranges_name_only_who_may_see_them(server: Server) -> None:
    ada, bob, eve = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Eve")]
    group = await groups.create_group(server.database, ada.user.user_id, "team", ["Bob"])
    await server.send(ada.user.user_id, "both", chat_id=group.chat_id)
    await groups.remove_member(server.database, ada.user.user_id, group.group_id, bob.user.user_id)
    await server.send(ada.user.user_id, "alone", chat_id=group.chat_id)
    users = [ada.user.user_id, bob.user.user_id, eve.user.user_id]
    deliveries = await sync.rows_for(server.database, [SeqRange(group.chat_id, 1, 99)], users)
    assert [(item.row.seq, item.row.kind, set(item.user_ids)) for item in deliveries] == [
        (1, "group", {ada.user.user_id, bob.user.user_id}),
        (2, "message", {ada.user.user_id, bob.user.user_id}),
        (3, "member", {ada.user.user_id, bob.user.user_id}),
        (4, "message", {ada.user.user_id}),
    ]
    assert deliveries[2].row.detail == {"action": "removed", "user_ids": [bob.user.user_id]}


async def test_each_send_is_hinted_once_committed(server: Server) -> None:
    heard: list[str] = []
    listener = await server.database.listen(heard.append)
    ada, _ = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    sent = await server.send(ada.user.user_id, "hello", to="Bob")
    await published(server.database)
    await notify(server.database, [Hint("end", revoked=(1,))])
    while not any('"end"' in payload for payload in heard):
        await asyncio.sleep(0.01)
    hints = [Hint.decode(payload) for payload in heard]
    assert hints[0].members[0].chat_id == sent.chat_id
    assert isinstance(hints[0].members[0], MembershipChange)
    assert hints[1] == Hint("server-1", ranges=(SeqRange(sent.chat_id, 1, 1),), is_batch=True)
    listener.close()


async def test_closing_writer_finishes_what_it_took(read_dsn: Callable[[], str]) -> None:
    async with running_server(read_dsn) as server:
        ada, _ = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
        chat_id = (await server.send(ada.user.user_id, "open", to="Bob")).chat_id
        sends = [asyncio.create_task(server.send(ada.user.user_id, str(n), chat_id=chat_id)) for n in range(300)]
        while server.writer.queued_rows < 300:
            await asyncio.sleep(0)
        await server.writer.close()
        assert sorted(item.seq for item in await asyncio.gather(*sends)) == list(range(2, 302))
        with pytest.raises(ServiceUnavailable):
            await server.send(ada.user.user_id, "late", chat_id=chat_id)


async def test_what_waits_is_bounded_in_bytes_and_room_comes_back(server: Server) -> None:
    ada, _ = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    chat_id = (await server.send(ada.user.user_id, "open", to="Bob")).chat_id
    writer = MessageWriter(server.database, queue_bytes=100_000)
    writer.start()
    crowded = msgspec.structs.replace(server, writer=writer)

    async def send_together(text: str, count: int) -> int:
        sends = (crowded.send(ada.user.user_id, text, chat_id=chat_id) for _ in range(count))
        answers = await asyncio.gather(*sends, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, BaseException)]
        assert all(isinstance(answer, ServiceUnavailable) for answer in refused), refused
        return count - len(refused)

    try:
        assert await send_together("x" * 30_000, 10) < 10
        assert await send_together("x" * 30_000, 3) == 3
        # In memory a character may take four bytes.
        assert await send_together("\N{GRINNING FACE}" * 30_000, 1) == 1
        assert writer.queued_rows == writer._queued_bytes == 0
    finally:
        await writer.close()


@pytest.mark.parametrize(("kind", "message_type"), [("poem", "text"), ("message", "hologram"), ("edit", "hologram")])
async def test_the_database_refuses_rows_of_an_unknown_kind(server: Server, kind: str, message_type: str) -> None:
    with pytest.raises(StatementFailed) as refused:
        await server.database.execute(
            "INSERT INTO messages (chat_id, seq, kind, message_type, sender_id, created_at) "
            "VALUES (1, 1, $1, $2, 1, now())",
            kind,
            message_type,
        )
    assert refused.value.constraint == "messages_row_check"
