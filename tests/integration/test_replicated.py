"""A commit that no replica has is not acknowledged: neither at once, nor when the client tries again."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from chatserver.accounts.devices import Devices
from chatserver.errors import ServiceUnavailable
from chatserver.messaging import changes, groups, own_chats, stars, timers
from chatserver.messaging.group_edits import GroupChange, change_group
from chatserver.messaging.invite_codes import RANDOM_BYTES, digest_of, make_code
from chatserver.messaging.invites import join_group, revoke_invite
from chatserver.messaging.own_chats import SettingsChange
from chatserver.model import ReceiptMark
from chatserver.storage import invites
from chatserver.storage.migrate import migrate
from chatserver.storage.replicated import confirm
from chatserver.users import blocks
from chatserver.users.privacy import PrivacyChange, change_privacy
from chatserver.users.users import ProfileChange, update_profile
from tests.support.cluster import until
from tests.support.people import Server, running_server, sign_in
from tests.support.postgres import PostgresCluster
from tests.support.standby import CANCEL, WAITING, Standby, followed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Pair:
    """A PostgreSQL with a synchronous replica."""

    primary: PostgresCluster
    standby: Standby


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with PostgresCluster() as primary, followed(primary) as standby:
        yield Pair(primary, standby)


@dataclass(frozen=True)
class Scene:
    """Ada and Bob, their direct chat with one message of Ada's, and a group of Ada's with Bob as a member."""

    server: Server
    ada: int
    bob: int
    device: int
    chat: int
    seq: int
    group: int
    client_id: str

    @classmethod
    async def make(cls, server: Server) -> Scene:
        ada, bob, client_id = await sign_in(server.database), await sign_in(server.database), str(uuid.uuid4())
        user, other = ada.user.user_id, bob.user.user_id
        other_device = await sign_in(server.database, phone_number=ada.user.phone_number)
        sent = await server.send(user, "milk", to=bob.user.phone_number)
        group = await groups.create_group(server.database, user, "tea", [str(bob.user.phone_number)])
        return cls(server, user, other, other_device.device_id, sent.chat_id, sent.seq, group.chat_id, client_id)


async def nothing(_scene: Scene) -> None:
    """Prepare nothing."""


RANDOM = b"0" * RANDOM_BYTES


async def insert_invite(scene: Scene) -> None:
    """Make an invite with a code that is known, by which Bob, who has left, can return."""
    database = scene.server.database
    await groups.remove_member(database, scene.bob, scene.group, scene.bob)
    async with database.transaction() as connection:
        digest = digest_of(make_code(scene.group, RANDOM))
        await invites.insert_invite(connection, scene.group, scene.ada, digest, expires_in_seconds=3600, max_uses=None)


CALLS: dict[str, tuple[Callable[[Scene], Awaitable[Any]], Callable[[Scene], Awaitable[Any]]]] = {
    "send": (nothing, lambda s: s.server.send(s.ada, "tea", chat_id=s.chat, client_id=s.client_id)),
    "edit": (nothing, lambda s: changes.edit_message(s.server.database, s.ada, s.chat, s.seq, "tea")),
    "delete": (nothing, lambda s: changes.delete_message(s.server.database, s.ada, s.chat, s.seq)),
    "delete for me": (nothing, lambda s: changes.hide_message(s.server.database, s.bob, s.chat, s.seq)),
    "settings": (
        nothing,
        lambda s: own_chats.change_settings(s.server.database, s.bob, s.chat, SettingsChange(archived=True)),
    ),
    "clear": (nothing, lambda s: own_chats.clear_history(s.server.database, s.bob, s.chat, s.seq)),
    "timer": (nothing, lambda s: timers.set_timer(s.server.database, s.bob, s.chat, 86_400)),
    "star": (nothing, lambda s: stars.set_star(s.server.database, s.bob, s.chat, s.seq, starred=True)),
    "remove a star": (
        lambda s: stars.set_star(s.server.database, s.bob, s.chat, s.seq, starred=True),
        lambda s: stars.set_star(s.server.database, s.bob, s.chat, s.seq, starred=False),
    ),
    "react": (nothing, lambda s: changes.put_reaction(s.server.database, s.bob, s.chat, s.seq, "👍")),
    "remove a reaction": (
        lambda s: changes.put_reaction(s.server.database, s.bob, s.chat, s.seq, "👍"),
        lambda s: changes.remove_reaction(s.server.database, s.bob, s.chat, s.seq, "👍"),
    ),
    "delivered": (nothing, lambda s: s.server.receipts.mark(s.bob, {s.chat: ReceiptMark(delivered_seq=s.seq)})),
    "read": (nothing, lambda s: s.server.receipts.mark(s.bob, {s.chat: ReceiptMark(read_seq=s.seq)})),
    "block": (nothing, lambda s: blocks.set_block(s.server.database, s.ada, s.bob, blocked=True)),
    "unblock": (
        lambda s: blocks.set_block(s.server.database, s.ada, s.bob, blocked=True),
        lambda s: blocks.set_block(s.server.database, s.ada, s.bob, blocked=False),
    ),
    "profile": (
        nothing,
        lambda s: update_profile(
            s.server.database, s.ada, ProfileChange(profile_picture_url="https://example.org/a.png")
        ),
    ),
    "privacy": (nothing, lambda s: change_privacy(s.server.database, s.ada, PrivacyChange(about="nobody"))),
    "sign out a device": (nothing, lambda s: Devices(s.server.database).revoke(s.ada, s.device)),
    "create a group": (
        nothing,
        lambda s: groups.create_group(s.server.database, s.ada, "tea", [], client_id=s.client_id),
    ),
    "rename a group": (
        nothing,
        lambda s: change_group(s.server.database, s.ada, s.group, GroupChange(group_name="coffee")),
    ),
    "describe a group": (
        nothing,
        lambda s: change_group(
            s.server.database, s.ada, s.group, GroupChange(description="tea", who_may_send="admins")
        ),
    ),
    "add a member": (
        lambda s: groups.remove_member(s.server.database, s.ada, s.group, s.bob),
        lambda s: groups.add_member(s.server.database, s.ada, s.group, s.bob),
    ),
    "revoke an invite": (
        insert_invite,
        lambda s: revoke_invite(s.server.database, s.ada, s.group, 1),
    ),
    "join a group": (
        insert_invite,
        lambda s: join_group(s.server.database, s.bob, make_code(s.group, RANDOM)),
    ),
    "remove a member": (nothing, lambda s: groups.remove_member(s.server.database, s.ada, s.group, s.bob)),
    "leave a group": (nothing, lambda s: groups.remove_member(s.server.database, s.bob, s.group, s.bob)),
    "set a role": (nothing, lambda s: groups.set_role(s.server.database, s.ada, s.group, s.bob, "admin")),
}
"""Each call that can be repeated (`test_repeated_calls` has those of the API), after what prepares it."""


async def waits(postgres: PostgresCluster, call: asyncio.Task[Any]) -> None:
    """Return once a commit waits for the replica.

    Raises:
        AssertionError: the call has its answer already.
    """

    async def is_waiting() -> bool:
        assert not call.done(), f"answered without a replica: {call}"
        return await asyncio.to_thread(postgres.sql, WAITING) != "0"

    await until(is_waiting, "a commit waits for a replica", 10)


async def first_try(postgres: PostgresCluster, call: Awaitable[Any]) -> None:
    """Make a call whose wait for the replica is cancelled: it is committed on the primary alone, and has failed."""
    first = asyncio.ensure_future(call)
    await waits(postgres, first)
    await asyncio.to_thread(postgres.sql, CANCEL)
    with pytest.raises(ServiceUnavailable):
        await first


@pytest.mark.parametrize("name", CALLS)
async def test_a_repeated_call_is_answered_only_when_a_replica_has_what_the_first_one_did(
    pair: Pair, name: str
) -> None:
    prepare, call = CALLS[name]
    dsn = pair.primary.dsn(pair.primary.create_database())
    await migrate(lambda: dsn, wait_seconds=10)
    async with running_server(lambda: dsn) as server:
        scene = await Scene.make(server)
        await prepare(scene)
        pair.standby.freeze()
        try:
            await first_try(pair.primary, call(scene))
            again = asyncio.ensure_future(call(scene))
            await waits(pair.primary, again)
            await asyncio.to_thread(pair.primary.sql, CANCEL)
            with pytest.raises(ServiceUnavailable):
                await again
            last = asyncio.ensure_future(call(scene))
            await waits(pair.primary, last)
        finally:
            pair.standby.thaw()
        assert getattr(await last, "seq", None) in {None, scene.seq + 1}, "the first call did it"


async def test_what_a_repeated_call_acknowledged_outlives_the_primary() -> None:
    with PostgresCluster() as primary, followed(primary) as standby:
        name = primary.create_database()
        await migrate(lambda: primary.dsn(name), wait_seconds=10)
        async with running_server(lambda: primary.dsn(name)) as server:
            scene = await Scene.make(server)
            standby.freeze()
            mark = {scene.chat: ReceiptMark(read_seq=scene.seq)}
            await first_try(primary, server.receipts.mark(scene.bob, mark))
            again = asyncio.ensure_future(server.receipts.mark(scene.bob, mark))
            await waits(primary, again)
            standby.thaw()
            assert await again == []
        primary.stop("immediate")
        standby.sql("SELECT pg_promote()")
        read = "SELECT user_id || ' ' || read_seq FROM chat_members ORDER BY read_seq DESC, chat_id LIMIT 1"
        assert standby.sql(read, name) == f"{scene.bob} {scene.seq}"
        # followed() resets what the primary waits for.
        primary.start()


async def test_where_no_replica_is_waited_for_a_repeated_call_writes_nothing(
    postgres: PostgresCluster, migrated_template: str
) -> None:
    dsn = postgres.dsn(postgres.create_database(migrated_template))
    async with running_server(lambda: dsn) as server, server.database.transaction() as connection:
        await confirm(connection)
        assert await connection.fetchval("SELECT pg_current_xact_id_if_assigned()") is None
