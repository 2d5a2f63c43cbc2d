"""Statements go by their indexes, also with plans that were cached while the tables were empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatserver.accounts.devices import Devices
from chatserver.fanout.hub import Hub
from chatserver.fanout.syncing import SyncRequest, Syncs
from chatserver.messaging import changes, chats, feed, groups, message_info, own_chats, stars, sync
from chatserver.messaging.own_chats import SettingsChange
from chatserver.messaging.receipts import Receipts
from chatserver.model import ReceiptMark, SeqRange
from chatserver.storage import presence
from chatserver.users import blocks, users
from tests.support.filling import fill_chats, fill_strangers
from tests.support.findings import tell
from tests.support.people import Server, running_server, sign_in
from tests.support.plans import PlanLog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

TABLES = (
    "users", "devices", "chats", "chat_members", "direct_chats", "self_chats", "blocks", "messages", "receipts",
    "stars",
)  # fmt: skip


async def scans(server: Server) -> dict[str, int]:
    """Return {table: sequential scans so far} of those that grow."""
    await server.database.execute("SELECT pg_stat_force_next_flush()")
    rows = await server.database.fetch(
        "SELECT relname, seq_scan FROM pg_stat_user_tables WHERE relname = ANY ($1::text[])", list(TABLES)
    )
    return {row[0]: row[1] for row in rows}


async def test_no_statement_scans_a_table_that_grows(read_dsn: Callable[[], str]) -> None:
    # One connection: statistics of others would arrive later.
    async with running_server(read_dsn, pool_size=1) as server:
        database, devices = server.database, Devices(server.database)
        ada, bob = await sign_in(database, "Ada"), await sign_in(database, "Bob")
        me, syncs = ada.user.user_id, Syncs(database, Hub())
        sent = await server.send(me, "open", to="Bob")
        since = (await feed.read_feed(database, me)).next_since

        async def everything() -> None:
            devices.forget([ada.device_id])
            await devices.authenticate(ada.token)
            await devices.list_devices(me)
            await users.find_user(database, username="bob")
            await presence.turn(database, "server-1", came=[me], went=[])
            await presence.turn(database, "server-1", came=[], went=[me])
            await presence.states(database, [me])
            await presence.servers_gone(database)
            await presence.users_at(database, "server-1")
            row = await server.send(me, "x", to=bob.user.phone_number)
            await server.send(me, "x", chat_id=sent.chat_id)
            await feed.read_feed(database, me, since=since)
            await feed.read_feed(database, me)
            await chats.list_chats(database, me)
            await chats.read_history(database, me, sent.chat_id)
            await sync.sync_user(database, me, {sent.chat_id: 0})
            await syncs.answer(me, {sent.chat_id: 0})
            await sync.rows_for(database, [SeqRange(sent.chat_id, 1, row.seq)], [me, bob.user.user_id])
            await sync.positions(database, [me])
            await sync.joined(database, [(me, sent.chat_id)])
            await Receipts(database).mark(bob.user.user_id, {sent.chat_id: ReceiptMark(read_seq=row.seq)})
            await changes.edit_message(database, me, sent.chat_id, row.seq, f"edited {row.seq}")
            await changes.put_reaction(database, me, sent.chat_id, row.seq, "👍")
            await changes.remove_reaction(database, me, sent.chat_id, row.seq, "👍")
            await message_info.read_info(database, me, sent.chat_id, row.seq)
            await stars.set_star(database, me, sent.chat_id, row.seq, starred=True)
            await stars.list_stars(database, me)
            await stars.set_star(database, me, sent.chat_id, row.seq, starred=False)
            await own_chats.change_settings(database, me, sent.chat_id, SettingsChange(archived=row.seq % 4 > 1))
            await own_chats.clear_history(database, me, sent.chat_id, row.seq - 3)
            await changes.hide_message(database, bob.user.user_id, sent.chat_id, row.seq)
            await changes.delete_message(database, me, sent.chat_id, row.seq)
            await blocks.set_block(database, me, bob.user.user_id, blocked=True)
            await blocks.list_blocked(database, me)
            await blocks.set_block(database, me, bob.user.user_id, blocked=False)

        for _ in range(8):
            await everything()
        await server.fill(
            "INSERT INTO messages (chat_id, seq, sender_id, created_at) "
            "SELECT 1000 + n % 500, n / 500 + 1, $1, now() FROM generate_series(1, 20000) AS n",
            me,
        )
        await server.fill(
            "INSERT INTO users (phone_number) "
            "SELECT '+1666' || lpad(n::text, 7, '0') FROM generate_series(1, 2000) AS n"
        )
        await server.fill(
            "INSERT INTO chats (chat_id, kind, last_seq) SELECT 1000 + n, 'group', 40 FROM generate_series(0, 499) AS n"
        )
        await database.execute(
            "INSERT INTO chat_members (chat_id, user_id) SELECT c.chat_id, u.user_id FROM chats c "
            "JOIN users u ON u.user_id % 100 = c.chat_id % 100 AND u.user_id > 10 WHERE c.chat_id >= 1000"
        )
        before = await scans(server)
        for _ in range(8):
            await everything()
        assert await scans(server) == before


async def test_a_push_reads_its_rows_and_not_the_history_of_their_chats(read_dsn: Callable[[], str]) -> None:
    async def fetched(server: Server) -> int:
        await server.database.execute("SELECT pg_stat_force_next_flush()")
        row = await server.database.fetchrow("SELECT idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'messages'")
        return int(row[0]) if row is not None else 0

    # One connection: it keeps its plan, and statistics of others would arrive later.
    async with running_server(read_dsn, pool_size=1) as server:
        database = server.database
        people = [(await sign_in(database)).user for _ in range(20)]
        ids = [user.user_id for user in people]
        members = [user.phone_number for user in people[1:]]
        chat_id = (await groups.create_group(database, ids[0], "many", members)).chat_id
        for sent in range(1, 101):
            last_seq = (await server.send(ids[0], "x", chat_id=chat_id)).seq
            pushed = SeqRange(chat_id, last_seq, last_seq)
            [delivery] = await sync.rows_for(database, [pushed], ids)
            assert sorted(delivery.user_ids) == sorted(ids)
            if sent == 20:
                # What PostgreSQL believes of a chat's length from here on is that of a short one.
                await database.execute("ANALYZE messages, chat_members")
        before = await fetched(server)
        await sync.rows_for(database, [pushed], ids)
        # Once to see who may read it, once for what it says.
        assert await fetched(server) - before == 2


# The indexes by which each statement that clients or servers send all the time must find its rows.
HOT: dict[str, set[str]] = {
    "sign-in by token": {"devices_token_hash_key"},
    "send": {"chats_pkey", "chat_members_pkey", "messages_chat_id_sender_id_client_id_key", "blocks_pkey"},
    "open a direct chat": {"direct_chats_pkey"},
    "push": {"messages_pkey", "chat_members_pkey", "users_pkey"},
    "receipts": {"chat_members_pkey", "chats_pkey"},
    "healed receipts": {"chat_members_pkey", "receipts_pkey"},
    "positions": {"chat_members_user_id", "chats_pkey"},
    "poll": {"chat_members_user_id", "chats_pkey"},
    "poll with news": {"chat_members_user_id", "chats_pkey", "messages_pkey"},
    "poll from the beginning": {"chat_members_user_id", "chats_pkey", "messages_pkey"},
    "sync": {"chat_members_user_id", "chats_pkey", "messages_pkey"},
    "sync with others": {"chat_members_user_id", "chats_pkey", "chat_members_pkey", "users_pkey", "messages_pkey"},
    "list with unread": {"chat_members_user_id", "chats_pkey", "messages_pkey", "chat_members_pkey", "users_pkey"},
    "one chat with unread": {"chats_pkey", "messages_pkey", "chat_members_pkey", "users_pkey"},
    "newest history": {"chat_members_pkey", "messages_pkey"},
    "older history": {"chat_members_pkey", "messages_pkey"},
    "later history": {"chat_members_pkey", "messages_pkey"},
    "stars": {"stars_user_id", "chat_members_pkey", "messages_pkey"},
    "more stars": {"stars_user_id", "chat_members_pkey", "messages_pkey"},
    "message info": {"chat_members_pkey", "messages_pkey", "receipts_pkey"},
}


async def test_each_hot_statement_goes_by_its_indexes(postgres: PostgresCluster, read_dsn: Callable[[], str]) -> None:
    plans = PlanLog(postgres, read_dsn().rsplit("/", 1)[1], "chatserver planned")
    async with running_server(read_dsn, "filler") as filler:
        ada, bob = await sign_in(filler.database, "Ada"), await sign_in(filler.database, "Bob")
        me, other = ada.user.user_id, bob.user.user_id
        for text in ("first", "second", "third"):
            chat_id = (await filler.send(me, text, to="Bob")).chat_id
    await fill_chats(read_dsn, me, chats=300, messages_each=20)
    await fill_strangers(read_dsn, chats=20_000, messages_each=5)
    async with running_server(read_dsn, "planned", pool_size=1) as server:
        database, devices = server.database, Devices(server.database)
        since = (await feed.read_feed(database, me, limit=1000, since=str(2**33))).next_since

        for seq in (1, 2, 3):
            await stars.set_star(database, me, chat_id, seq, starred=True)
        onward = (await stars.list_stars(database, me, limit=1)).next_cursor

        async def authenticate() -> None:
            devices.forget([ada.device_id])
            await devices.authenticate(ada.token)

        async def poll_with_news() -> None:
            await server.send(other, "news", chat_id=chat_id)
            await feed.read_feed(database, me, since=since)

        async def mark() -> None:
            sent = await server.send(me, "x", chat_id=chat_id)
            plans.forget()
            await Receipts(database).mark(other, {chat_id: ReceiptMark(read_seq=sent.seq)})

        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "sign-in by token": authenticate,
            "send": lambda: server.send(me, "x", chat_id=chat_id),
            "open a direct chat": lambda: server.send(me, "x", to="Bob"),
            "push": lambda: sync.rows_for(database, [SeqRange(chat_id, 1, 3)], [me, other]),
            "receipts": mark,
            "healed receipts": lambda: sync.receipts_of(database, [chat_id], within_seconds=30),
            "positions": lambda: sync.positions(database, [me]),
            "poll": lambda: feed.read_feed(database, me, since=since),
            "poll with news": poll_with_news,
            "poll from the beginning": lambda: feed.read_feed(database, me),
            "sync": lambda: sync.sync_user(database, me, {chat_id: 2}),
            "sync with others": lambda: Syncs(database, Hub()).answer_together([SyncRequest(other, {chat_id: 2})]),
            "list with unread": lambda: chats.list_chats(database, me),
            "one chat with unread": lambda: chats.get_chat(database, me, chat_id),
            "newest history": lambda: chats.read_history(database, me, chat_id),
            "older history": lambda: chats.read_history(database, me, chat_id, before=3),
            "later history": lambda: chats.read_history(database, me, chat_id, after=1),
            "stars": lambda: stars.list_stars(database, me),
            "more stars": lambda: stars.list_stars(database, me, limit=2, cursor=onward),
            "message info": lambda: message_info.read_info(database, me, chat_id, 1),
        }
        assert calls.keys() == HOT.keys()
        for name, call in calls.items():
            used: set[str | None] = set()
            # Five plans are made for the values, then one is kept for all: both kinds count.
            for _ in range(7):
                plans.forget()
                await call()
                accesses = [access for access in plans.accesses() if access.table in TABLES]
                assert [access for access in accesses if not access.bounded] == [], name
                used |= {access.index for access in accesses}
            assert used >= HOT[name], (name, HOT[name] - used)
            tell(f"{name}: {', '.join(sorted(filter(None, used)))}")


async def test_a_send_reads_no_chat_for_its_client_id_while_each_has_one_message(
    postgres: PostgresCluster, read_dsn: Callable[[], str]
) -> None:
    plans = PlanLog(postgres, read_dsn().rsplit("/", 1)[1], "chatserver planned")
    async with running_server(read_dsn, "filler") as filler:
        ada, _bob = await sign_in(filler.database, "Ada"), await sign_in(filler.database, "Bob")
        chat_id = (await filler.send(ada.user.user_id, "first", to="Bob")).chat_id
    await fill_chats(read_dsn, ada.user.user_id, chats=500, messages_each=1)
    async with running_server(read_dsn, "planned", pool_size=1) as server:
        for _ in range(7):
            plans.forget()
            await server.send(ada.user.user_id, "x", chat_id=chat_id)
            # A reply looks its target up by its number.
            used = {access.index for access in plans.accesses() if access.alias != "t"}
            assert "messages_chat_id_sender_id_client_id_key" in used
            assert used.isdisjoint({"messages_pkey", "chat_members_user_id"})
