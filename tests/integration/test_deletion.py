"""Deleting an account: at once nobody's, out of all groups, and no trace of whose it was."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from chatserver.accounts.deletion import SETTLE_SECONDS, Deletions
from chatserver.accounts.devices import Devices
from chatserver.errors import Blocked, Unauthenticated, UserNotFound
from chatserver.messaging import chats, groups
from chatserver.model import DELETED_NAME, Principal
from chatserver.storage import presence
from chatserver.storage.database import single_connection
from chatserver.users import blocks, users
from chatserver.users.names import check_username
from tests.support.devices import sign_in as sign_in_at
from tests.support.people import Server, sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.model import SignIn

pytestmark = pytest.mark.integration


def deletions(server: Server) -> Deletions:
    return Deletions(server.database, Devices(server.database))


def principal(session: SignIn) -> Principal:
    return Principal(session.user.user_id, session.device_id)


async def delete(server: Server, session: SignIn) -> None:
    """Delete an account, and leave its groups."""
    deleting = deletions(server)
    await deleting.delete_account(principal(session))
    await deleting.sweep()


async def events(server: Server, reader: SignIn, chat_id: int) -> list[tuple[str, Any]]:
    rows = (await chats.read_history(server.database, reader.user.user_id, chat_id, limit=100)).rows
    return [(row.kind, row.detail) for row in rows if row.kind == "member"]


async def test_number_and_name_are_free_and_whoever_takes_them_is_somebody_else(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    number = ada.user.phone_number
    sent = await server.send(ada.user.user_id, "from Ada", to="Bob")
    await users.update_profile(
        server.database, ada.user.user_id, users.ProfileChange(profile_picture_url="https://example.com/ada.png")
    )
    await delete(server, ada)
    for gone in (
        users.get_user(server.database, ada.user.user_id),
        users.find_user(server.database, username="ada"),
        users.find_user(server.database, phone_number=number),
        server.send(bob.user.user_id, "x", to="Ada"),
        server.send(bob.user.user_id, "x", to=number),
        blocks.set_block(server.database, bob.user.user_id, ada.user.user_id, blocked=True),
    ):
        with pytest.raises(UserNotFound):
            await gone
    again = await sign_in(server.database, "Ada", number)
    assert again.user.user_id != ada.user.user_id
    assert (again.user.phone_number, again.user.username) == (number, "Ada")
    assert (await chats.list_chats(server.database, again.user.user_id)).chats == ()
    # Messages stay, and name nobody; who has the number now has nothing to do with them.
    (row,) = (await chats.read_history(server.database, bob.user.user_id, sent.chat_id)).rows
    assert (row.from_name, row.from_id, row.text, row.to) == (DELETED_NAME, ada.user.user_id, "from Ada", "Bob")
    assert (await server.send(bob.user.user_id, "hello", to="Ada")).chat_id != sent.chat_id


async def test_nobody_can_be_called_like_a_deleted_user() -> None:
    with pytest.raises(Exception, match="letters, digits"):
        check_username(DELETED_NAME, "username")


async def test_no_table_but_the_audit_log_knows_whose_account_it_was(server: Server) -> None:
    ada = await sign_in(server.database, "Ada-Lovelace")
    await server.database.execute("UPDATE devices SET device_name = 'Ada''s telephone'")
    await Devices(server.database).issue_ticket(principal(ada))
    await delete(server, ada)
    tables = [
        row[0] for row in await server.database.fetch("SELECT tablename FROM pg_tables WHERE schemaname='public'")
    ]
    assert {"users", "devices", "auth_codes", "rate_counters", "audit_events"} <= set(tables)
    for table in tables:
        rows = await server.database.fetch(f"SELECT t::text FROM {table} t")  # noqa: S608 - PostgreSQL's own names
        text = "\n".join(row[0] for row in rows)
        for trace in ("Lovelace", "lovelace", "telephone", ada.user.phone_number, ada.user.phone_number[1:]):
            assert trace not in text, table
    (left,) = await server.database.fetch("SELECT last_seen, profile_picture_url, deleted_at FROM users")
    assert (left[0], left[1], left[2] is None) == (None, None, False)
    # A server that still counts them as connected writes nothing either.
    await presence.turn(server.database, "server-1", came=[ada.user.user_id], went=[])
    await presence.turn(server.database, "server-1", came=[], went=[ada.user.user_id])
    with pytest.raises(UserNotFound):
        await users.update_profile(server.database, ada.user.user_id, users.ProfileChange(username="ghost"))
    assert (await server.database.fetch("SELECT last_seen, username FROM users"))[0][:] == (None, None)


async def test_every_group_hears_that_they_left_and_keeps_an_admin(server: Server) -> None:
    ada, bob, eve = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Eve")]
    own = await groups.create_group(server.database, ada.user.user_id, "Ada's", ["Bob", "Eve"])
    other = await groups.create_group(server.database, bob.user.user_id, "Bob's", ["Ada"])
    alone = await groups.create_group(server.database, ada.user.user_id, "Alone", [])
    await delete(server, ada)
    ada_id = ada.user.user_id
    assert await events(server, eve, own.chat_id) == [
        ("member", {"action": "role", "user_ids": [bob.user.user_id], "role": "admin"}),
        ("member", {"action": "left", "user_ids": [ada_id]}),
    ]
    assert await events(server, bob, other.chat_id) == [("member", {"action": "left", "user_ids": [ada_id]})]
    group = await groups.get_group(server.database, bob.user.user_id, own.group_id)
    assert [(member.user_id, member.role) for member in group.members] == [
        (bob.user.user_id, "admin"),
        (eve.user.user_id, "member"),
    ]
    left = await server.database.fetchrow(
        "SELECT count(*) FROM chat_members WHERE user_id = $1 AND left_seq IS NULL", ada_id
    )
    assert (left or [None])[0] == 0
    with pytest.raises(UserNotFound):
        await groups.add_member(server.database, bob.user.user_id, own.group_id, ada_id)
    assert alone.members[0].user_id == ada_id


async def test_a_direct_chat_stays_with_the_other_and_takes_nothing_more(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    sent = await server.send(bob.user.user_id, "read by her", to="Ada")
    await server.database.execute("UPDATE chat_members SET delivered_seq = 1, read_seq = 1")
    await delete(server, ada)
    with pytest.raises(Blocked, match="deleted their account"):
        await server.send(bob.user.user_id, "x", chat_id=sent.chat_id)
    (row,) = (await chats.read_history(server.database, bob.user.user_id, sent.chat_id)).rows
    assert (row.to, row.status) == (DELETED_NAME, "read")
    (chat,) = (await chats.list_chats(server.database, bob.user.user_id)).chats
    assert {member.user_id: member.username for member in chat.members} == {
        ada.user.user_id: None,
        bob.user.user_id: "Bob",
    }
    assert await blocks.list_blocked(server.database, bob.user.user_id) == []


async def test_a_server_that_died_on_the_way_is_followed_by_another(server: Server) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    group = await groups.create_group(server.database, bob.user.user_id, "Bob's", ["Ada"])
    await deletions(server).delete_account(principal(ada))
    other = deletions(server)
    await other.sweep()
    assert len((await groups.get_group(server.database, bob.user.user_id, group.group_id)).members) == 1
    # What a call that was under way did meanwhile is undone as long as one can be.
    await server.database.execute("UPDATE chat_members SET left_seq = NULL WHERE user_id = $1", ada.user.user_id)
    await other.sweep()
    assert len((await groups.get_group(server.database, bob.user.user_id, group.group_id)).members) == 1
    assert len(await server.database.fetch("SELECT FROM account_deletions")) == 1
    await server.database.execute(
        "UPDATE account_deletions SET deleted_at = now() - make_interval(secs => $1)", SETTLE_SECONDS
    )
    await other.sweep()
    assert await server.database.fetch("SELECT FROM account_deletions") == []


async def test_a_group_that_somebody_holds_keeps_nobody_from_leaving_the_others(
    server: Server, read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = await sign_in(server.database, "Ada"), await sign_in(server.database, "Bob")
    held, free = [
        (await groups.create_group(server.database, bob.user.user_id, name, ["Ada"])).group_id for name in "ab"
    ]
    deleting = deletions(server)
    await deleting.delete_account(principal(ada))
    await server.database.execute(
        "UPDATE account_deletions SET deleted_at = now() - make_interval(secs => $1)", SETTLE_SECONDS
    )
    async with single_connection(read_dsn, "holder") as holder, holder.transaction():
        await holder.execute("SELECT FROM chats WHERE chat_id = $1 FOR UPDATE", held)
        with monkeypatch.context() as patched:
            patched.setattr("chatserver.storage.database.STATEMENT_SECONDS", 2.0)
            patched.setattr("chatserver.storage.database.CALL_SECONDS", 2.0)
            await deleting.sweep()
        memberships = await server.database.fetch(
            "SELECT chat_id FROM chat_members WHERE user_id = $1 AND left_seq IS NULL", ada.user.user_id
        )
        assert [row[0] for row in memberships] == [held]
        assert len(await server.database.fetch("SELECT FROM account_deletions")) == 1
    assert free != held
    await deleting.sweep()
    assert await server.database.fetch("SELECT FROM account_deletions") == []
    assert [
        member.username for member in (await groups.get_group(server.database, bob.user.user_id, held)).members
    ] == ["Bob"]


async def test_deleting_twice_or_two_at_once_ends_in_order(server: Server) -> None:
    people = [await sign_in(server.database, name) for name in ("Ada", "Bob", "Eve")]
    for sender in people:
        for name in ("Ada", "Bob", "Eve"):
            await server.send(sender.user.user_id, "hello", to=name)
    await groups.create_group(server.database, people[0].user.user_id, "All", ["Bob", "Eve"])
    deleting = deletions(server)
    results = await asyncio.gather(
        *(deleting.delete_account(principal(person)) for person in (*people, *people)), return_exceptions=True
    )
    assert [type(result) for result in results if result is not None] == [Unauthenticated] * 3
    await asyncio.gather(*(deletions(server).sweep() for _ in range(3)))
    assert (
        await server.database.fetch(
            "SELECT FROM chat_members cm JOIN groups g ON g.group_id = cm.chat_id WHERE cm.left_seq IS NULL"
        )
        == []
    )


async def test_sockets_close_on_every_server_and_groups_hear_of_it(read_dsn: Callable[[], str]) -> None:
    dsn = read_dsn()
    with ServerProcess(dsn, "one") as one, ServerProcess(dsn, "two") as two:
        one.wait_ready()
        two.wait_ready()
        ana, ben = await sign_in_at(one, "ana"), await sign_in_at(one, "ben")
        laptop = await sign_in_at(two, phone_number=ana.phone_number)
        async with ben.http(one) as http:
            made = (await http.post("/api/groups", json={"group_name": "Team", "members": ["ana"]})).json()
        async with ana.socket(one) as here, laptop.socket(two) as there, ben.socket(two) as watching:
            async with ana.http(two) as http:
                assert (await http.delete("/api/users/me")).status_code == 204
                for path in ("/api/users/me", "/api/messages"):
                    assert (await http.get(path)).json()["code"] == "unauthenticated"
            assert await here.close_code() == 4001
            assert await there.close_code() == 4001
            left = await watching.of_type("event", chat_id=made["chat_id"], action="left", by=ana.user_id)
            assert left["user_ids"] == [ana.user_id]
        async with laptop.http(two) as http, asyncio.timeout(30):
            assert (await http.post("/api/ws-ticket")).status_code == 401
        async with httpx.AsyncClient(base_url=one.url, verify=NO_TLS, trust_env=False) as http:
            assert (await http.get("/api/users/me", headers=ana.headers)).status_code == 401
        assert (await sign_in_at(two, "ana", phone_number=ana.phone_number)).user_id != ana.user_id
        for server in (one, two):
            assert ana.phone_number not in server.log_text()
