"""What is a user's own of a chat: settings, stars, cleared rows. And message info."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.errors import ChatNotFound, Forbidden, MessageNotFound, NotAMember, ValidationFailed
from chatserver.messaging import changes, chats, feed, groups, message_info, own_chats, stars, sync
from chatserver.messaging.own_chats import SettingsChange
from chatserver.model import Change, ChatSettings, ReceiptMark
from chatserver.storage.message_info import MemberTimes
from chatserver.storage.relations import relations
from chatserver.users import blocks
from tests.support.people import Server, people, principal_of, running_server, sign_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.model import MessageRow

pytestmark = pytest.mark.integration

FOR_EVER = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)


async def own_rows(server: Server, user_id: int, self_id: int) -> list[MessageRow]:
    """Return the rows of a user's own chat that are about chats."""
    rows = (await chats.read_history(server.database, user_id, self_id)).rows
    return [row for row in rows if row.kind in {"settings", "clear", "star"}]


# --- settings


async def test_settings_are_one_users_and_the_newest_row_of_the_own_chat_is_the_state(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    chat_id = (await server.send(ada, "hi", to="Bob")).chat_id
    database = server.database
    muted = await own_chats.change_settings(database, bob, chat_id, SettingsChange(muted_until=FOR_EVER))
    changed = await own_chats.change_settings(database, bob, chat_id, SettingsChange(archived=True, pinned=True))
    again = await own_chats.change_settings(database, bob, chat_id, SettingsChange(archived=True, pinned=True))
    assert again == Change(muted.chat_id, None)
    settings = (await chats.get_chat(database, bob, chat_id)).settings
    assert settings.pinned_at_us is not None
    assert settings == ChatSettings(253_402_300_799_000_000, settings.pinned_at_us, archived=True)
    assert [chat.settings for chat in (await chats.list_chats(database, bob)).chats] == [settings]
    assert (await chats.get_chat(database, ada, chat_id)).settings == ChatSettings()
    first, last = await own_rows(server, bob, muted.chat_id)
    assert (first.seq, last.seq) == (muted.seq, changed.seq)
    assert last.detail is not None
    assert {**last.detail, "pinned_at": None} == {
        "target_chat_id": chat_id,
        "muted_until": "9999-12-31T23:59:59.000000Z",
        "pinned_at": None,
        "archived": True,
        "marked_unread": False,
    }
    await own_chats.change_settings(
        database, bob, chat_id, SettingsChange(muted_until=None, archived=False, pinned=False, marked_unread=True)
    )
    assert (await chats.get_chat(database, bob, chat_id)).settings == ChatSettings(marked_unread=True)


async def test_an_empty_change_of_settings_changes_nothing(server: Server) -> None:
    ada, _ = await people(server, "Ada", "Bob")
    chat_id = (await server.send(ada, "hi", to="Bob")).chat_id
    assert (await own_chats.change_settings(server.database, ada, chat_id, SettingsChange())).seq is None


@pytest.mark.parametrize(
    "moment",
    [
        dt.datetime(1970, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))),
        dt.datetime(9999, 12, 31, 23, tzinfo=dt.timezone(dt.timedelta(hours=-2))),
        dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=14))),
    ],
)
async def test_a_time_that_no_database_can_hold_is_rejected(server: Server, moment: dt.datetime) -> None:
    ada, _ = await people(server, "Ada", "Bob")
    chat_id = (await server.send(ada, "hi", to="Bob")).chat_id
    with pytest.raises(ValidationFailed, match="muted_until"):
        await own_chats.change_settings(server.database, ada, chat_id, SettingsChange(muted_until=moment))


async def test_nobody_sets_anything_for_a_chat_that_is_none_of_theirs(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    chat_id = (await server.send(ada, "hi", to="Bob")).chat_id
    self_id = (await changes.hide_message(database, bob, chat_id, 1)).chat_id
    for user_id, target in ((cy, chat_id), (cy, 10**9), (bob, self_id), (bob, 0), (bob, 2**60)):
        with pytest.raises(ChatNotFound):
            await own_chats.change_settings(database, user_id, target, SettingsChange(archived=True))
        with pytest.raises(ChatNotFound):
            await own_chats.clear_history(database, user_id, target, 1)


# --- clearing


async def test_cleared_rows_are_gone_everywhere_for_one_user_alone(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "one", to="Bob")).chat_id
    await server.send(ada, "two", chat_id=chat_id)
    await changes.edit_message(database, ada, chat_id, 1, "edited")
    await server.send(ada, "four", chat_id=chat_id)
    cleared = await own_chats.clear_history(database, bob, chat_id, 2)
    assert await own_chats.clear_history(database, bob, chat_id, 2) == Change(cleared.chat_id, None)
    assert await own_chats.clear_history(database, bob, chat_id, 1) == Change(cleared.chat_id, None)
    (row,) = await own_rows(server, bob, cleared.chat_id)
    assert (row.kind, row.target_seq, row.detail) == ("clear", 2, {"target_chat_id": chat_id})
    # The edit is about a row that is gone.
    assert [row.seq for row in (await chats.read_history(database, bob, chat_id)).rows] == [4]
    assert [row.text for row in (await feed.read_feed(database, bob)).rows] == ["four"]
    assert [row.seq for row in (await sync.sync_user(database, bob, {})).rows if row.chat_id == chat_id] == [4]
    assert (await chats.get_chat(database, bob, chat_id)).unread == 1
    with pytest.raises(MessageNotFound):
        await changes.put_reaction(database, bob, chat_id, 1, "👍")
    with pytest.raises(MessageNotFound):
        await changes.hide_message(database, bob, chat_id, 2)
    with pytest.raises(ValidationFailed):
        await server.send(bob, "reply", chat_id=chat_id, reply_to=2)
    assert [row.seq for row in (await chats.read_history(database, ada, chat_id)).rows] == [1, 2, 3, 4]


async def test_a_chat_that_is_cleared_to_its_end_stays_in_the_list(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "one", to="Bob")).chat_id
    assert (await own_chats.clear_history(database, bob, chat_id, 10**15)).seq is not None
    (chat,) = (await chats.list_chats(database, bob)).chats
    assert (chat.chat_id, chat.last_seq, chat.last_message, chat.unread) == (chat_id, 1, None, 0)
    # Not more than there was: what comes is shown.
    await server.send(ada, "two", chat_id=chat_id)
    assert [row.seq for row in (await chats.read_history(database, bob, chat_id)).rows] == [2]


async def test_clearing_makes_nobody_a_newer_member_and_ends_no_acquaintance(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob"])).group_id
    await groups.add_member(database, ada, group, cy)
    last_seq = (await server.send(ada, "hi", chat_id=group)).seq
    await own_chats.clear_history(database, bob, group, last_seq)
    assert [member.user_id for member in (await chats.get_chat(database, ada, group)).members] == [ada, bob, cy]
    # Bob is the one who has been there longest, although he sees less than Cy.
    await groups.remove_member(database, ada, group, ada)
    roles = {member.user_id: member.role for member in (await chats.get_chat(database, cy, group)).members}
    assert roles == {bob: "admin", cy: "member"}
    last_seq = (await chats.get_chat(database, ada, group)).last_seq
    await own_chats.clear_history(database, ada, group, last_seq)
    relation = (await relations_of(server, ada, bob), await relations_of(server, bob, ada))
    assert relation == (True, True)


async def relations_of(server: Server, viewer_id: int, user_id: int) -> bool:
    return (await relations(server.database, [(viewer_id, user_id)]))[viewer_id, user_id].former


async def test_who_left_and_cleared_comes_back_to_what_is_said_from_then_on(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob"])).group_id
    await server.send(ada, "before", chat_id=group)
    await groups.remove_member(database, bob, group, bob)
    left_seq = (await chats.get_chat(database, bob, group)).last_seq
    await own_chats.clear_history(database, bob, group, 10**15)
    assert (await chats.get_chat(database, bob, group)).last_seq == left_seq
    await server.send(ada, "while away", chat_id=group)
    await groups.add_member(database, ada, group, bob)
    await server.send(ada, "after", chat_id=group)
    rows = (await chats.read_history(database, bob, group)).rows
    assert [(row.kind, row.text) for row in rows] == [("member", None), ("message", "after")]


async def test_a_status_says_nothing_of_who_has_cleared(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    chat_id = (await server.send(ada, "one", to="Bob")).chat_id
    await own_chats.clear_history(server.database, bob, chat_id, 1)

    async def status() -> str:
        (row,) = (await chats.read_history(server.database, ada, chat_id)).rows
        return row.status

    assert await status() == "sent"
    await server.receipts.mark(bob, {chat_id: ReceiptMark(read_seq=1)})
    assert await status() == "read"


async def test_the_list_of_chats_reads_no_row_of_a_cleared_history(read_dsn: Callable[[], str]) -> None:
    # One connection: statistics of others would arrive later.
    async with running_server(read_dsn, pool_size=1) as server:
        database = server.database
        ada, bob = await people(server, "Ada", "Bob")
        chat_id = (await server.send(ada, "one", to="Bob")).chat_id
        await server.fill(
            "INSERT INTO messages (chat_id, seq, sender_id, message_text, created_at) "
            "SELECT $1, n, $2, 'x', now() FROM generate_series(2, 5000) AS n",
            chat_id,
            ada,
        )
        await database.execute("UPDATE chats SET last_seq = 5000 WHERE chat_id = $1", chat_id)
        await database.execute("ANALYZE messages")
        await own_chats.clear_history(database, bob, chat_id, 4999)

        async def fetched() -> int:
            await database.execute("SELECT pg_stat_force_next_flush()")
            (row,) = await database.fetch(
                "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_user_tables WHERE relname = 'messages'"
            )
            return int(row[0])

        before = await fetched()
        (chat,) = (await chats.list_chats(database, bob)).chats
        assert (chat.unread, await fetched() - before) == (1, 3)


# --- stars


async def test_stars_are_listed_newest_first_page_by_page(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "1", to="Bob")).chat_id
    for number in range(2, 6):
        await server.send(ada, str(number), chat_id=chat_id)
    for seq in (3, 1, 5):
        assert (await stars.set_star(database, bob, chat_id, seq, starred=True)).seq is not None
    assert (await stars.set_star(database, bob, chat_id, 3, starred=True)).seq is None
    page = await stars.list_stars(database, bob, limit=2)
    assert [star.row.text for star in page.stars] == ["5", "1"]
    assert page.next_cursor is not None
    onward = await stars.list_stars(database, bob, limit=2, cursor=page.next_cursor)
    assert ([star.row.text for star in onward.stars], onward.next_cursor) == (["3"], None)
    assert (await stars.list_stars(database, ada)).stars == ()
    removed = await stars.set_star(database, bob, chat_id, 1, starred=False)
    assert (await stars.set_star(database, bob, chat_id, 1, starred=False)).seq is None
    rows = await own_rows(server, bob, removed.chat_id)
    assert [(row.target_seq, (row.detail or {})["action"]) for row in rows] == [
        (3, "added"), (1, "added"), (5, "added"), (1, "removed"),
    ]  # fmt: skip
    with pytest.raises(ValidationFailed, match="cursor"):
        await stars.list_stars(database, bob, cursor="c1.AAAA")


async def test_a_star_goes_with_what_its_message_says(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "1", to="Bob")).chat_id
    for number in range(2, 5):
        await server.send(ada, str(number), chat_id=chat_id)
    for seq in range(1, 5):
        await stars.set_star(database, bob, chat_id, seq, starred=True)
    await own_chats.clear_history(database, bob, chat_id, 1)
    await changes.hide_message(database, bob, chat_id, 2)
    await changes.delete_message(database, ada, chat_id, 3)
    await changes.edit_message(database, ada, chat_id, 4, "four")
    assert [star.row.text for star in (await stars.list_stars(database, bob)).stars] == ["four"]
    for seq in (1, 2, 3, 9):
        with pytest.raises(MessageNotFound):
            await stars.set_star(database, bob, chat_id, seq, starred=True)
    (left,) = await database.fetch("SELECT count(*) FROM stars WHERE seq < 3")
    assert left[0] == 0


async def test_who_has_left_keeps_the_stars_of_what_they_saw(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob"])).group_id
    seq = (await server.send(ada, "before", chat_id=group)).seq
    await stars.set_star(database, bob, group, seq, starred=True)
    await groups.remove_member(database, ada, group, bob)
    await changes.edit_message(database, ada, group, seq, "after")
    assert [star.row.text for star in (await stars.list_stars(database, bob)).stars] == ["before"]
    later = (await server.send(ada, "unseen", chat_id=group)).seq
    with pytest.raises(MessageNotFound):
        await stars.set_star(database, bob, group, later, starred=True)


async def test_a_deleted_account_leaves_no_stars(server: Server) -> None:
    database = server.database
    (ada,) = await people(server, "Ada")
    bob = await sign_in(database, "Bob")
    chat_id = (await server.send(ada, "1", to="Bob")).chat_id
    for user_id in (ada, bob.user.user_id):
        await stars.set_star(database, user_id, chat_id, 1, starred=True)
    deletions = Deletions(database, Devices(database))
    await deletions.delete_account(principal_of(bob))
    await deletions.sweep()
    assert [row[0] for row in await database.fetch("SELECT user_id FROM stars")] == [ada]


# --- message info


async def test_info_says_when_each_member_received_and_read(server: Server) -> None:
    ada, bob, cy, dee = await people(server, "Ada", "Bob", "Cy", "Dee")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob", "Cy"])).group_id
    seq = (await server.send(ada, "one", chat_id=group)).seq
    await groups.add_member(database, ada, group, dee)
    assert await message_info.read_info(database, ada, group, seq) == (MemberTimes(bob), MemberTimes(cy))
    await server.receipts.mark(bob, {group: ReceiptMark(delivered_seq=seq)})
    (at_bob, at_cy) = await message_info.read_info(database, ada, group, seq)
    assert at_bob.delivered_at_us is not None
    assert (at_bob.read_at_us, at_cy) == (None, MemberTimes(cy))
    later = (await server.send(ada, "two", chat_id=group)).seq
    await server.receipts.mark(bob, {group: ReceiptMark(read_seq=later)})
    await groups.remove_member(database, ada, group, cy)
    (again, gone) = await message_info.read_info(database, ada, group, seq)
    assert again.delivered_at_us == at_bob.delivered_at_us
    assert again.read_at_us is not None
    assert again.read_at_us > at_bob.delivered_at_us
    assert gone == MemberTimes(cy)
    after = (await server.send(ada, "three", chat_id=group)).seq
    assert [member.user_id for member in await message_info.read_info(database, ada, group, after)] == [bob, dee]
    await own_chats.clear_history(database, bob, group, after)
    assert [member.user_id for member in await message_info.read_info(database, ada, group, after)] == [bob, dee]


async def test_info_is_the_senders_who_is_still_there(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob"])).group_id
    seq = (await server.send(bob, "one", chat_id=group)).seq
    with pytest.raises(Forbidden):
        await message_info.read_info(database, ada, group, seq)
    with pytest.raises(ChatNotFound):
        await message_info.read_info(database, cy, group, seq)
    # The row of the group's making is no message.
    for none in (1, seq + 1, 0, 2**60):
        with pytest.raises(MessageNotFound):
            await message_info.read_info(database, bob, group, none)
    await groups.remove_member(database, bob, group, bob)
    with pytest.raises(NotAMember):
        await message_info.read_info(database, bob, group, seq)


async def test_info_tells_nothing_across_a_block(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob", "Cy"])).group_id
    seq = (await server.send(ada, "one", chat_id=group)).seq
    for user_id in (bob, cy):
        await server.receipts.mark(user_id, {group: ReceiptMark(read_seq=seq)})
    await blocks.set_block(database, bob, ada, blocked=True)
    (at_bob, at_cy) = await message_info.read_info(database, ada, group, seq)
    assert at_bob == MemberTimes(bob)
    assert at_cy.read_at_us is not None
