"""A user with 5,000 chats and 100,000 messages comes with a new device: few statements, bounded answers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from chatcluster_client import Item, LiveClient, RestClient
from chatserver.messaging import chats, sync
from chatserver.protocol import MAX_SYNC_CHATS
from tests.support.devices import Device, sign_in
from tests.support.filling import fill_chats, fill_groups
from tests.support.findings import tell
from tests.support.people import Server, running_server
from tests.support.people import sign_in as sign_in_person
from tests.support.server import ServerProcess
from tests.support.statements import StatementLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

CHATS = 5000
MESSAGES_EACH = 20

OF_THE_SERVER = (
    *("SELECT pg_notify", "last_seen = now()", "last_used = now()", "pg_is_in_recovery", "SELECT chat_epoch()"),
    *("account_deletions", "audit_events", "SET enable_seqscan", "INTO servers", "FROM servers", "turn_presence"),
    *("chatcluster.volume_full", "current_setting('jit')", "typeinfo_tree", "hint_slots"),
)
"""Hints and their sweep, presence, who and what was seen, the probe, the epoch, which is asked for all connections once
in 5 s, what is looked for each minute, heartbeats, room on the volume, and what each new connection begins with: what a
server says without this user's sync."""


@asynccontextmanager
async def full_server(
    postgres: PostgresCluster, read_dsn: Callable[[], str], *, chats: int = CHATS
) -> AsyncIterator[tuple[ServerProcess, Device, StatementLog]]:
    """Run a real server on a full database, with a device that has called once."""
    dsn = read_dsn()
    log = StatementLog(postgres, dsn.rsplit("/", 1)[1], "chatserver s1")
    with ServerProcess(dsn, "s1") as process:
        process.wait_ready()
        device = await sign_in(process, "Ada")
        await fill_chats(read_dsn, device.user_id, chats=chats, messages_each=MESSAGES_EACH)
        async with device.http(process) as http:
            await http.get("/api/chats", params={"limit": 1})
        yield process, device, log


def own(log: StatementLog) -> list[str]:
    return [text for text in log.statements() if not any(words in text for words in OF_THE_SERVER)]


async def test_first_sync_takes_at_most_five_statements(postgres: PostgresCluster, read_dsn: Callable[[], str]) -> None:
    async with full_server(postgres, read_dsn) as (process, device, log):
        log.forget()
        async with device.http(process) as http:
            screen = (await http.get("/api/chats", params={"limit": 50})).json()
        assert len(own(log)) == 1, "\n".join(text[:80] for text in own(log))
        assert len(screen["chats"]) == 50
        assert all(chat["last_message"]["seq"] == MESSAGES_EACH for chat in screen["chats"])
        assert {chat["unread"] for chat in screen["chats"]} == {MESSAGES_EACH - MESSAGES_EACH // 3}
        log.forget()
        async with device.socket(process) as socket:
            connecting = len(own(log))
            await socket.send(type="sync", chats={})
            synced = await socket.of_type("synced")
            statements = own(log)
        tell(
            f"first screen of {CHATS} chats: 1 statement; first sync: {len(statements) - connecting} statements for "
            f"{len(socket.rows())} rows, and {connecting} to connect"
        )
        assert len(statements) <= 5, "\n".join(text[:80] for text in statements)
        assert len(socket.rows()) == len(set(socket.rows())) == 5000
        assert synced["more"] is True
        assert len(synced["chats"]) == sync.SYNC_CHATS_MAX
        assert sum(len(chat["members"] or ()) for chat in synced["chats"]) <= sync.SYNC_MEMBERS_MAX


async def test_syncs_one_after_another_bring_every_message_once(read_dsn: Callable[[], str]) -> None:
    async with running_server(read_dsn) as server:
        me = (await sign_in_person(server.database, "Ada")).user.user_id
        await fill_chats(read_dsn, me, chats=CHATS, messages_each=MESSAGES_EACH)
        have: dict[int, int] = {}
        rows = 0
        while True:
            part = await sync.sync_user(server.database, me, have)
            for row in part.rows:
                assert row.seq == have.get(row.chat_id, 0) + 1
                have[row.chat_id] = row.seq
            rows += len(part.rows)
            if not part.more:
                break
        assert rows == CHATS * MESSAGES_EACH
        assert set(have.values()) == {MESSAGES_EACH}
        assert len(have) == CHATS


async def test_long_texts_end_an_answer_early_and_the_next_goes_on(server: Server) -> None:
    ada, _ = await sign_in_person(server.database, "Ada"), await sign_in_person(server.database, "Bob")
    me = ada.user.user_id
    for number in range(6):
        sent = await server.send(me, str(number) * 1000, to="Bob")
    have: dict[int, int] = {}
    parts = []
    more = True
    while more:
        part = await sync.sync_user(server.database, me, have, most_bytes=2000)
        have[sent.chat_id] = part.rows[-1].seq
        parts.append([row.seq for row in part.rows])
        more = part.more
    assert parts == [[1, 2], [3, 4], [5, 6]]
    assert [len((await sync.sync_user(server.database, me, {}, most_bytes=1)).rows)] == [1]


async def test_page_of_full_groups_is_bounded_and_names_the_caller(server: Server, read_dsn: Callable[[], str]) -> None:
    me = (await sign_in_person(server.database, "Ada")).user.user_id
    await fill_chats(read_dsn, me, chats=1100, messages_each=1)
    await fill_groups(read_dsn, me, groups=20, members=1024)
    page = await chats.list_chats(server.database, me, limit=20)
    assert {(chat.kind, chat.member_count) for chat in page.chats} == {("group", 1024)}
    for chat in page.chats:
        assert len(chat.members) == chats.LIST_MEMBERS_MAX
        # The newest member, and last in the order of standing.
        assert chat.members[-1].user_id == me
    whole = await chats.get_chat(server.database, me, page.chats[0].chat_id)
    assert len({member.user_id for member in whole.members}) == whole.member_count == 1024


async def test_client_with_more_chats_than_a_sync_may_name_gets_everything(
    postgres: PostgresCluster, read_dsn: Callable[[], str]
) -> None:
    many = MAX_SYNC_CHATS + 3
    async with full_server(postgres, read_dsn, chats=many) as (process, device, _):
        rest = RestClient(process.url, token=device.token, user_id=device.user_id)
        cursor: str | None = None
        have: dict[int, int] = {}
        async with rest:
            while True:
                page: dict[str, Any] = await rest.chats(cursor)
                have |= {chat["chat_id"]: chat["last_seq"] for chat in page["chats"]}
                cursor = page["next_cursor"]
                if cursor is None:
                    break
            assert len(have) == many
            oldest = min(have)
            have[oldest] -= 2
            client = LiveClient(rest)
            client._order.have.update(have)
            async with client as live:
                items = live.items()
                for seq in (MESSAGES_EACH - 1, MESSAGES_EACH):
                    item = await anext(items)
                    assert isinstance(item, Item)
                    assert (item.chat_id, item.seq) == (oldest, seq)
                assert live.connected.is_set()
