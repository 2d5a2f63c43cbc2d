"""Chats, history, groups, receipts and sync, as members see them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatserver.errors import ChatNotFound, NotAMember, NotAnAdmin, UserNotFound, ValidationFailed
from chatserver.hints import Hint
from chatserver.messaging import chats, feed, groups, sync
from chatserver.messaging.group_edits import GroupChange, change_group
from chatserver.messaging.receipts import Receipts
from chatserver.model import MemberWatermarks, ReceiptMark
from chatserver.storage.publishing import notify
from tests.support.people import Server, running_server, sign_in
from tests.support.playedbus import published

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


async def test_list_has_last_message_unread_and_members(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    await server.send(ada.user.user_id, "one", to="Bob")
    await server.send(ada.user.user_id, "two", to="Bob")
    sent = await server.send(bob.user.user_id, "three", to="Ada")
    group = await groups.create_group(server.database, ada.user.user_id, "team", ["bob"])
    page = await chats.list_chats(server.database, bob.user.user_id)
    assert [chat.chat_id for chat in page.chats] == [group.chat_id, sent.chat_id]
    team, direct = page.chats
    assert (team.kind, team.group and team.group.group_name, team.unread, team.last_message) == (
        "group",
        "team",
        0,
        None,
    )
    assert (direct.kind, direct.unread, direct.last_seq) == ("direct", 2, 3)
    assert direct.last_message is not None
    assert direct.last_message.text == "three"
    assert [(member.username, member.role) for member in team.members] == [("Ada", "admin"), ("Bob", "member")]
    await server.receipts.mark(bob.user.user_id, {sent.chat_id: ReceiptMark(read_seq=1)})
    assert (await chats.get_chat(server.database, bob.user.user_id, sent.chat_id)).unread == 1


async def test_list_is_paged_without_holes_or_repeats(server: Server) -> None:
    ada = await sign_in(server.database, "Ada")
    for number in range(7):
        await sign_in(server.database, f"p{number}")
        await server.send(ada.user.user_id, "hi", to=f"p{number}")
    cursor, found = None, []
    for _page in range(4):
        page = await chats.list_chats(server.database, ada.user.user_id, limit=2, cursor=cursor)
        found += [chat.members[1].username for chat in page.chats]
        cursor = page.next_cursor
    assert found == [f"p{number}" for number in reversed(range(7))]
    assert cursor is None
    with pytest.raises(ValidationFailed):
        await chats.list_chats(server.database, ada.user.user_id, cursor="x")


async def test_a_walk_through_the_list_misses_no_chat_that_becomes_active_meanwhile(server: Server) -> None:
    ada = (await sign_in(server.database, "Ada")).user.user_id
    ids = []
    for number in range(7):
        await sign_in(server.database, f"p{number}")
        ids.append((await server.send(ada, "hi", to=f"p{number}")).chat_id)
    page = await chats.list_chats(server.database, ada, limit=3)
    found = [chat.chat_id for chat in page.chats]
    # The oldest moves from the page to come to the one that was had.
    await server.send(ada, "woken", chat_id=ids[0])
    pages = 1
    while page.next_cursor is not None:
        page = await chats.list_chats(server.database, ada, limit=3, cursor=page.next_cursor)
        found += [chat.chat_id for chat in page.chats]
        pages += 1
        if pages == 2:
            # Between the last page of all chats and the one of those that moved up.
            await server.send(ada, "woken", chat_id=ids[1])
    # Those of before, and then once more what has changed meanwhile.
    assert found == [*reversed(ids[1:]), ids[1], ids[0]]
    assert set(found) == set(ids)
    # One page is one snapshot: nothing can have changed meanwhile.
    whole = await chats.list_chats(server.database, ada, limit=7)
    assert (len(whole.chats), whole.next_cursor) == (7, None)


async def test_history_is_paged_both_ways(server: Server) -> None:
    ada, _ = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    for number in range(1, 11):
        chat_id = (await server.send(ada.user.user_id, str(number), to="Bob")).chat_id

    async def seqs(**arguments: int) -> tuple[list[int], bool]:
        page = await chats.read_history(server.database, ada.user.user_id, chat_id, **arguments)
        return [row.seq for row in page.rows], page.more

    assert await seqs(limit=4) == ([7, 8, 9, 10], True)
    assert await seqs(before=7, limit=4) == ([3, 4, 5, 6], True)
    assert await seqs(before=3, limit=4) == ([1, 2], False)
    assert await seqs(after=0, limit=4) == ([1, 2, 3, 4], True)
    assert await seqs(after=8, limit=4) == ([9, 10], False)
    assert await seqs(after=2, before=5, limit=4) == ([3, 4], False)


async def test_group_changes_are_events_and_roles_are_kept(server: Server) -> None:
    ada, bob, cy = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Cy")]
    database = server.database
    group = await groups.create_group(
        database, ada.user.user_id, " team ", ["Bob", "bob", "Ada", bob.user.phone_number]
    )
    assert [member.user_id for member in group.members] == [ada.user.user_id, bob.user.user_id]
    with pytest.raises(NotAnAdmin):
        await change_group(database, bob.user.user_id, group.group_id, GroupChange(group_name="mine"))
    with pytest.raises(ChatNotFound):
        await change_group(database, cy.user.user_id, group.group_id, GroupChange(group_name="mine"))
    renamed = await change_group(database, ada.user.user_id, group.group_id, GroupChange(group_name="crew"))
    assert (renamed.fields.group_name, renamed.seq) == ("crew", 2)
    assert (await change_group(database, ada.user.user_id, group.group_id, GroupChange(group_name="crew"))).seq is None
    await groups.add_member(database, ada.user.user_id, group.group_id, cy.user.user_id)
    with pytest.raises(ValidationFailed):
        await groups.set_role(database, ada.user.user_id, group.group_id, ada.user.user_id, "member")
    await groups.set_role(database, ada.user.user_id, group.group_id, cy.user.user_id, "admin")
    await groups.remove_member(database, cy.user.user_id, group.group_id, ada.user.user_id)
    with pytest.raises(NotAMember):
        await change_group(database, ada.user.user_id, group.group_id, GroupChange(group_name="again mine"))
    left = await groups.remove_member(database, cy.user.user_id, group.group_id, cy.user.user_id)
    assert [(member.user_id, member.role) for member in left.members] == [(bob.user.user_id, "admin")]
    history = await chats.read_history(database, bob.user.user_id, group.chat_id)
    assert [(row.seq, row.kind, row.from_name, row.detail and row.detail["action"]) for row in history.rows] == [
        (1, "group", "Ada", "created"),
        (2, "group", "Ada", "renamed"),
        (3, "member", "Ada", "added"),
        (4, "member", "Ada", "role"),
        (5, "member", "Cy", "removed"),
        (6, "member", "Cy", "role"),
        (7, "member", "Cy", "left"),
    ]
    page = await feed.read_feed(database, bob.user.user_id)
    assert page.rows == ()
    view = await database.fetch("SELECT user_id, role FROM group_members WHERE group_id = $1", group.group_id)
    assert [tuple(row) for row in view] == [(bob.user.user_id, "admin")]


async def test_group_with_an_unknown_member_is_not_made(server: Server) -> None:
    ada, _ = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    with pytest.raises(UserNotFound) as caught:
        await groups.create_group(server.database, ada.user.user_id, "team", ["Bob", "nobody"])
    assert [error.path for error in caught.value.errors] == ["members[1]"]
    assert (await server.database.fetch("SELECT count(*) FROM chats"))[0][0] == 0


async def test_receipts_only_rise_and_tell_only_changes(server: Server) -> None:
    heard: list[Hint] = []
    listener = await server.database.listen(lambda payload: heard.append(Hint.decode(payload)))
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    for number in range(5):
        chat_id = (await server.send(ada.user.user_id, str(number), to="Bob")).chat_id
    me, database = bob.user.user_id, server.database

    async def mark(**seqs: int) -> list[MemberWatermarks]:
        raised = await Receipts(database).mark(me, {chat_id: ReceiptMark(**seqs), 987654: ReceiptMark(read_seq=1)})
        # Otherwise the hints of two that follow each other at once go as one.
        await published(database)
        return raised

    assert await mark(delivered_seq=3) == [MemberWatermarks(chat_id, me, 3, 0)]
    assert await mark(delivered_seq=2) == []
    assert await mark(read_seq=2) == [MemberWatermarks(chat_id, me, 3, 2)]
    assert await mark(read_seq=4) == [MemberWatermarks(chat_id, me, 4, 4)]
    assert await mark(read_seq=3, delivered_seq=3) == []
    assert await mark(read_seq=99) == [MemberWatermarks(chat_id, me, 5, 5)]
    with pytest.raises(ValidationFailed):
        await mark(read_seq=-1)
    await notify(database, [Hint("end", revoked=(1,))])
    while not heard or heard[-1].origin != "end":
        await asyncio.sleep(0.01)
    told = [receipt for hint in heard for receipt in hint.receipts]
    assert told == [(chat_id, me, 3, 0), (chat_id, me, 3, 2), (chat_id, me, 4, 4), (chat_id, me, 5, 5)]
    log = await database.fetch("SELECT kind, up_to_seq FROM receipts ORDER BY at, kind")
    assert [tuple(row) for row in log] == [
        ("delivered", 3), ("read", 2), ("delivered", 4), ("read", 4), ("delivered", 5), ("read", 5),
    ]  # fmt: skip
    listener.close()


async def test_status_is_the_least_over_the_others(server: Server) -> None:
    ada, bob, cy = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Cy")]
    group = await groups.create_group(server.database, ada.user.user_id, "team", ["Bob", "Cy"])
    sent = await server.send(ada.user.user_id, "hello", chat_id=group.chat_id)

    async def status() -> str:
        return (await feed.read_feed(server.database, ada.user.user_id)).rows[0].status

    async def mark(user_id: int, **seqs: int) -> None:
        await server.receipts.mark(user_id, {group.chat_id: ReceiptMark(**seqs)})

    assert await status() == "sent"
    await mark(bob.user.user_id, read_seq=sent.seq)
    assert await status() == "sent"
    await mark(cy.user.user_id, delivered_seq=sent.seq)
    assert await status() == "delivered"
    await mark(cy.user.user_id, read_seq=sent.seq)
    assert await status() == "read"
    dan = await sign_in(server.database, "Dan")
    await groups.add_member(server.database, ada.user.user_id, group.group_id, dan.user.user_id)
    assert await status() == "read"


async def test_receipt_that_waited_for_a_higher_one_does_not_lower_it(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    for number in range(9):
        chat_id = (await server.send(ada.user.user_id, str(number), to="Bob")).chat_id
    async with server.database.transaction() as connection:
        await connection.execute(
            "UPDATE chat_members SET delivered_seq = 8, read_seq = 8 WHERE chat_id = $1 AND user_id = $2",
            chat_id,
            bob.user.user_id,
        )
        marks = {chat_id: ReceiptMark(delivered_seq=9, read_seq=3)}
        marking = asyncio.create_task(server.receipts.mark(bob.user.user_id, marks))
        while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    assert await marking == [MemberWatermarks(chat_id, bob.user.user_id, 9, 8)]


async def test_concurrent_receipts_never_fall_and_never_deadlock(read_dsn: Callable[[], str]) -> None:
    async with running_server(read_dsn, "a") as one, running_server(read_dsn, "b") as two:
        ada, bob = await sign_in(one.database, "Ada"), await sign_in(one.database, "Bob")
        chat_ids = []
        for number in range(4):
            group = await groups.create_group(one.database, ada.user.user_id, f"g{number}", ["Bob"])
            chat_ids.append(group.chat_id)
            for count in range(30):
                await one.send(ada.user.user_id, str(count), chat_id=group.chat_id)

        async def raise_in(server: Server, order: list[int]) -> list[MemberWatermarks]:
            told: list[MemberWatermarks] = []
            for seq in range(1, 32):
                marks = {chat_id: ReceiptMark(delivered_seq=seq, read_seq=seq - 1) for chat_id in order}
                told += await server.receipts.mark(bob.user.user_id, marks)
            return told

        await asyncio.gather(raise_in(one, chat_ids), raise_in(two, chat_ids[::-1]), raise_in(two, chat_ids))
        for chat_id in chat_ids:
            marks = {item.user_id: item for item in await sync.receipts_of(one.database, [chat_id])}
            assert marks[bob.user.user_id] == MemberWatermarks(chat_id, bob.user.user_id, 31, 30)
            log = await one.database.fetch(
                "SELECT up_to_seq FROM receipts WHERE chat_id = $1 AND kind = 'read' ORDER BY at", chat_id
            )
            assert [row[0] for row in log] == list(range(1, 31))


async def test_sync_brings_what_is_missing_in_named_and_unnamed_chats(server: Server) -> None:
    ada, bob, _ = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Cy")]
    for number in range(1, 6):
        known = (await server.send(ada.user.user_id, f"k{number}", to="Bob")).chat_id
    group = await groups.create_group(server.database, ada.user.user_id, "team", ["Bob"])
    await server.send(ada.user.user_id, "t2", chat_id=group.chat_id)
    foreign = (await server.send(ada.user.user_id, "secret", to="Cy")).chat_id
    have = {known: 3, foreign: 0, -4: 2}
    result = await sync.sync_user(server.database, bob.user.user_id, have)
    assert [(row.chat_id, row.seq) for row in result.rows] == [
        (group.chat_id, 1), (group.chat_id, 2), (known, 4), (known, 5),
    ]  # fmt: skip
    assert not result.more
    assert {chat.chat_id: chat.last_seq for chat in result.chats} == {known: 5, group.chat_id: 2}
    assert [member.username for member in result.chats[0].members or ()] == ["Ada", "Bob"]
    rows, have = [], {known: 0}
    while True:
        part = await sync.sync_user(server.database, bob.user.user_id, have, limit=2)
        for row in part.rows:
            assert row.seq == have.get(row.chat_id, 0) + 1
            have[row.chat_id] = row.seq
            rows.append((row.chat_id, row.seq))
        if not part.more:
            break
    assert sorted(rows) == sorted([(known, seq) for seq in range(1, 6)] + [(group.chat_id, 1), (group.chat_id, 2)])
    assert await sync.positions(server.database, [bob.user.user_id]) == {
        bob.user.user_id: {known: 5, group.chat_id: 2},
    }
    places = [(bob.user.user_id, known), (bob.user.user_id, group.chat_id), (bob.user.user_id, foreign), (1, 987654)]
    assert await sync.joined(server.database, places) == {
        (bob.user.user_id, known): (0, 5),
        (bob.user.user_id, group.chat_id): (0, 2),
    }
    assert await sync.members_of(server.database, [known]) == {known: (ada.user.user_id, bob.user.user_id)}


async def test_sync_tells_members_of_the_smallest_chats_when_there_are_too_many(server: Server) -> None:
    ada, _bob, _cy = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Cy")]
    small = (await server.send(ada.user.user_id, "x", to="Bob")).chat_id
    large = (await groups.create_group(server.database, ada.user.user_id, "team", ["Bob", "Cy"])).chat_id
    for most_members, told in (
        (5, {small: 2, large: 3}),
        (4, {small: 2, large: None}),
        (1, {small: None, large: None}),
    ):
        result = await sync.sync_user(server.database, ada.user.user_id, {}, most_members=most_members)
        assert {c.chat_id: None if c.members is None else len(c.members) for c in result.chats} == told
        assert {c.chat_id: c.last_seq for c in result.chats} == {small: 1, large: 1}


async def test_a_former_member_sees_the_name_that_the_group_had_then(server: Server) -> None:
    ada, bob, cy = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Cy")]
    database, admin = server.database, ada.user.user_id
    group_id = (await groups.create_group(database, admin, "first", ["Bob", "Cy"])).group_id

    async def named(user_id: int) -> list[str | None]:
        listed = (await chats.list_chats(database, user_id)).chats
        found = [await chats.get_chat(database, user_id, group_id), *listed]
        return [None if chat.group is None else chat.group.group_name for chat in found]

    await groups.remove_member(database, admin, group_id, bob.user.user_id)
    await change_group(database, admin, group_id, GroupChange(group_name="second"))
    await groups.remove_member(database, admin, group_id, cy.user.user_id)
    await change_group(database, admin, group_id, GroupChange(group_name="secret"))
    assert [await named(each.user.user_id) for each in (ada, bob, cy)] == [
        ["secret", "secret"],
        ["first", "first"],
        ["second", "second"],
    ]
    await groups.add_member(database, admin, group_id, bob.user.user_id)
    assert await named(bob.user.user_id) == ["secret", "secret"]
