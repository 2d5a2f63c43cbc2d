"""Those who have left a group or come back: what they may still mark as read, and what that does to a status."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from chatserver.accounts.deletion import Deletions
from chatserver.accounts.devices import Devices
from chatserver.messaging import changes, chats, groups
from chatserver.model import ReceiptMark, SendMessage
from tests.support.inprocess import ChatServer, Wire
from tests.support.people import Server, arrival, principal_of, sign_in
from tests.support.playedbus import Air

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration


class Team:
    """A group of Ana, its admin, Ben and Cleo, with message 2 of Ana's."""

    def __init__(self, server: Server, user_ids: list[int]) -> None:
        self.server = server
        self.ana, self.ben, self.cleo = user_ids
        self.chat_id = 0

    async def read(self, user_id: int, seq: int) -> None:
        await self.server.receipts.mark(user_id, {self.chat_id: ReceiptMark(read_seq=seq)})

    async def statuses(self) -> list[str]:
        """Return the status of each message, oldest first."""
        rows = (await chats.read_history(self.server.database, self.ana, self.chat_id, limit=1000)).rows
        return [row.status for row in rows if row.kind == "message"]

    async def send(self, text: str) -> int:
        return (await self.server.send(self.ana, text, chat_id=self.chat_id)).seq

    async def remove(self, user_id: int, by: int | None = None) -> None:
        await groups.remove_member(self.server.database, by or self.ana, self.chat_id, user_id)

    async def add(self, user_id: int) -> None:
        await groups.add_member(self.server.database, self.ana, self.chat_id, user_id)


async def team(server: Server) -> Team:
    sessions = [await sign_in(server.database, name) for name in ("Ana", "Ben", "Cleo")]
    made = Team(server, [session.user.user_id for session in sessions])
    made.chat_id = (await groups.create_group(server.database, made.ana, "team", ["Ben", "Cleo"])).group_id
    await made.send("hello")
    return made


async def test_who_has_left_marks_what_they_can_see_and_nothing_later(server: Server) -> None:
    made = await team(server)
    await made.remove(made.ben, made.ben)
    for number in range(3):
        await made.send(f"later {number}")
    before = await chats.get_chat(server.database, made.ben, made.chat_id)
    assert (before.left, before.unread, before.last_seq) == (True, 1, 3)
    await made.read(made.ben, 1000)
    after = await chats.get_chat(server.database, made.ben, made.chat_id)
    assert (after.left, after.unread, after.last_seq) == (True, 0, 3)
    (stored,) = await server.database.fetch("SELECT read_seq FROM chat_members WHERE user_id = $1", made.ben)
    assert stored[0] == 3


async def test_who_has_left_is_not_told_when_others_write(server: Server) -> None:
    made = await team(server)
    await made.remove(made.ben)
    before = await chats.get_chat(server.database, made.ben, made.chat_id)
    newer = (await server.send(made.ben, "note", to="Ben")).chat_id
    await made.send("later")
    listed = (await chats.list_chats(server.database, made.ben)).chats
    assert [chat.chat_id for chat in listed] == [newer, made.chat_id]
    assert listed[1] == before


async def test_only_ones_own_devices_hear_what_one_marks_after_leaving(read_dsn: Callable[[], str]) -> None:
    air = Air(read_dsn)
    await air.open()
    one = ChatServer(read_dsn, "one", air)
    await one.start()
    ana, ben = await sign_in(one.database, "Ana"), await sign_in(one.database, "Ben")
    tablet = await sign_in(one.database, phone_number=ben.user.phone_number)
    group_id = (await groups.create_group(one.database, ana.user.user_id, "team", ["Ben"])).group_id
    await one.context.messages.send(
        ana.user.user_id, SendMessage(chat_id=group_id, text="unread"), arrival(), "192.0.2.1"
    )
    await groups.remove_member(one.database, ben.user.user_id, group_id, ben.user.user_id)
    wires = [Wire(one, principal_of(session)) for session in (ana, tablet)]
    for wire in wires:
        await wire.open()
    await one.context.receipts.mark(ben.user.user_id, {group_id: ReceiptMark(read_seq=3)})
    await air.catch_up()
    one.hear_all()
    heard: list[list[object]] = [[], []]
    async with asyncio.timeout(30):
        while not heard[1]:
            for frames, wire in zip(heard, wires, strict=True):
                frames += [frame for frame in wire.take() if frame["type"] == "receipt"]
            await asyncio.sleep(0.001)
    receipt = {"type": "receipt", "chat_id": group_id, "user_id": ben.user.user_id, "delivered_seq": 3, "read_seq": 3}
    assert heard == [[], [receipt]]
    await one.kill()
    await air.close()


async def test_a_status_does_not_fall_when_somebody_comes_back(server: Server) -> None:
    made = await team(server)
    await made.read(made.ben, 2)
    await made.remove(made.ben)
    seq = await made.send("while Ben was out")
    await made.read(made.cleo, seq)
    assert await made.statuses() == ["read", "read"]
    await made.add(made.ben)
    assert await made.statuses() == ["read", "read"]
    last = await made.send("to both")
    await made.read(made.cleo, last)
    # What Ben can see and has not read counts; what he cannot see does not.
    assert await made.statuses() == ["read", "read", "sent"]
    await made.read(made.ben, last)
    assert await made.statuses() == ["read", "read", "read"]


async def test_leaving_neither_raises_a_status_nor_lets_it_fall(server: Server) -> None:
    made = await team(server)
    await made.read(made.cleo, 2)
    assert await made.statuses() == ["sent"]
    # He could see it, can still, and has not read it.
    await made.remove(made.ben)
    assert await made.statuses() == ["sent"]
    await made.add(made.ben)
    assert await made.statuses() == ["sent"]
    await made.read(made.ben, 2)
    assert await made.statuses() == ["read"]
    for user_id in (made.ben, made.cleo):
        await made.remove(user_id, user_id)
    assert await made.statuses() == ["read"]


async def test_nobody_waits_for_who_has_deleted_their_account(server: Server) -> None:
    made = await team(server)
    await made.read(made.cleo, 2)
    again = await sign_in(server.database, phone_number=await _number_of(server, made.ben))
    deletions = Deletions(server.database, Devices(server.database))
    await deletions.delete_account(principal_of(again))
    await deletions.sweep()
    assert await made.statuses() == ["read"]


async def _number_of(server: Server, user_id: int) -> str:
    (record,) = await server.database.fetch("SELECT phone_number FROM users WHERE user_id = $1", user_id)
    return str(record[0])


async def test_a_message_that_only_its_sender_sees_is_read(server: Server) -> None:
    ana = (await sign_in(server.database, "Ana")).user.user_id
    notes = (await server.send(ana, "note", to="Ana")).chat_id
    alone = (await groups.create_group(server.database, ana, "alone", [])).group_id
    await server.send(ana, "into the void", chat_id=alone)
    for chat_id in (notes, alone):
        rows = (await chats.read_history(server.database, ana, chat_id)).rows
        assert rows[-1].status == "read"


async def test_nobody_learns_from_a_status_what_somebody_has_hidden(server: Server) -> None:
    made = await team(server)
    await changes.hide_message(server.database, made.ben, made.chat_id, 2)
    await made.read(made.cleo, 2)
    assert await made.statuses() == ["sent"]
    await made.read(made.ben, 2)
    assert await made.statuses() == ["read"]
