"""Blocks: what they refuse, what they leave, and who gets to know."""

from __future__ import annotations

import asyncio

import pytest

from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.errors import Blocked, UserNotFound, ValidationFailed
from chatserver.messaging import changes, chats, feed, groups
from chatserver.messaging.messages import send_message
from chatserver.model import Change, Principal, SendMessage
from chatserver.storage.relations import relations
from chatserver.users import blocks
from chatserver.visibility import STRANGER, Relation
from tests.support.people import Server, people

pytestmark = pytest.mark.integration


async def test_one_own_chat_is_made_however_many_ask_at_once(server: Server) -> None:
    ada, *others = await people(server, "Ada", *(f"u{number}" for number in range(8)))
    made = await asyncio.gather(*(blocks.set_block(server.database, ada, other, blocked=True) for other in others))
    assert len({change.chat_id for change in made}) == 1
    assert sorted(change.seq or 0 for change in made) == list(range(1, 9))
    counted = await server.database.fetch("SELECT count(*) FROM chats WHERE kind = 'self'")
    assert counted[0][0] == 1


async def test_a_first_message_that_is_refused_makes_no_chat(server: Server) -> None:
    ada, bob, cleo = await people(server, "Ada", "Bob", "Cleo")
    await blocks.set_block(server.database, cleo, ada, blocked=True)
    with pytest.raises(ValidationFailed) as caught:
        await send_message(server.database, server.writer, ada, SendMessage(to="Bob", text="x", reply_to=1))
    assert [error.path for error in caught.value.errors] == ["reply_to"]
    for sender, name in ((ada, "Cleo"), (cleo, "Ada")):
        with pytest.raises(Blocked):
            await server.send(sender, "x", to=name)
    # A chat would let Ada see when Bob is online, and Cleo's name, and neither would know of it.
    found = await relations(server.database, [(ada, bob), (ada, cleo)])
    assert found == {(ada, bob): STRANGER, (ada, cleo): Relation(is_blocked=True)}


async def test_a_block_refuses_what_is_new_in_the_direct_chat_alone(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    client_id = "3f2b8c1e-8d5a-4a7e-9c55-0f6f2f6f1c11"
    direct = (await server.send(ada, "hi", to="Bob", client_id=client_id)).chat_id
    await changes.put_reaction(database, ada, direct, 1, "👍")
    team = (await groups.create_group(database, ada, "team", ["Bob"])).chat_id
    since = (await feed.read_feed(database, ada, events=True)).next_since

    blocked = await blocks.set_block(database, bob, ada, blocked=True)
    assert blocked.seq == 1
    assert await blocks.set_block(database, bob, ada, blocked=True) == Change(blocked.chat_id, None)
    assert await blocks.list_blocked(database, bob) == [ada]
    assert await blocks.list_blocked(database, ada) == []
    for sender, name in ((ada, "Bob"), (bob, "Ada")):
        with pytest.raises(Blocked):
            await server.send(sender, "x", to=name)
    for act in (
        changes.edit_message(database, ada, direct, 1, "through the back door"),
        changes.put_reaction(database, ada, direct, 1, "😡"),
    ):
        with pytest.raises(Blocked):
            await act
    # What takes something back, retries, and groups go on.
    assert (await server.send(ada, "hi", chat_id=direct, client_id=client_id)).duplicate
    assert (await changes.put_reaction(database, ada, direct, 1, "👍")).seq is None
    assert (await changes.remove_reaction(database, ada, direct, 1, "👍")).seq is not None
    assert (await changes.delete_message(database, ada, direct, 1)).seq is not None
    assert (await server.send(ada, "all", chat_id=team)).seq == 2
    # The blocked one is not told.
    assert {row.chat_id for row in (await feed.read_feed(database, ada, since=since, events=True)).rows} == {
        direct,
        team,
    }

    ended = await blocks.set_block(database, bob, ada, blocked=False)
    assert ended == Change(blocked.chat_id, 2)
    assert (await blocks.set_block(database, bob, ada, blocked=False)).seq is None
    assert [(row.kind, row.detail) for row in (await chats.read_history(database, bob, blocked.chat_id)).rows] == [
        ("block", {"action": "blocked", "user_ids": [ada]}),
        ("block", {"action": "unblocked", "user_ids": [ada]}),
    ]
    await server.send(ada, "again", to="Bob")


async def test_one_cannot_block_oneself_or_nobody(server: Server) -> None:
    (ada,) = await people(server, "Ada")
    with pytest.raises(ValidationFailed):
        await blocks.set_block(server.database, ada, ada, blocked=True)
    for nobody in (10**9, 0, 2**63):
        with pytest.raises(UserNotFound):
            await blocks.set_block(server.database, ada, nobody, blocked=True)
    # What was refused made no chat.
    assert (await server.database.fetch("SELECT count(*) FROM chats"))[0][0] == 0


async def test_no_way_into_a_group_leads_across_a_block(server: Server) -> None:
    ada, bob, cleo, dan = await people(server, "Ada", "Bob", "Cleo", "Dan")
    database = server.database
    common = (await groups.create_group(database, bob, "common", ["Ada", "Cleo"])).group_id
    await groups.set_role(database, bob, common, cleo, "admin")
    await blocks.set_block(database, ada, bob, blocked=True)
    for maker, name in ((bob, "Ada"), (ada, "Bob")):
        with pytest.raises(Blocked) as caught:
            await groups.create_group(database, maker, "trap", ["Dan", name, "Cleo"])
        assert [error.path for error in caught.value.errors] == ["members[1]"]
    alone = (await groups.create_group(database, bob, "alone", ["Cleo"])).group_id
    await groups.set_role(database, bob, alone, cleo, "admin")
    # Neither by themselves nor by a friend who is an admin too, and not by coming back either.
    await groups.remove_member(database, ada, common, ada)
    for group_id in (alone, common):
        for admin in (bob, cleo):
            with pytest.raises(Blocked):
                await groups.add_member(database, admin, group_id, ada)
    assert (await groups.add_member(database, bob, alone, dan)).seq is not None
    # Once no admin of it is blocked, the others may decide.
    await groups.set_role(database, cleo, common, bob, "member")
    assert (await groups.add_member(database, cleo, common, ada)).seq is not None
    listed = await database.fetch("SELECT group_id FROM group_members WHERE user_id = $1", ada)
    assert [record[0] for record in listed] == [common]


async def test_a_block_keeps_from_giving_power_and_not_from_taking_it(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    group_id = (await groups.create_group(database, bob, "team", ["Ada"])).group_id
    await blocks.set_block(database, ada, bob, blocked=True)
    with pytest.raises(Blocked):
        await groups.set_role(database, bob, group_id, ada, "admin")
    await blocks.set_block(database, ada, bob, blocked=False)
    await groups.set_role(database, bob, group_id, ada, "admin")
    await blocks.set_block(database, ada, bob, blocked=True)
    assert (await groups.set_role(database, bob, group_id, ada, "member")).seq is not None
    assert (await groups.remove_member(database, bob, group_id, ada)).seq is not None


async def test_a_block_of_a_deleted_account_can_be_ended_and_is_swept(server: Server) -> None:
    ada, bob, cleo = await people(server, "Ada", "Bob", "Cleo")
    database = server.database
    for blocker in (ada, cleo):
        await blocks.set_block(database, blocker, bob, blocked=True)
    # Bob's own side of it, which keeps the chat closed.
    await server.database.execute("SELECT open_direct_chat('test', $1, $2)", ada, bob)
    deletions = Deletions(database, Devices(database))
    await deletions.delete_account(Principal(bob, 1))
    assert (await blocks.set_block(database, ada, bob, blocked=False)).seq == 2
    assert (await blocks.set_block(database, ada, bob, blocked=False)).seq is None
    with pytest.raises(UserNotFound):
        await blocks.set_block(database, ada, bob, blocked=True)
    await deletions.sweep()
    for blocker in (ada, cleo):
        assert await blocks.list_blocked(database, blocker) == []
        assert (await blocks.set_block(database, blocker, bob, blocked=False)).seq is None
    own = await database.fetch("SELECT detail ->> 'action' FROM messages WHERE sender_id = $1 ORDER BY seq", cleo)
    assert [record[0] for record in own] == ["blocked", "unblocked"]
    assert await blocks.list_blocked(database, bob) == [ada]
