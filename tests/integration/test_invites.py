"""Invites: who joins a group by which code, how often, and until when."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.bounds import GROUP_MEMBERS_MAX
from chatserver.errors import (
    Blocked,
    ChatError,
    InviteNotFound,
    NotAMember,
    NotAnAdmin,
    ValidationFailed,
)
from chatserver.limits.rates import INVITES_PER_ADDRESS, INVITES_PER_USER
from chatserver.messaging import chats, feed, groups
from chatserver.messaging.group_edits import GroupChange, change_group
from chatserver.messaging.invite_codes import RANDOM_BYTES, make_code
from chatserver.messaging.invites import (
    INVITES_MAX,
    create_invite,
    join_group,
    list_invites,
    preview_invite,
    revoke_invite,
)
from chatserver.storage.invites import Preview
from chatserver.users import blocks
from tests.support.devices import sign_in as sign_in_device
from tests.support.people import Server, people, principal_of, sign_in

if TYPE_CHECKING:
    from chatserver.model import SignIn
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration


async def crowd(server: Server, number: int) -> list[SignIn]:
    return [await sign_in(server.database) for _ in range(number)]


async def team_of(server: Server, user_id: int, *members: str) -> int:
    return (await groups.create_group(server.database, user_id, "team", members)).group_id


async def is_member(server: Server, group_id: int, user_id: int) -> bool:
    rows = await server.database.fetch(
        "SELECT FROM chat_members WHERE chat_id = $1 AND user_id = $2 AND left_seq IS NULL", group_id, user_id
    )
    return bool(rows)


async def test_who_joins_reads_from_their_own_row_on_and_old_clients_see_a_member_who_was_added(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = await team_of(server, ada, "Bob")
    await change_group(database, ada, group, GroupChange(picture_url="https://example.com/a.png", description="Ours"))
    made = await create_invite(database, ada, group)
    assert await preview_invite(database, made.code) == Preview("team", "https://example.com/a.png", "Ours", 2)
    assert not await is_member(server, group, cy)
    joined = await join_group(database, cy, made.code)
    assert joined.seq is not None
    assert await join_group(database, cy, made.code) == joined.__class__(group, None)
    (row,) = [row for row in (await feed.read_feed(database, bob, events=True)).rows if row.kind == "member"]
    assert (row.seq, row.from_id) == (joined.seq, cy)
    assert row.detail == {"action": "added", "user_ids": [cy]}
    assert [row.seq for row in (await chats.read_history(database, cy, group)).rows] == [joined.seq]
    (invite,) = await list_invites(database, ada, group)
    assert (invite.uses, invite.max_uses, invite.created_by) == (1, None, ada)
    assert (await server.send(cy, "hello", chat_id=group)).seq == joined.seq + 1


async def test_what_is_stored_of_a_code_does_not_let_anybody_join(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    group = await team_of(server, ada)
    made = await create_invite(server.database, ada, group)
    (dump,) = await server.database.fetch(
        "SELECT i::text, encode(i.code_hash, 'hex') FROM group_invites i WHERE i.group_id = $1", group
    )
    assert made.code not in dump[0]
    for code in (dump[1], make_code(group, bytes(RANDOM_BYTES)), made.code[:-1], made.code + "A", "", "%", "é" * 8):
        with pytest.raises(InviteNotFound):
            await join_group(server.database, bob, code)
        with pytest.raises(InviteNotFound):
            await preview_invite(server.database, code)
    for code in ("x" * 65, "\x00"):
        with pytest.raises(ValidationFailed) as caught:
            await join_group(server.database, bob, code)
        assert [error.path for error in caught.value.errors] == ["code"]


async def expire(server: Server, group_id: int) -> None:
    await server.database.execute("UPDATE group_invites SET expires_at = now() WHERE group_id = $1", group_id)


async def test_unknown_expired_revoked_and_used_up_codes_have_the_same_answer(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = await team_of(server, ada)
    expired = await create_invite(database, ada, group, expires_in_seconds=60)
    await expire(server, group)
    revoked = await create_invite(database, ada, group)
    await revoke_invite(database, ada, group, revoked.invite.invite_id)
    used = await create_invite(database, ada, group, max_uses=1)
    await join_group(database, bob, used.code)
    answers = set()
    for code in (
        expired.code,
        revoked.code,
        used.code,
        make_code(group, bytes(RANDOM_BYTES)),
        make_code(2**50, b"0" * 17),
    ):
        for call in (join_group(database, cy, code), preview_invite(database, code)):
            with pytest.raises(InviteNotFound) as caught:
                await call
            answers.add((caught.value.detail, caught.value.errors))
    assert len(answers) == 1
    assert await list_invites(database, ada, group) == []
    # Whose answer was lost tries the code again that they have used up.
    assert (await join_group(database, bob, used.code)).seq is None


async def test_the_last_use_is_one_users_however_many_join_at_once(server: Server) -> None:
    ada, *others = [session.user.user_id for session in await crowd(server, 9)]
    group = await team_of(server, ada)
    made = await create_invite(server.database, ada, group, max_uses=3)

    async def join(user_id: int) -> int | None:
        try:
            return (await join_group(server.database, user_id, made.code)).seq
        except InviteNotFound:
            return None

    seqs = [seq for seq in await asyncio.gather(*map(join, others)) if seq is not None]
    assert len(seqs) == len(set(seqs)) == 3
    assert sum([await is_member(server, group, user_id) for user_id in others]) == 3


async def test_a_join_at_once_with_itself_is_one_use(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    group = await team_of(server, ada)
    made = await create_invite(server.database, ada, group, max_uses=2)
    joined = await asyncio.gather(*(join_group(server.database, bob, made.code) for _ in range(4)))
    assert sorted(change.seq is not None for change in joined) == [False, False, False, True]
    assert (await join_group(server.database, cy, made.code)).seq is not None


async def test_a_join_beside_the_revocation_comes_before_it_or_fails(server: Server) -> None:
    ada, *others = [session.user.user_id for session in await crowd(server, 7)]
    group = await team_of(server, ada)
    for user_id in others:
        made = await create_invite(server.database, ada, group)
        results = await asyncio.gather(
            join_group(server.database, user_id, made.code),
            revoke_invite(server.database, ada, group, made.invite.invite_id),
            return_exceptions=True,
        )
        assert results[1] is None
        assert isinstance(results[0], InviteNotFound) != await is_member(server, group, user_id)
        with pytest.raises(InviteNotFound):
            await preview_invite(server.database, made.code)


async def test_who_was_removed_cannot_join_again_and_who_left_can(server: Server) -> None:
    ada, bob, cy = await people(server, "Ada", "Bob", "Cy")
    database = server.database
    group = await team_of(server, ada, "Bob", "Cy")
    made = await create_invite(database, ada, group)
    await groups.remove_member(database, ada, group, bob)
    with pytest.raises(NotAMember):
        await join_group(database, bob, made.code)
    await groups.remove_member(database, cy, group, cy)
    assert (await join_group(database, cy, made.code)).seq is not None
    await groups.add_member(database, ada, group, bob)
    await groups.remove_member(database, bob, group, bob)
    assert (await join_group(database, bob, made.code)).seq is not None


async def test_a_block_with_any_admin_keeps_out(server: Server) -> None:
    ada, bob, cy, dee = await people(server, "Ada", "Bob", "Cy", "Dee")
    database = server.database
    group = await team_of(server, ada, "Bob")
    await groups.set_role(database, ada, group, bob, "admin")
    made = await create_invite(database, ada, group, max_uses=1)
    await blocks.set_block(database, bob, cy, blocked=True)
    await blocks.set_block(database, dee, ada, blocked=True)
    for user_id in (cy, dee):
        with pytest.raises(Blocked):
            await join_group(database, user_id, made.code)
    await blocks.set_block(database, bob, cy, blocked=False)
    assert (await join_group(database, cy, made.code)).seq is not None


async def test_a_full_group_takes_nobody_and_counts_no_use(server: Server) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    group = await team_of(server, ada)
    made = await create_invite(server.database, ada, group, max_uses=1)
    await server.fill(
        "WITH made AS (INSERT INTO users (user_id, phone_number) OVERRIDING SYSTEM VALUE "
        "SELECT n, '+1777' || to_char(n, 'FM0000000') FROM generate_series(1, $2::integer) n RETURNING user_id) "
        "INSERT INTO chat_members (chat_id, user_id) SELECT $1, user_id FROM made",
        group,
        GROUP_MEMBERS_MAX - 1,
    )
    with pytest.raises(ValidationFailed) as caught:
        await join_group(server.database, bob, made.code)
    assert [error.path for error in caught.value.errors] == ["code"]
    await groups.remove_member(server.database, ada, group, 1)
    assert (await join_group(server.database, bob, made.code)).seq is not None


async def test_invites_are_for_those_who_may_add_and_end_with_that_right(server: Server) -> None:
    ada, bob, cy, dee = await people(server, "Ada", "Bob", "Cy", "Dee")
    database = server.database
    group = await team_of(server, ada, "Bob", "Cy")
    for refused in (create_invite(database, bob, group), list_invites(database, bob, group)):
        with pytest.raises(NotAnAdmin):
            await refused
    await change_group(database, ada, group, GroupChange(who_may_add="everyone"))
    of_ada, of_bob, of_cy = [await create_invite(database, user_id, group) for user_id in (ada, bob, cy)]
    assert await list_invites(database, bob, group) == [of_bob.invite]
    assert await list_invites(database, ada, group) == [of_cy.invite, of_bob.invite, of_ada.invite]
    with pytest.raises(NotAnAdmin):
        await revoke_invite(database, bob, group, of_cy.invite.invite_id)
    await revoke_invite(database, bob, group, 2**40)
    await groups.remove_member(database, cy, group, cy)
    assert await list_invites(database, ada, group) == [of_bob.invite, of_ada.invite]
    await change_group(database, ada, group, GroupChange(who_may_add="admins"))
    assert await list_invites(database, ada, group) == [of_ada.invite]
    await groups.set_role(database, ada, group, bob, "admin")
    await groups.set_role(database, bob, group, ada, "member")
    for code in (of_ada.code, of_bob.code, of_cy.code):
        with pytest.raises(InviteNotFound):
            await join_group(database, dee, code)


async def test_the_invites_of_a_deleted_account_go_with_it(server: Server) -> None:
    ada = await sign_in(server.database, "Ada")
    bob, cy = await people(server, "Bob", "Cy")
    group = await team_of(server, ada.user.user_id, "Bob")
    made = await create_invite(server.database, ada.user.user_id, group)
    deletions = Deletions(server.database, Devices(server.database))
    await deletions.delete_account(principal_of(ada))
    await deletions.sweep()
    assert await list_invites(server.database, bob, group) == []
    with pytest.raises(InviteNotFound):
        await join_group(server.database, cy, made.code)


async def test_a_group_has_so_many_invites_and_those_that_expired_make_room(server: Server) -> None:
    (ada,) = await people(server, "Ada")
    group = await team_of(server, ada)
    for _ in range(INVITES_MAX):
        await create_invite(server.database, ada, group)
    with pytest.raises(ValidationFailed):
        await create_invite(server.database, ada, group)
    await expire(server, group)
    assert (await create_invite(server.database, ada, group)).invite.uses == 0
    assert len(await list_invites(server.database, ada, group)) == 1


async def outcome(call: Any) -> str:
    try:
        await call
    except ChatError as error:
        return error.code
    return "done"


async def test_a_demotion_beside_the_making_of_an_invite_leaves_none_that_its_creator_may_not_make(
    server: Server,
) -> None:
    ada, bob = await people(server, "Ada", "Bob")
    group = await team_of(server, ada, "Bob")
    for _ in range(8):
        await groups.set_role(server.database, ada, group, bob, "admin")
        made, demoted = await asyncio.gather(
            outcome(create_invite(server.database, bob, group)),
            outcome(groups.set_role(server.database, ada, group, bob, "member")),
        )
        assert made in {"done", "not_an_admin"}
        assert demoted == "done"
        assert await list_invites(server.database, ada, group) == []


async def test_tries_at_codes_are_limited_for_a_user_and_an_address(process: ServerProcess) -> None:
    tried = 0
    while tried <= INVITES_PER_ADDRESS:
        device = await sign_in_device(process)
        async with device.http(process) as http:
            for number in range(INVITES_PER_USER + 1):
                path = "/api/invites/join" if number % 2 else "/api/invites/preview"
                answer = await http.post(path, json={"code": "x"})
                if answer.status_code == 429:
                    break
                assert (answer.status_code, answer.json()["code"]) == (404, "invite_not_found")
                tried += 1
            assert answer.status_code == 429
            assert answer.json()["code"] == "rate_limited"
            assert 1 <= int(answer.headers["Retry-After"]) <= 3600
            # Nothing else of theirs is limited by it.
            assert (await http.get("/api/chats")).status_code == 200
            if number < INVITES_PER_USER:
                break
    # Buckets are refilled evenly, so that some more were let through meanwhile.
    assert INVITES_PER_ADDRESS <= tried < 1.5 * INVITES_PER_ADDRESS
