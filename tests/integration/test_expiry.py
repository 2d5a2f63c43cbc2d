"""Messages that disappear: by the timer of their chat."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest

from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.errors import (
    Blocked,
    ChatNotFound,
    MessageNotFound,
    NotAMember,
    NotAnAdmin,
    ValidationFailed,
)
from chatserver.messaging import changes, chats, feed, groups, stars, sync, timers
from chatserver.messaging.expiry import Expiry
from chatserver.metrics import Metrics
from chatserver.model import Change, ReceiptMark
from chatserver.storage import changes as storage_changes
from chatserver.storage import expiries, retention
from chatserver.users import blocks
from tests.support.passing import let_pass
from tests.support.people import Server, people, principal_of, running_server, sign_in
from tests.support.replica import Replica, as_client_sees

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.model import MessageRow

pytestmark = pytest.mark.integration

MINUTE = 60
DAY = 86_400


async def timed(server: Server) -> tuple[int, int, int]:
    """Ada and Bob, and their chat: the message "1", and from row 3 on a timer of a minute."""
    ada, bob = await people(server, "Ada", "Bob")
    chat_id = (await server.send(ada, "1", to="Bob")).chat_id
    await timers.set_timer(server.database, ada, chat_id, MINUTE)
    return ada, bob, chat_id


async def rows_of(server: Server, user_id: int, chat_id: int) -> list[MessageRow]:
    return list((await chats.read_history(server.database, user_id, chat_id, limit=1000)).rows)


async def shown(server: Server, user_id: int, chat_id: int) -> list[tuple[int, str]]:
    return [(row.seq, row.text or row.kind) for row in await rows_of(server, user_id, chat_id)]


def expiry_of(server: Server) -> Expiry:
    return Expiry(server.database, Metrics().expiry)


async def expire(server: Server, seconds: int = 2 * MINUTE) -> None:
    await let_pass(server.database, seconds)
    await expiry_of(server).round()


# --- the timer


async def test_a_timer_is_a_row_and_a_datum_of_the_chat(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "hi", to="Bob")).chat_id
    assert (await chats.get_chat(database, ada, chat_id)).disappear_after is None
    assert await timers.set_timer(database, bob, chat_id, DAY) == Change(chat_id, 2)
    assert await timers.set_timer(database, ada, chat_id, DAY) == Change(chat_id, None)
    for user_id in (ada, bob):
        assert (await chats.get_chat(database, user_id, chat_id)).disappear_after == DAY
        assert (await chats.list_chats(database, user_id)).chats[0].disappear_after == DAY
    assert await timers.set_timer(database, ada, chat_id, None) == Change(chat_id, 3)
    assert await timers.set_timer(database, ada, chat_id, None) == Change(chat_id, None)
    assert (await chats.get_chat(database, bob, chat_id)).disappear_after is None
    rows = await rows_of(server, ada, chat_id)
    assert [(row.kind, row.from_id, row.detail) for row in rows[1:]] == [
        ("timer", bob, {"seconds": DAY}),
        ("timer", ada, {"seconds": None}),
    ]


async def test_who_may_not_set_a_timer(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob", "Cy"])).group_id
    direct = (await server.send(ada, "hi", to="Bob")).chat_id
    own = (await changes.hide_message(database, bob, direct, 1)).chat_id
    with pytest.raises(NotAnAdmin):
        await timers.set_timer(database, bob, group, DAY)
    await groups.remove_member(database, cy, group, cy)
    with pytest.raises(NotAMember):
        await timers.set_timer(database, cy, group, DAY)
    for user_id, chat_id in ((cy, direct), (bob, own), (ada, 10**9), (ada, 0), (ada, 2**60)):
        with pytest.raises(ChatNotFound):
            await timers.set_timer(database, user_id, chat_id, DAY)
    await blocks.set_block(database, ada, bob, blocked=True)
    for user_id in (ada, bob):
        with pytest.raises(Blocked):
            await timers.set_timer(database, user_id, direct, DAY)
    await timers.set_timer(database, ada, group, DAY)
    assert (await chats.get_chat(database, bob, group)).disappear_after == DAY
    # Who has left is not shown what was set later.
    assert (await chats.get_chat(database, cy, group)).disappear_after is None


# --- what goes


async def test_messages_go_when_their_time_is_over_and_those_from_before_the_timer_stay(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "before", to="Bob")).chat_id
    await timers.set_timer(database, ada, chat_id, MINUTE)
    await server.send(ada, "first", chat_id=chat_id)
    await server.send(bob, "second", chat_id=chat_id)
    await expiry_of(server).round()
    assert len(await rows_of(server, ada, chat_id)) == 4
    await let_pass(database, 2 * MINUTE)
    await server.send(bob, "third", chat_id=chat_id)
    await expiry_of(server).round()
    assert await shown(server, ada, chat_id) == [(1, "before"), (2, "timer"), (5, "third"), (6, "expire")]
    row = (await rows_of(server, bob, chat_id))[-1]
    assert (row.detail, row.target_seq, row.text) == ({"from_seq": 3, "up_to_seq": 4}, None, None)
    chat = (await chats.list_chats(database, bob)).chats[0]
    assert (chat.last_seq, chat.unread, chat.last_message and chat.last_message.text) == (6, 1, "third")
    # An expiry is no activity.
    assert chat.last_at_us == (await rows_of(server, ada, chat_id))[-2].created_at_us
    left = await database.fetch("SELECT message_text FROM messages WHERE message_text IN ('first', 'second')")
    assert left == []


async def test_a_timer_concerns_the_messages_until_the_next_one(server: Server) -> None:
    ada, _ = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "1", to="Bob")).chat_id
    await timers.set_timer(database, ada, chat_id, DAY)
    await server.send(ada, "3", chat_id=chat_id)
    await timers.set_timer(database, ada, chat_id, MINUTE)
    await server.send(ada, "5", chat_id=chat_id)
    await timers.set_timer(database, ada, chat_id, None)
    await server.send(ada, "7", chat_id=chat_id)
    await expire(server)
    timer_rows = [(2, "timer"), (4, "timer"), (6, "timer")]
    assert sorted([(1, "1"), (3, "3"), (7, "7"), (8, "expire"), *timer_rows]) == await shown(server, ada, chat_id)
    await expire(server, 2 * DAY)
    assert sorted([(1, "1"), (7, "7"), (8, "expire"), (9, "expire"), *timer_rows]) == await shown(server, ada, chat_id)
    # Nothing is left to look at.
    assert await database.fetch("SELECT FROM expiries") == []


async def test_what_is_about_a_message_goes_with_it_and_what_is_about_another_stays(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "before", to="Bob")).chat_id
    await timers.set_timer(database, ada, chat_id, MINUTE)
    await server.send(ada, "secret", chat_id=chat_id)
    await changes.edit_message(database, ada, chat_id, 3, "another secret")
    await changes.put_reaction(database, bob, chat_id, 3, "👍")
    await changes.put_reaction(database, bob, chat_id, 1, "👍")
    await changes.edit_message(database, ada, chat_id, 1, "edited")
    await stars.set_star(database, bob, chat_id, 3, starred=True)
    await stars.set_star(database, bob, chat_id, 1, starred=True)
    await expire(server)
    rows = await rows_of(server, bob, chat_id)
    assert [(row.seq, row.kind, row.target_seq) for row in rows] == [
        (1, "message", None), (2, "timer", None), (6, "reaction", 1), (7, "edit", 1), (8, "expire", None),
    ]  # fmt: skip
    assert [star.row.seq for star in (await stars.list_stars(database, bob)).stars] == [1]
    assert [record[0] for record in await database.fetch("SELECT seq FROM stars")] == [1]
    with pytest.raises(MessageNotFound):
        await changes.edit_message(database, ada, chat_id, 3, "too late")
    with pytest.raises(ValidationFailed):
        await server.send(bob, "reply", chat_id=chat_id, reply_to=3)


async def test_a_reply_stays_when_what_it_answers_goes(server: Server) -> None:
    ada, _, chat_id = await timed(server)
    database = server.database
    await server.send(ada, "3", chat_id=chat_id)
    await timers.set_timer(database, ada, chat_id, None)
    await server.send(ada, "reply", chat_id=chat_id, reply_to=3)
    await expire(server)
    row = (await rows_of(server, ada, chat_id))[-2]
    assert (row.text, row.reply_to) == ("reply", 3)


async def test_no_earlier_version_outlives_its_message(server: Server) -> None:
    ada, _, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob", "Cy"])).group_id
    await timers.set_timer(database, ada, group, MINUTE)
    seq = (await server.send(ada, "secret", chat_id=group)).seq
    await groups.remove_member(database, ada, group, cy)
    await changes.edit_message(database, ada, group, seq, "another")
    assert [row[0] for row in await database.fetch("SELECT message_text FROM message_versions")] == ["secret"]
    await expire(server)
    assert await database.fetch("SELECT FROM message_versions") == []
    # Also for who has left.
    assert [row.kind for row in await rows_of(server, cy, group)] == ["group", "timer", "member"]


async def test_the_newest_expire_row_takes_the_place_of_the_one_before(server: Server) -> None:
    ada, bob, chat_id = await timed(server)
    for number in range(3):
        await server.send(bob, str(number), chat_id=chat_id)
        await expire(server)
    assert await shown(server, ada, chat_id) == [(1, "1"), (2, "timer"), (8, "expire")]
    assert (await rows_of(server, ada, chat_id))[-1].detail == {"from_seq": 3, "up_to_seq": 7}


async def test_an_expire_row_stays_that_a_former_member_may_still_get(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob"])).group_id
    await timers.set_timer(database, ada, group, MINUTE)
    await server.send(ada, "3", chat_id=group)
    await expire(server)
    await groups.remove_member(database, bob, group, bob)
    await server.send(ada, "6", chat_id=group)
    await expire(server)
    assert [seq for seq, text in await shown(server, ada, group) if text == "expire"] == [4, 7]
    assert await shown(server, bob, group) == [(1, "group"), (2, "timer"), (4, "expire"), (5, "member")]


async def test_watermarks_and_unread_are_right_after_an_expiry(server: Server) -> None:
    ada, bob, chat_id = await timed(server)
    database = server.database
    await server.send(ada, "3", chat_id=chat_id)
    await server.send(ada, "4", chat_id=chat_id)
    await server.receipts.mark(bob, {chat_id: ReceiptMark(read_seq=3)})
    await expire(server)
    chat = await chats.get_chat(database, bob, chat_id)
    assert (chat.unread, chat.last_seq) == (0, 5)
    await server.receipts.mark(bob, {chat_id: ReceiptMark(read_seq=5)})
    assert [
        member.read_seq for member in (await chats.get_chat(database, ada, chat_id)).members if member.user_id == bob
    ] == [5]
    synced = await sync.sync_user(database, bob, {chat_id: 2})
    assert [row.seq for row in synced.rows] == [5]


async def test_a_chat_in_which_all_has_gone_stays_in_the_list_and_goes_on(server: Server) -> None:
    (ada,) = await people(server, "Ada")
    database = server.database
    chat_id = (await server.send(ada, "1", to="Ada")).chat_id
    await timers.set_timer(database, ada, chat_id, MINUTE)
    await server.send(ada, "3", chat_id=chat_id)
    await expire(server)
    await database.execute("DELETE FROM messages WHERE seq = 1")
    (chat,) = (await chats.list_chats(database, ada)).chats
    assert (chat.last_seq, chat.last_message, chat.unread) == (4, None, 0)
    assert (await server.send(ada, "5", chat_id=chat_id)).seq == 5


# --- retries


async def test_a_retry_of_a_message_that_has_gone_stores_nothing(server: Server) -> None:
    ada, _, chat_id = await timed(server)
    database = server.database
    client_id = str(uuid.uuid4())
    sent = await server.send(ada, "secret", chat_id=chat_id, client_id=client_id)
    await timers.set_timer(database, ada, chat_id, None)
    await expire(server)
    again = await server.send(ada, "secret", chat_id=chat_id, client_id=client_id)
    assert (again.duplicate, again.seq, again.message_id) == (True, sent.seq, sent.message_id)
    assert [text for _, text in await shown(server, ada, chat_id)] == ["1", "timer", "timer", "expire"]


async def test_a_client_id_is_forgotten_after_a_month(server: Server) -> None:
    ada, _, chat_id = await timed(server)
    database = server.database
    await server.send(ada, "3", chat_id=chat_id)
    await expire(server)
    assert await expiries.forget_sends(database, 10) == 0
    await let_pass(database, expiries.REMEMBERED_DAYS * DAY)
    assert await expiries.forget_sends(database, 10) == 1
    # What goes when it is that old already is not remembered.
    await server.send(ada, "5", chat_id=chat_id)
    await expire(server, expiries.REMEMBERED_DAYS * DAY)
    assert await database.fetch("SELECT FROM expired_sends") == []


# --- faults


async def test_a_server_that_ends_between_deletion_and_announcement_leaves_it_to_another(server: Server) -> None:
    ada, _, chat_id = await timed(server)
    database = server.database
    await server.send(ada, "3", chat_id=chat_id)
    await server.send(ada, "4", chat_id=chat_id)
    await let_pass(database, 2 * MINUTE)
    ranges, _ = await expiries.claim(database, retention_seconds=None, limit=10)
    await expiries.delete_due(database, ranges[0], retention_seconds=None, most_rows=1, most_bytes=1 << 20)
    # It is gone for readers, and nobody else is at it while the first one may be.
    assert await shown(server, ada, chat_id) == [(1, "1"), (2, "timer"), (4, "4")]
    await expiry_of(server).round()
    assert [text for _, text in await shown(server, ada, chat_id)] == ["1", "timer", "4"]
    await expire(server, int(expiries.LEASE_SECONDS) + 1)
    assert (await rows_of(server, ada, chat_id))[-1].detail == {"from_seq": 3, "up_to_seq": 4}
    assert await shown(server, ada, chat_id) == [(1, "1"), (2, "timer"), (5, "expire")]


async def test_a_change_of_a_message_that_goes_in_the_same_moment_leaves_nothing_behind(server: Server) -> None:
    ada, _, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob", "Cy"])).group_id
    await timers.set_timer(database, ada, group, MINUTE)
    seq = (await server.send(ada, "secret", chat_id=group)).seq
    await groups.remove_member(database, ada, group, cy)
    await let_pass(database, 2 * MINUTE)
    ranges, _ = await expiries.claim(database, retention_seconds=None, limit=10)
    async with database.transaction() as connection:
        # An edit, up to its commit.
        await storage_changes.lock_place(connection, ada, group, seq)
        await connection.fetchval("SELECT append_event($1, $2, 'edit', $3, NULL)", group, ada, seq)
        await storage_changes.keep_version(connection, group, seq, seq + 2)
        deletion = asyncio.create_task(
            expiries.delete_due(database, ranges[0], retention_seconds=None, most_rows=10, most_bytes=1 << 20)
        )
        assert (await deletion).deleted == 1
        await storage_changes.set_text(connection, group, seq, "too late", seq + 2)
    await expiry_of(server)._expire(ranges[0])
    assert [text for _, text in await shown(server, ada, group)] == ["group", "timer", "member", "expire"]
    assert await database.fetch("SELECT FROM message_versions") == []


async def test_sends_go_on_while_messages_are_deleted(server: Server) -> None:
    ada, _, chat_id = await timed(server)
    database = server.database
    await server.send(ada, "3", chat_id=chat_id)
    await let_pass(database, 2 * MINUTE)
    (place,), _ = await expiries.claim(database, retention_seconds=None, limit=10)
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM messages WHERE chat_id = $1 FOR UPDATE", chat_id)
        deletion = asyncio.create_task(
            expiries.delete_due(database, place, retention_seconds=None, most_rows=10, most_bytes=1 << 20)
        )
        while not await database.fetch("SELECT FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        assert (await server.send(ada, "4", chat_id=chat_id)).seq == 4
    assert (await deletion).deleted == 1


async def test_a_chat_that_somebody_locks_for_long_keeps_no_other_from_expiring(
    server: Server,
) -> None:
    ada, _ = await people(server, "Ada", "Bob")
    database = server.database
    first = (await server.send(ada, "1", to="Bob")).chat_id
    second = (await server.send(ada, "1", to="Ada")).chat_id
    for chat_id in (first, second):
        await timers.set_timer(database, ada, chat_id, MINUTE)
        await server.send(ada, "3", chat_id=chat_id)
    await let_pass(database, 2 * MINUTE)
    async with database.transaction() as connection:
        await connection.execute("SELECT FROM chats WHERE chat_id = $1 FOR UPDATE", first)
        await expiry_of(server).round()
    assert [text for _, text in await shown(server, ada, first)] == ["1", "timer"]
    assert [text for _, text in await shown(server, ada, second)] == ["1", "timer", "expire"]


async def test_who_deletes_their_account_still_has_their_timer_announced(server: Server) -> None:
    (ada,) = await people(server, "Ada")
    bob = await sign_in(server.database, "Bob")
    database = server.database
    chat_id = (await server.send(ada, "1", to="Bob")).chat_id
    await timers.set_timer(database, bob.user.user_id, chat_id, MINUTE)
    await server.send(ada, "3", chat_id=chat_id)
    deletions = Deletions(database, Devices(database))
    await deletions.delete_account(principal_of(bob))
    await deletions.sweep()
    await expire(server)
    row = (await rows_of(server, ada, chat_id))[-1]
    assert (row.kind, row.from_name) == ("expire", "deleted user")


async def test_two_servers_share_the_work(read_dsn: Callable[[], str]) -> None:
    async with running_server(read_dsn, "server-1") as one, running_server(read_dsn, "server-2") as two:
        (ada,) = await people(one, "Ada")
        ids = []
        for number in range(20):
            await sign_in(one.database, f"u{number}")
            chat_id = (await one.send(ada, "1", to=f"u{number}")).chat_id
            await timers.set_timer(one.database, ada, chat_id, MINUTE)
            await one.send(ada, "3", chat_id=chat_id)
            ids.append(chat_id)
        await let_pass(one.database, 2 * MINUTE)
        await asyncio.gather(expiry_of(one).round(), expiry_of(two).round())
        for chat_id in ids:
            assert [text for _, text in await shown(one, ada, chat_id)] == ["1", "timer", "expire"]


async def test_a_large_expiry_goes_in_batches_and_is_announced_once(server: Server) -> None:
    ada, _, chat_id = await timed(server)
    database = server.database
    await server.fill(
        "INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at) "
        "SELECT $1, n, $2, 'x', now() FROM generate_series(3, 2000) AS n",
        chat_id,
        ada,
    )
    await database.execute("UPDATE chats SET last_seq = 2000 WHERE chat_id = $1", chat_id)
    await let_pass(database, 2 * MINUTE)
    metrics = Metrics().expiry
    await Expiry(database, metrics).round()
    assert (metrics.deleted.value, metrics.announced.value) == (1998, 1)
    assert (await rows_of(server, ada, chat_id))[-1].detail == {"from_seq": 3, "up_to_seq": 2000}


async def test_the_lag_is_how_long_the_oldest_has_been_due(server: Server) -> None:
    ada, _ = await people(server, "Ada", "Bob")
    database = server.database
    assert await expiries.lag_seconds(database) == 0
    chat_id = (await server.send(ada, "1", to="Bob")).chat_id
    await timers.set_timer(database, ada, chat_id, MINUTE)
    await server.send(ada, "3", chat_id=chat_id)
    assert await expiries.lag_seconds(database) == 0
    await let_pass(database, 10 * MINUTE)
    assert 9 * MINUTE <= await expiries.lag_seconds(database) < 20 * MINUTE
    await expiry_of(server).round()
    assert await expiries.lag_seconds(database) == 0


# --- the retention of all chats


async def test_the_retention_deletes_what_is_older_in_all_chats(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob"])).group_id
    direct = (await server.send(ada, "old", to="Bob")).chat_id
    client_id = str(uuid.uuid4())
    await server.send(ada, "old", chat_id=group, client_id=client_id)
    await changes.edit_message(database, ada, group, 2, "old and edited")
    await let_pass(database, 8 * DAY)
    young = (await server.send(cy, "young", to="Ada")).chat_id
    await server.send(bob, "new", chat_id=direct)
    await changes.put_reaction(database, bob, group, 2, "👍")
    week = Expiry(database, Metrics().expiry, retention_days=7)
    await Expiry(database, Metrics().expiry, retention_days=9).round()
    assert await shown(server, ada, direct) == [(1, "old"), (2, "new")]
    await week.round()
    assert await shown(server, ada, direct) == [(2, "new"), (3, "expire")]
    assert await shown(server, ada, group) == [(1, "group"), (5, "expire")]
    assert await shown(server, ada, young) == [(1, "young")]
    assert (await rows_of(server, bob, group))[-1].detail == {"from_seq": 1, "up_to_seq": 3}
    assert (await server.send(ada, "old", chat_id=group, client_id=client_id)).duplicate
    # The next walk is hours away, and then takes what has become older.
    await week.round()
    assert len(await shown(server, ada, direct)) == 2
    await let_pass(database, 8 * DAY)
    await database.execute("UPDATE retention_walk SET began_at = '-infinity'")
    await week.round()
    assert await shown(server, ada, direct) == [(4, "expire")]
    assert await shown(server, ada, young) == [(2, "expire")]


async def test_a_walk_through_the_chats_takes_steps_that_servers_share(server: Server) -> None:
    (ada,) = await people(server, "Ada")
    database = server.database
    for name in ("Bob", "Cy", "Dee"):
        await sign_in(database, name)
        await server.send(ada, "old", to=name)
    await let_pass(database, 2 * DAY)

    async def step() -> bool:
        return await retention.step(database, seconds=DAY, most_chats=2, period_seconds=3600)

    assert [await step(), await step(), await step()] == [True, False, False]
    assert len(await database.fetch("SELECT FROM expiries WHERE from_seq = 1 AND due_at IS NOT NULL")) == 3


async def test_a_retention_that_is_switched_off_deletes_nothing_more(server: Server) -> None:
    ada, _ = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "old", to="Bob")).chat_id
    await let_pass(database, 2 * DAY)
    await retention.step(database, seconds=DAY, most_chats=10, period_seconds=3600)
    await expiry_of(server).round()
    assert await shown(server, ada, chat_id) == [(1, "old")]
    assert await expiries.lag_seconds(database) == 0


# --- clients


async def test_a_device_that_follows_ends_with_what_one_that_fetches_gets(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "1", to="Bob")).chat_id
    replica, cursor = Replica(bob), None

    async def follow() -> None:
        nonlocal cursor
        page = await feed.read_feed(database, bob, since=cursor, events=True, limit=1000)
        cursor = page.next_since
        for row in page.rows:
            replica.apply(as_client_sees(row))

    await timers.set_timer(database, ada, chat_id, MINUTE)
    await server.send(ada, "3", chat_id=chat_id)
    await changes.edit_message(database, ada, chat_id, 3, "edited")
    await changes.put_reaction(database, ada, chat_id, 1, "👍")
    await follow()
    await server.send(ada, "6", chat_id=chat_id)
    await expire(server)
    await server.send(ada, "8", chat_id=chat_id)
    await follow()
    fresh = {
        (row.chat_id, row.seq): as_client_sees(row)
        for row in await rows_of(server, bob, chat_id)
        if row.kind == "message"
    }
    assert sorted(seq for _, seq in fresh) == [1, 8]
    # The clock of this test moves the times of rows.
    for copy in (replica.messages, fresh):
        for row in copy.values():
            row.update(created_at="", timestamp=0)
    assert replica.messages == fresh
