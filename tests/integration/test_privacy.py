"""Who sees what of a user who has changed their settings: contacts, everyone or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.errors import CannotBeAdded, ValidationFailed
from chatserver.messaging import changes, chats, groups, message_info, sync
from chatserver.model import MemberWatermarks, ReceiptMark
from chatserver.users.privacy import PrivacyChange, change_privacy, get_privacy
from chatserver.users.users import ProfileChange, get_profile, update_profile
from chatserver.users.viewers import view_members, view_user
from chatserver.visibility import Privacy
from tests.support.devices import Device
from tests.support.devices import sign_in as sign_in_device
from tests.support.people import Server, people, principal_of, sign_in
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from chatserver.model import Chat
    from chatserver.visibility import Audience

pytestmark = pytest.mark.integration

AUDIENCES: tuple[Audience, ...] = ("everyone", "contacts", "nobody")


async def seen(server: Server, viewer_id: int, user_id: int) -> set[str]:
    """Return which of the data that have settings somebody sees."""
    view = view_user(*await get_profile(server.database, viewer_id, user_id))
    shown: dict[str, Any] = {"picture": view["profile_picture_url"], "about": view["about"], "seen": view["last_seen"]}
    return {name for name, value in shown.items() if value is not None}


async def test_contacts_are_those_to_whom_the_user_has_written(server: Server) -> None:
    ada, bob, cy, dee, eve = await people(server, "Ada", "Bob", "Cy", "Dee", "Eve")
    database = server.database
    await update_profile(database, ada, ProfileChange(profile_picture_url="https://example.com/a.png", about="At sea"))
    await groups.create_group(database, ada, "team", ["Dee"])
    # Ada writes to Bob, Cy writes to Ada, who reacts and does not answer. Dee shares a group alone; Eve nothing.
    await server.send(ada, "hi", to="Bob")
    chat_id = (await server.send(cy, "hi", to="Ada")).chat_id
    await changes.put_reaction(database, ada, chat_id, 1, "👍")
    everything = {"picture", "about", "seen"}
    for audience, sees in zip(AUDIENCES, ({bob, cy, dee}, {bob}, set[int]()), strict=True):
        changed = await change_privacy(
            database, ada, PrivacyChange(last_seen=audience, picture=audience, about=audience)
        )
        assert changed == await get_privacy(database, ada)
        for viewer in (bob, cy, dee, eve):
            expected = everything if viewer in sees else set()
            assert await seen(server, viewer, ada) == expected, (audience, viewer)
        assert await seen(server, ada, ada) == everything
    await server.send(ada, "now I answer", chat_id=chat_id)
    await change_privacy(database, ada, PrivacyChange(about="contacts"))
    assert await seen(server, cy, ada) == {"about"}


async def test_settings_are_rows_of_the_own_chat_with_all_of_them(server: Server) -> None:
    (ada,) = await people(server, "Ada")
    database = server.database
    assert await get_privacy(database, ada) == Privacy()
    await change_privacy(database, ada, PrivacyChange())
    await change_privacy(database, ada, PrivacyChange(picture="nobody"))
    await change_privacy(database, ada, PrivacyChange(picture="nobody"))
    await change_privacy(database, ada, PrivacyChange(groups="contacts"))
    (self_chat,) = await database.fetch("SELECT chat_id FROM self_chats WHERE user_id = $1", ada)
    rows = (await chats.read_history(database, ada, self_chat[0])).rows
    unchanged = {"last_seen": "everyone", "about": "everyone", "read_receipts": True}
    assert [row.detail for row in rows if row.kind == "privacy"] == [
        {**unchanged, "picture": "nobody", "groups": "everyone"},
        {**unchanged, "picture": "nobody", "groups": "contacts"},
    ]


@pytest.mark.parametrize("audience", AUDIENCES)
async def test_nobody_is_added_to_a_group_against_their_settings(server: Server, audience: Audience) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    await change_privacy(database, cy, PrivacyChange(groups=audience))
    # Cy has written to Ada, and Bob to Cy.
    await server.send(cy, "hi", to="Ada")
    await server.send(bob, "hi", to="Cy")
    may = {"everyone": {ada, bob}, "contacts": {ada}, "nobody": set[int]()}[audience]
    for user_id in (ada, bob):
        group = (await groups.create_group(database, user_id, "team", [])).group_id
        if user_id in may:
            await groups.create_group(database, user_id, "others", ["Cy"])
            assert (await groups.add_member(database, user_id, group, cy)).seq is not None
            continue
        with pytest.raises(CannotBeAdded) as caught:
            await groups.create_group(database, user_id, "others", ["Ada", "Cy", "Bob"])
        assert [error.path for error in caught.value.errors] == ["members[1]"]
        with pytest.raises(CannotBeAdded):
            await groups.add_member(database, user_id, group, cy)
    # Who is a member stays one.
    both = (await groups.create_group(database, ada, "both", ["Bob"])).group_id
    await change_privacy(database, bob, PrivacyChange(groups="nobody"))
    assert (await groups.add_member(database, ada, both, bob)).seq is None


async def test_what_users_say_of_themselves_is_bounded_and_can_be_removed(server: Server) -> None:
    (ada,) = await people(server, "Ada")
    for about in ("At sea 🌊", "x" * 200):
        assert (await update_profile(server.database, ada, ProfileChange(about=about))).about == about
    assert (await update_profile(server.database, ada, ProfileChange(about=""))).about is None
    for about in ("x" * 201, "a\x00b"):
        with pytest.raises(ValidationFailed, match="about"):
            await update_profile(server.database, ada, ProfileChange(about=about))


async def test_a_deleted_account_leaves_no_settings_and_says_nothing_of_itself(server: Server) -> None:
    database = server.database
    ada = await sign_in(database, "Ada")
    await update_profile(database, ada.user.user_id, ProfileChange(about="At sea"))
    await change_privacy(database, ada.user.user_id, PrivacyChange(about="nobody"))
    await Deletions(database, Devices(database)).delete_account(principal_of(ada))
    assert await database.fetch("SELECT FROM privacy") == []
    assert [row[0] for row in await database.fetch("SELECT about FROM users")] == [None]


# --- over sockets


@pytest.fixture
def two(read_dsn: Callable[[], str]) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    with ServerProcess(read_dsn(), "one") as one, ServerProcess(read_dsn(), "two") as other:
        one.wait_ready()
        other.wait_ready()
        yield one, other


async def call(device: Device, server: ServerProcess, route: str, body: object = None) -> Any:
    method, _, path = route.partition(" ")
    async with device.http(server) as http:
        answer = await http.request(method, path, json=body)
    assert answer.status_code < 300, answer.text
    return answer.json()


async def test_who_watches_is_told_at_once_that_they_may_not_see_any_more_or_may_again(process: ServerProcess) -> None:
    ana, ben = await sign_in_device(process, "ana"), await sign_in_device(process, "ben")
    await call(ana, process, "POST /api/messages", {"to": "ben", "text": "hi"})
    await call(ana, process, "PATCH /api/users/me", {"about": "At sea"})
    async with ana.socket(process), ben.socket(process) as b:
        await b.send(type="subscribe", user_ids=[ana.user_id])
        await b.of_type("presence", user_id=ana.user_id, online=True)
        b.frames.clear()
        await call(ana, process, "PATCH /api/users/me/privacy", {"last_seen": "nobody", "about": "nobody"})
        hidden = await b.of_type("presence", user_id=ana.user_id)
        assert (hidden["online"], hidden["last_seen"]) == (False, None)
        assert (await b.of_type("profile", user_id=ana.user_id))["about"] is None
        b.frames.clear()
        # Ana has written to Ben.
        await call(ana, process, "PATCH /api/users/me/privacy", {"last_seen": "contacts", "about": "contacts"})
        assert (await b.of_type("presence", user_id=ana.user_id))["online"]
        assert (await b.of_type("profile", user_id=ana.user_id))["about"] == "At sea"
    assert (await call(ben, process, f"GET /api/users/{ana.user_id}"))["about"] == "At sea"


# --- read receipts


def marks_of(chat: Chat, user_id: int) -> tuple[int, int]:
    return next((one.delivered_seq, one.read_seq) for one in chat.members if one.user_id == user_id)


async def statuses(server: Server, viewer_id: int, chat_id: int) -> list[str]:
    rows = (await chats.read_history(server.database, viewer_id, chat_id)).rows
    return [row.status for row in rows if row.kind == "message"]


async def test_what_is_read_without_receipts_is_known_to_the_own_devices_alone(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    database = server.database
    chat_id = (await server.send(ada, "1", to="Bob")).chat_id
    await server.receipts.mark(bob, {chat_id: ReceiptMark(read_seq=1)})
    await change_privacy(database, bob, PrivacyChange(read_receipts=False))
    await server.send(ada, "2", chat_id=chat_id)
    assert await server.receipts.mark(bob, {chat_id: ReceiptMark(read_seq=2)}) == [MemberWatermarks(chat_id, bob, 2, 2)]
    assert await server.receipts.mark(bob, {chat_id: ReceiptMark(read_seq=2)}) == []
    assert await statuses(server, ada, chat_id) == ["read", "delivered"]
    seen_by_ada, own = await chats.get_chat(database, ada, chat_id), await chats.get_chat(database, bob, chat_id)
    assert (marks_of(seen_by_ada, bob), marks_of(own, bob), own.unread) == ((2, 1), (2, 2), 0)
    (info,) = await message_info.read_info(database, ada, chat_id, 2)
    assert info.delivered_at_us is not None
    assert info.read_at_us is None
    # Back on, others learn of it with the next receipt.
    await change_privacy(database, bob, PrivacyChange(read_receipts=True))
    assert await statuses(server, ada, chat_id) == ["read", "delivered"]
    await server.send(ada, "3", chat_id=chat_id)
    await server.receipts.mark(bob, {chat_id: ReceiptMark(read_seq=3)})
    assert await statuses(server, ada, chat_id) == ["read", "read", "read"]


async def test_who_shows_no_receipts_is_shown_none(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = (await groups.create_group(database, ada, "team", ["Bob", "Cy"])).chat_id

    async def send_and_read(sender: int, *readers: int) -> None:
        seq = (await server.send(sender, "x", chat_id=group)).seq
        for reader in readers:
            await server.receipts.mark(reader, {group: ReceiptMark(read_seq=seq)})

    await send_and_read(bob, ada, cy)
    await change_privacy(database, bob, PrivacyChange(read_receipts=False))
    await send_and_read(bob, ada, cy)
    # For what he sent before, and for others' messages, the status is what it is.
    assert await statuses(server, ada, group) == ["read", "delivered"]
    (chat,) = (await chats.list_chats(database, bob)).chats
    for shown in (chat, await chats.get_chat(database, bob, group)):
        marks = {member["user_id"]: member["read_seq"] for member in view_members(shown.members, bob)}
        assert marks == {ada: None, bob: 0, cy: None}
    (synced,) = (await sync.sync_user(database, bob, {})).chats[:1]
    assert synced.members is not None
    assert {member["read_seq"] for member in view_members(synced.members, bob)} == {None, 0}
    for info in await message_info.read_info(database, bob, group, 3):
        assert info.delivered_at_us is not None
        assert info.read_at_us is None
    members = (await groups.get_group(database, bob, group)).members
    assert {one["read_seq"] for one in view_members(members, bob) if one["user_id"] != bob} == {None}
    assert {one["read_seq"] for one in view_members(members, ada)} == {3, 0}
    # His notes are read: nobody else sees them.
    notes = (await server.send(bob, "note", to="Bob")).chat_id
    assert await statuses(server, bob, notes) == ["read"]


async def test_receipts_reach_the_own_devices_and_tell_others_nothing(
    two: tuple[ServerProcess, ServerProcess],
) -> None:
    one, other = two
    ana, ben = await sign_in_device(one, "ana"), await sign_in_device(one, "ben")
    laptop = await sign_in_device(one, phone_number=ben.phone_number)
    async with ana.socket(one) as a, ben.socket(one) as phone, laptop.socket(other) as b:
        chat_id = (await a.message("1", to="ben"))["chat_id"]
        for socket in (phone, b):
            await socket.text("1")
        await call(ben, one, "PATCH /api/users/me/privacy", {"read_receipts": False})
        await phone.send(type="delivered", chat_id=chat_id, seq=1)
        await a.of_type("receipt", user_id=ben.user_id, delivered_seq=1, read_seq=0)
        a.frames.clear()
        await phone.send(type="read", chat_id=chat_id, seq=1)
        await b.of_type("receipt", user_id=ben.user_id, read_seq=1)
        # Ana's receipts come to Ben without what she has read.
        await phone.message("2", chat_id=chat_id)
        await a.text("2")
        await a.send(type="read", chat_id=chat_id, seq=2)
        for socket in (phone, b):
            shown = await socket.of_type("receipt", user_id=ana.user_id)
            assert (shown["delivered_seq"], shown["read_seq"]) == (2, 0)
        assert not [frame for frame in a.frames if frame["type"] == "receipt" and frame["user_id"] == ben.user_id]
