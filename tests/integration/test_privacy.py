"""Who sees what of a user who has changed their settings: contacts, everyone or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.errors import CannotBeAdded, ValidationFailed
from chatserver.messaging import changes, chats, groups
from chatserver.users.privacy import PrivacyChange, change_privacy, get_privacy
from chatserver.users.users import ProfileChange, get_profile, update_profile
from chatserver.users.viewers import view_user
from chatserver.visibility import Privacy
from tests.support.devices import Device
from tests.support.devices import sign_in as sign_in_device
from tests.support.people import Server, principal_of, sign_in

if TYPE_CHECKING:
    from chatserver.visibility import Audience
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

AUDIENCES: tuple[Audience, ...] = ("everyone", "contacts", "nobody")


async def people(server: Server, *names: str) -> list[int]:
    return [(await sign_in(server.database, name)).user.user_id for name in names]


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
    assert [row.detail for row in rows if row.kind == "privacy"] == [
        {"last_seen": "everyone", "picture": "nobody", "about": "everyone", "groups": "everyone"},
        {"last_seen": "everyone", "picture": "nobody", "about": "everyone", "groups": "contacts"},
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
