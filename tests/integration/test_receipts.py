"""Receipts of many users are stored together: few statements, and none of them waits for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatserver.errors import ServiceUnavailable
from chatserver.messaging import receipts, sync
from chatserver.model import MemberWatermarks, ReceiptMark
from tests.support.filling import fill_chats
from tests.support.findings import tell
from tests.support.people import running_server, sign_in
from tests.support.statements import StatementLog

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.people import Server
    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

PEOPLE = 200
ROWS = 20


async def filled(server: Server, read_dsn: Callable[[], str]) -> list[tuple[int, int]]:
    """Return (user_id, chat_id) of people who each have a direct chat with one user."""
    me = (await sign_in(server.database, "Ada")).user.user_id
    await fill_chats(read_dsn, me, chats=PEOPLE, messages_each=ROWS)
    rows = await server.database.fetch("SELECT user_id, chat_id FROM chat_members WHERE user_id <> $1", me)
    return [(row[0], row[1]) for row in rows]


async def test_receipts_of_many_users_are_few_statements(
    postgres: PostgresCluster, read_dsn: Callable[[], str]
) -> None:
    log = StatementLog(postgres, read_dsn().rsplit("/", 1)[1], "chatserver server-1")
    async with running_server(read_dsn) as server:
        members = await filled(server, read_dsn)
        log.forget()
        told = await asyncio.gather(
            *(
                server.receipts.mark(user_id, {chat_id: ReceiptMark(delivered_seq=seq, read_seq=seq - 1)})
                for seq in range(1, 6)
                for user_id, chat_id in members
            )
        )
        statements = [text for text in log.statements() if "watermark" in text or "receipts" in text]
        tell(f"{len(told)} marks of {PEOPLE} users at once: {len(statements)} statements")
        assert 1 <= len(statements) <= 6
        for index, answer in enumerate(told):
            user_id, chat_id = members[index % PEOPLE]
            # Merged within a batch: each caller hears where its user stands now.
            assert {(item.user_id, item.chat_id) for item in answer} <= {(user_id, chat_id)}
        stands = await sync.receipts_of(server.database, [chat_id for _, chat_id in members])
        for user_id, chat_id in members:
            assert MemberWatermarks(chat_id, user_id, 5, 4) in stands


async def test_full_queue_is_told_and_what_waits_is_stored(
    server: Server, read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipts, "QUEUE_MARKS", 10)
    members = await filled(server, read_dsn)
    answers = await asyncio.gather(
        *(server.receipts.mark(user_id, {chat_id: ReceiptMark(1)}) for user_id, chat_id in members),
        return_exceptions=True,
    )
    refused = [answer for answer in answers if isinstance(answer, ServiceUnavailable)]
    assert len(refused) == PEOPLE - 10
    assert sorted(map(str, answers[:10])) == sorted(str([MemberWatermarks(c, u, 1, 0)]) for u, c in members[:10])
    # A single call may be larger than the queue: it is one statement all the same.
    user_id = members[0][0]
    many = {chat_id: ReceiptMark(2) for _, chat_id in members}
    assert await server.receipts.mark(user_id, many) == [MemberWatermarks(members[0][1], user_id, 2, 0)]


async def test_one_who_waits_for_a_lock_does_not_hold_the_others(server: Server, read_dsn: Callable[[], str]) -> None:
    members = await filled(server, read_dsn)
    (held_user, held_chat), (user_id, chat_id) = members[:2]
    async with server.database.transaction() as connection:
        await connection.execute(
            "SELECT FROM chat_members WHERE chat_id = $1 AND user_id = $2 FOR UPDATE", held_chat, held_user
        )
        waiting = asyncio.create_task(server.receipts.mark(held_user, {held_chat: ReceiptMark(3)}))
        while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        assert await server.receipts.mark(user_id, {chat_id: ReceiptMark(3)}) == [
            MemberWatermarks(chat_id, user_id, 3, 0)
        ]
        assert not waiting.done()
    assert await waiting == [MemberWatermarks(held_chat, held_user, 3, 0)]
