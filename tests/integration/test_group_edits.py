"""Pictures and descriptions of groups, and what a group lets its members do."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from chatserver.bounds import DESCRIPTION_MAX_CHARS
from chatserver.errors import Blocked, ChatNotFound, IdempotencyConflict, NotAnAdmin, ValidationFailed
from chatserver.group_fields import GroupFields
from chatserver.messaging import changes, chats, feed, groups
from chatserver.messaging.group_edits import GroupChange, change_group
from chatserver.users import blocks
from tests.support.devices import sign_in as sign_in_device
from tests.support.people import Server, people

if TYPE_CHECKING:
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

PICTURE = "https://example.com/team.png"


async def seen_by(server: Server, user_id: int, group_id: int) -> GroupFields | None:
    """Return the group as a user sees it, the same in the list of chats and alone."""
    alone = await chats.get_chat(server.database, user_id, group_id)
    (listed,) = [chat for chat in (await chats.list_chats(server.database, user_id)).chats if chat.chat_id == group_id]
    assert alone.group == listed.group
    return alone.group


async def details(server: Server, user_id: int, group_id: int) -> list[dict[str, Any] | None]:
    rows = (await chats.read_history(server.database, user_id, group_id)).rows
    return [row.detail for row in rows if row.kind == "group"]


async def test_the_newest_rows_have_the_name_and_all_other_fields(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    group = (await groups.create_group(server.database, ada, "team", ["Bob"])).group_id
    for rows, change in (
        (1, GroupChange(picture_url=PICTURE, description="Ours")),
        (1, GroupChange(group_name="crew", description="Ours")),
        (2, GroupChange(group_name="club", description=None)),
        (1, GroupChange(who_may_send="admins", who_may_add="everyone")),
    ):
        before = (await chats.get_chat(server.database, bob, group)).last_seq
        changed = await change_group(server.database, ada, group, change)
        assert changed.seq == before + rows
        assert (await change_group(server.database, ada, group, change)).seq is None
    assert (await change_group(server.database, ada, group, GroupChange())).seq is None
    at_first = {"who_may_send": "everyone", "who_may_edit": "admins", "who_may_add": "admins"}
    then = {"who_may_send": "admins", "who_may_edit": "admins", "who_may_add": "everyone"}
    last = {"action": "changed", "picture_url": PICTURE, "description": None, **then}
    assert await details(server, bob, group) == [
        {"action": "created", "group_name": "team", "user_ids": [bob]},
        {"action": "changed", "picture_url": PICTURE, "description": "Ours", **at_first},
        {"action": "renamed", "group_name": "crew"},
        {"action": "renamed", "group_name": "club"},
        {"action": "changed", "picture_url": PICTURE, "description": None, **at_first},
        last,
    ]
    assert await seen_by(server, bob, group) == GroupFields("club", PICTURE, None, "admins", "admins", "everyone")
    polled = (await feed.read_feed(server.database, bob, events=True)).rows
    assert [row.detail for row in polled if row.seq == changed.seq] == [last]


async def test_a_former_member_sees_the_group_as_it_was_when_they_left_and_a_stranger_nothing(server: Server) -> None:
    ada, bob, cy, eve = await people(server, "Ada", "Bob", "Cy", "Eve")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob", "Cy"])).group_id
    await change_group(database, ada, group, GroupChange(picture_url=PICTURE, description="Ours"))
    await groups.remove_member(database, ada, group, bob)
    await groups.remove_member(database, cy, group, cy)
    secret = GroupChange(group_name="secret", picture_url=None, description="Not Bob's", who_may_send="admins")
    await change_group(database, ada, group, secret)
    then = GroupFields("team", PICTURE, "Ours")
    assert [await seen_by(server, user, group) for user in (bob, cy)] == [then, then]
    # A repeated call shows no more.
    assert (await groups.remove_member(database, cy, group, cy)).fields == then
    assert len(await details(server, bob, group)) == 2
    with pytest.raises(ChatNotFound):
        await chats.get_chat(database, eve, group)
    # Who comes back sees it as it is, and what is seen after the next leaving is that of then.
    await groups.add_member(database, ada, group, bob)
    now = GroupFields("secret", None, "Not Bob's", "admins")
    assert await seen_by(server, bob, group) == now
    await groups.remove_member(database, ada, group, bob)
    await change_group(database, ada, group, GroupChange(description="Later"))
    assert await seen_by(server, bob, group) == now


async def test_who_left_before_groups_had_fields_sees_the_name_of_then_alone(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob"])).group_id
    await groups.remove_member(database, ada, group, bob)
    await database.execute("UPDATE chat_members SET group_seen = NULL WHERE chat_id = $1", group)
    await change_group(database, ada, group, GroupChange(group_name="crew", picture_url=PICTURE))
    assert await seen_by(server, bob, group) == GroupFields("team")
    assert (await groups.remove_member(database, bob, group, bob)).fields == GroupFields("team")


async def test_a_description_is_bounded_and_a_picture_is_a_url(server: Server) -> None:
    (ada,) = await people(server, "Ada")
    group = (await groups.create_group(server.database, ada, "team", [])).group_id
    longest = "\U0001f600" * DESCRIPTION_MAX_CHARS
    told = await change_group(server.database, ada, group, GroupChange(description=longest))
    assert told.fields.description == longest
    for field, change in (
        ("description", GroupChange(description=longest + "x")),
        ("description", GroupChange(description="\x00")),
        ("picture_url", GroupChange(picture_url="javascript:alert(1)")),
        ("picture_url", GroupChange(picture_url="https://example.com/" + "x" * 2048)),
        ("group_name", GroupChange(group_name=" ")),
    ):
        with pytest.raises(ValidationFailed) as caught:
            await change_group(server.database, ada, group, change)
        assert [error.path for error in caught.value.errors] == [field]
    # An empty text and none are the same.
    assert (await change_group(server.database, ada, group, GroupChange(description=""))).fields.description is None
    assert (await change_group(server.database, ada, group, GroupChange(description=None))).seq is None


async def test_where_only_admins_send_others_change_their_own_messages_and_react(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database, client_id = server.database, str(uuid.uuid4())
    group = (await groups.create_group(database, ada, "team", ["Bob"])).group_id
    early = await server.send(bob, "early", chat_id=group, client_id=client_id)
    await change_group(database, ada, group, GroupChange(who_may_send="admins"))
    with pytest.raises(NotAnAdmin):
        await server.send(bob, "late", chat_id=group)
    said = await server.send(ada, "from an admin", chat_id=group)
    # A retry is answered by what was stored.
    again = await server.send(bob, "early", chat_id=group, client_id=client_id)
    assert (again.seq, again.duplicate) == (early.seq, True)
    with pytest.raises(IdempotencyConflict):
        await server.send(bob, "other", chat_id=group, client_id=client_id)
    assert (await changes.edit_message(database, bob, group, early.seq, "edited")).seq is not None
    assert (await changes.put_reaction(database, bob, group, said.seq, "\U0001f44d")).seq is not None
    assert (await changes.delete_message(database, bob, group, early.seq)).seq is not None
    await groups.set_role(database, ada, group, bob, "admin")
    assert (await server.send(bob, "as an admin", chat_id=group)).seq
    await groups.set_role(database, ada, group, bob, "member")
    with pytest.raises(NotAnAdmin):
        await server.send(bob, "no more", chat_id=group)
    # Other chats of theirs are not concerned.
    assert (await server.send(bob, "hello", to="Ada")).seq == 1
    await change_group(database, ada, group, GroupChange(who_may_send="everyone"))
    assert (await server.send(bob, "again", chat_id=group)).seq


async def test_a_send_beside_a_promotion_is_stored_or_refused_by_its_place_in_the_chat(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob"])).group_id
    await change_group(database, ada, group, GroupChange(who_may_send="admins"))

    async def send(number: int) -> int | None:
        try:
            return (await server.send(bob, f"text {number}", chat_id=group)).seq
        except NotAnAdmin:
            return None

    turns: list[tuple[int, bool]] = [(0, False)]
    stored: list[int] = []
    for number in range(12):
        is_admin = number % 2 == 0
        role = groups.set_role(database, ada, group, bob, "admin" if is_admin else "member")
        turn, sent = await asyncio.gather(role, asyncio.gather(*(send(number) for _ in range(3))))
        assert turn.seq is not None
        turns.append((turn.seq, is_admin))
        stored += [seq for seq in sent if seq is not None]
    for seq in stored:
        before = [is_admin for place, is_admin in turns if place < seq]
        assert before[-1], f"row {seq} was stored while its sender was no admin"


async def test_where_everyone_may_edit_and_add_only_admins_change_who_may(server: Server) -> None:
    ada, bob, cy, dee, eve = await people(server, "Ada", "Bob", "Cy", "Dee", "Eve")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob"])).group_id
    for refused in (
        change_group(database, bob, group, GroupChange(group_name="crew")),
        change_group(database, bob, group, GroupChange(description="Ours")),
        groups.add_member(database, bob, group, cy),
    ):
        with pytest.raises(NotAnAdmin):
            await refused
    await change_group(database, ada, group, GroupChange(who_may_edit="everyone", who_may_add="everyone"))
    assert (await change_group(database, bob, group, GroupChange(group_name="crew"))).seq is not None
    assert (await groups.add_member(database, bob, group, cy)).seq is not None
    for refused in (
        change_group(database, bob, group, GroupChange(group_name="mine", who_may_send="admins")),
        change_group(database, bob, group, GroupChange(who_may_edit="everyone")),
        groups.remove_member(database, bob, group, cy),
        groups.set_role(database, bob, group, bob, "admin"),
    ):
        with pytest.raises(NotAnAdmin):
            await refused
    # A block with the member who adds counts as one with an admin does.
    await blocks.set_block(database, dee, bob, blocked=True)
    await blocks.set_block(database, eve, ada, blocked=True)
    for user in (dee, eve):
        with pytest.raises(Blocked):
            await groups.add_member(database, bob, group, user)


async def test_a_change_reaches_the_members_at_once(process: ServerProcess) -> None:
    ana, ben = await sign_in_device(process, "fieldana"), await sign_in_device(process, "fieldben")
    async with ana.http(process) as http, ben.socket(process) as socket:
        made = (await http.post("/api/groups", json={"group_name": "Team", "members": ["fieldben"]})).json()
        path = f"/api/groups/{made['group_id']}"
        changed = await http.patch(path, json={"picture_url": PICTURE, "who_may_send": "admins"})
        assert changed.status_code == 200
        frame = await socket.until(lambda frame: frame.get("action") == "changed")
        assert (frame["seq"], frame["picture_url"], frame["who_may_send"]) == (changed.json()["seq"], PICTURE, "admins")
        refused = await socket.message("hello", chat_id=made["chat_id"])
        assert (refused["type"], refused["code"]) == ("error", "not_an_admin")
        for wrong in ({"who_may_send": "nobody"}, {"picture": PICTURE}, {"group_name": None}):
            answer = await http.patch(path, json=wrong)
            assert (answer.status_code, answer.json()["errors"][0]["path"]) == (422, next(iter(wrong)))
