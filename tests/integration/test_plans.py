"""Statements go by their indexes, also with plans that were cached while the tables were empty."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from chatserver.model import ReceiptMark, SeqRange
from chatserver.services import blocks, changes, chats, feed, receipts, sync, users
from chatserver.services.devices import Devices
from tests.support.people import Server, running_server, sign_in

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

TABLES = (
    "users", "devices", "chats", "chat_members", "direct_chats", "self_chats", "blocks", "messages", "receipts",
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
        me = ada.user.user_id
        sent = await server.send(me, "open", to="Bob")
        since = (await feed.read_feed(database, me)).next_since

        async def everything() -> None:
            devices.forget([ada.device_id])
            await devices.authenticate(ada.token)
            await devices.list_devices(me)
            await users.find_user(database, username="bob")
            await users.record_last_seen(database, [me])
            row = await server.send(me, "x", to=bob.user.phone_number)
            await server.send(me, "x", chat_id=sent.chat_id)
            await feed.read_feed(database, me, since=since)
            await feed.read_feed(database, me)
            await chats.list_chats(database, me)
            await chats.read_history(database, me, sent.chat_id)
            await sync.sync_user(database, me, {sent.chat_id: 0})
            await sync.rows_for(database, [SeqRange(sent.chat_id, 1, row.seq)], [me, bob.user.user_id])
            await sync.positions(database, [me])
            await sync.last_seqs(database, [sent.chat_id])
            await receipts.mark(database, bob.user.user_id, {sent.chat_id: ReceiptMark(read_seq=row.seq)})
            await changes.edit_message(database, me, sent.chat_id, row.seq, f"edited {row.seq}")
            await changes.put_reaction(database, me, sent.chat_id, row.seq, "👍")
            await changes.remove_reaction(database, me, sent.chat_id, row.seq, "👍")
            await changes.hide_message(database, bob.user.user_id, sent.chat_id, row.seq)
            await changes.delete_message(database, me, sent.chat_id, row.seq)
            await blocks.set_block(database, me, bob.user.user_id, blocked=True)
            await blocks.list_blocked(database, me)
            await blocks.set_block(database, me, bob.user.user_id, blocked=False)

        for _ in range(8):
            await everything()
        await database.execute(
            "INSERT INTO messages (chat_id, seq, sender_id, created_at) "
            "SELECT 1000 + n % 500, n / 500 + 1, 1, now() FROM generate_series(1, 20000) AS n"
        )
        await database.execute(
            "INSERT INTO users (phone_number) "
            "SELECT '+1666' || lpad(n::text, 7, '0') FROM generate_series(1, 2000) AS n"
        )
        await database.execute(
            "INSERT INTO chats (chat_id, kind, last_seq) SELECT 1000 + n, 'group', 40 FROM generate_series(0, 499) AS n"
        )
        await database.execute(
            "INSERT INTO chat_members (chat_id, user_id) SELECT c.chat_id, u.user_id FROM chats c "
            "JOIN users u ON u.user_id % 100 = c.chat_id % 100 AND u.user_id > 10"
        )
        before = await scans(server)
        for _ in range(8):
            await everything()
        assert await scans(server) == before
