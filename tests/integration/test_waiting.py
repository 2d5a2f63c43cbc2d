"""Whatever waits, against whatever ends it: one table, the same whether the end comes from this server or another one.

docs/protocol.md says the same in prose, under "When access ends while a request waits". Every kind of waiting needs
a row, every ending a column. The waiting is on server one; the ending is carried out on `one`, or on `two` and comes
over the bus.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from chatserver.accounts import device_limit
from chatserver.errors import ChatError
from chatserver.fanout.syncing import USER_AT_ONCE
from chatserver.messaging import feed, groups
from chatserver.messaging.feed import FeedQuery
from chatserver.model import ReceiptMark, SendMessage
from chatserver.protocol import CLOSE_RESTART
from chatserver.users import blocks
from tests.support.inprocess import ChatServer, Frame, Wire
from tests.support.people import arrival, make_accounts, principal_of, sign_in
from tests.support.playedbus import Air

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from chatserver.model import Page, Principal, SignIn

    Answer = Callable[[], Awaitable[str]]

pytestmark = pytest.mark.integration

# own       the device signs itself out
# other     another device of the user signs it out
# many      the user signs in on so many devices that this one, used longest ago, is signed out
# expired   its session expires
# account   the user deletes their account
# removed   an admin removes the user from the group that the waiting is about
# blocked   the other one of the direct chat that the waiting is about blocks the user
# drain     the server leaves
#
# 401, 4001     refused, or closed with this code, with no row
# nothing       ends empty, when its time is over or the server leaves
# last          brings what is there up to the removal and nothing that was written later
# open, goes on as if nothing had happened
# stored    committed
# left, blocked   403 not_a_member, 403 blocked
TABLE = """
what waits            own     other   many    expired  account  removed  blocked  drain
a long poll           401     401     401     401      401      last     open     nothing
a socket              4001    4001    4001    4001     4001     last     open     1012
a handshake           4001    4001    4001    4001     4001     last     open     1012
a ticket              401     401     401     401      401      open     open     open
a sync under way      4001    4001    4001    4001     4001     last     open     1012
a sync in the queue   4001    4001    4001    4001     4001     last     open     1012
a queued send         stored  stored  stored  stored   left     left     blocked  stored
queued receipts       stored  stored  stored  stored   stored   stored   stored   stored
"""

LINES = [re.split(r"\s{2,}", line) for line in TABLE.strip().splitlines()]
ENDINGS = {ending: {line[0]: line[column] for line in LINES[1:]} for column, ending in enumerate(LINES[0]) if column}
WAIT_SECONDS = 30
FEW_DEVICES = 2
"""That a user may have here."""


class World:
    """Two servers; Ben, who writes; and a new Ana for each thing that waits, always on server one.

    Attributes:
        me: Ana on the device that waits.
        group: Ben is its admin.
        direct: the chat of the two.
    """

    me: Principal
    ana: SignIn
    group: int
    direct: int

    def __init__(self, one: ChatServer, two: ChatServer, air: Air, ben: SignIn) -> None:
        self.one, self.two = one, two
        self._air = air
        self._ben = ben.user.user_id
        self._anas = 0

    async def meet_ana(self) -> None:
        """Have a new Ana sign in, whom Ben knows."""
        self._anas += 1
        name = f"Ana{self._anas}"
        self.ana = await sign_in(self.one.database, name)
        self.me = principal_of(self.ana)
        self.group = (await groups.create_group(self.one.database, self._ben, "team", [name])).group_id
        hello = SendMessage(to=name, text="hello")
        self.direct = (await self.one.context.messages.send(self._ben, hello, arrival(), "192.0.2.1")).chat_id
        await self.settle()

    def chat_of(self, how: str) -> int:
        """Return the chat that an ending is about; either for those that are about none."""
        return self.direct if how == "blocked" else self.group

    async def settle(self) -> None:
        """Have both servers hear what was committed, and bring it to their connections."""
        await self._air.catch_up()
        for server in (self.one, self.two):
            server.hear_all()
            deliverer = server.context.deliverer
            await eventually(lambda: not deliverer._work.is_set() and not deliverer._pending)  # noqa: B023 - awaited here

    async def write(self, chat_id: int, text: str) -> None:
        """Have Ben write on server one, which brings its own rows to its connections without the bus."""
        await self.one.context.messages.send(self._ben, SendMessage(chat_id=chat_id, text=text), arrival(), "192.0.2.1")

    async def end(self, how: str, server: ChatServer) -> None:
        """Carry an ending out on a server; nobody has heard of it yet but by what the server itself does."""
        database, devices, me = server.database, server.context.devices, self.me
        match how:
            case "own":
                await devices.revoke(me.user_id, me.device_id, by_device_id=me.device_id)
            case "other":
                other = principal_of(await sign_in(database, phone_number=self.ana.user.phone_number))
                await devices.revoke(me.user_id, me.device_id, by_device_id=other.device_id)
            case "many":
                await database.execute("UPDATE devices SET last_used = now() - interval '1 day'")
                accounts = make_accounts(database, per_number_per_hour=100)
                for _ in range(FEW_DEVICES):
                    made = await accounts.request_code(self.ana.user.phone_number, "192.0.2.1")
                    await accounts.create_session(made.phone_number, made.code, code_id=made.code_id)
            case "expired":
                await database.execute("UPDATE devices SET expires_at = now() WHERE device_id = $1", me.device_id)
            case "account":
                await server.context.deletions.delete_account(me)
            case "removed":
                await groups.remove_member(database, self._ben, self.group, me.user_id)
            case "blocked":
                await blocks.set_block(database, self._ben, me.user_id, blocked=True)
            case "drain":
                self.one.context.health.refusing = True
                self.one.context.hub.polls.wake_all()

    async def look_for_expired(self) -> None:
        """Do what every server does once a minute."""
        await self.one.context.devices.end_revoked(self.one.context.hub.devices())


@asynccontextmanager
async def world(read_dsn: Callable[[], str]) -> AsyncIterator[World]:
    air = Air(read_dsn)
    await air.open()
    one, two = ChatServer(read_dsn, "one", air), ChatServer(read_dsn, "two", air)
    await one.start()
    await two.start()
    try:
        yield World(one, two, air, await sign_in(one.database, "Ben"))
    finally:
        await two.kill()
        await one.kill()
        await air.close()


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_so():
            await asyncio.sleep(0.001)


# --- what waits: each begins to wait, and returns what tells how that ended


async def a_long_poll(world: World, how: str) -> Answer:
    events = how == "removed"
    since = (await feed.read_feed(world.one.database, world.me.user_id, events=events)).next_since
    question = FeedQuery(since, 100, events=events)
    poll = asyncio.create_task(world.one.context.polls.wait(world.me, question, 60))
    # Its first page was read, and so it waits.
    polls = world.one.context.hub.polls.by_user
    await eventually(lambda: any(mine.woken._waiters for mine in polls.get(world.me.user_id, ())))

    async def answer() -> str:
        try:
            page: Page = await poll
        except ChatError as error:
            return str(error.status)
        found = [row.text or (row.detail or {}).get("action") for row in page.rows]
        return {"later": "open", "removed": "last", "": "nothing"}.get(" ".join(map(str, found)), str(found))

    return answer


async def a_socket(world: World, how: str) -> Answer:
    wire = Wire(world.one, world.me)
    await wire.open()
    wire.take()
    return lambda: end_of(world, wire, how)


async def a_handshake(world: World, how: str) -> Answer:
    # Authenticated, and not among the connections yet.
    await world.one.context.deliverer.arrivals.expect(world.me.user_id)
    wire = Wire(world.one, world.me)

    async def answer() -> str:
        if world.one.context.devices.is_ended(world.me.device_id):
            return "4001"
        await wire.open()
        if how == "expired":
            await world.look_for_expired()
        wire.submit({"type": "sync", "chats": {}})
        return await end_of(world, wire, how)

    return answer


async def a_ticket(world: World, how: str) -> Answer:
    ticket = await world.one.context.devices.issue_ticket(world.me)

    async def answer() -> str:
        # A server that leaves takes no connections; another one does.
        server = world.two if how == "drain" else world.one
        try:
            await server.context.devices.redeem_ticket(ticket)
        except ChatError as error:
            return str(error.status)
        return "open"

    return answer


async def a_sync_under_way(world: World, how: str) -> Answer:
    for _ in range(12):
        await world.write(world.chat_of(how), "x" * 60_000)
    await world.settle()
    wire = Wire(world.one, world.me)
    await wire.open()
    wire.submit({"type": "sync", "chats": {}})
    # Until it waits for the peer to read: half of the outbox is full.
    await eventually(lambda: len(wire._connection.outbox) > 8)
    return lambda: end_of(world, wire, how)


async def a_sync_in_the_queue(world: World, how: str) -> Answer:
    place = world.one.context.syncs.place_of(world.me.user_id)
    for _ in range(USER_AT_ONCE):
        await place.__aenter__()
    wire = Wire(world.one, world.me)
    await wire.open()
    wire.take()
    wire.submit({"type": "sync", "chats": {}})

    async def answer() -> str:
        for _ in range(USER_AT_ONCE):
            await place.__aexit__(None, None, None)
        return await end_of(world, wire, how)

    return answer


async def end_of(world: World, wire: Wire, how: str) -> str:
    """Read all that a socket still brings, and return how it ends."""
    if how == "drain":
        for connection in world.one.context.hub.connections.values():
            connection.outbox.close(CLOSE_RESTART, "the server restarts")
    frames: list[Frame] = []

    def is_over() -> bool:
        frames.extend(wire.take())
        rows = [frame.get("message", frame) for frame in frames]
        return wire.close_code is not None or any(
            row.get("text") == "later" or row.get("action") == "removed" for row in rows
        )

    await eventually(is_over)
    await world.settle()
    frames.extend(wire.take())
    wire.close()
    texts = [frame["message"]["text"] for frame in frames if frame["type"] == "message"]
    if wire.close_code is not None:
        return f"{wire.close_code}, {len(texts)} rows" if texts and how != "drain" else str(wire.close_code)
    return "open" if "later" in texts else "last"


async def a_queued_send(world: World, how: str) -> Answer:
    writer = world.one.context.writer
    # Nothing is written until the ending is over.
    room, writer._in_flight = writer._in_flight, 0
    message = SendMessage(chat_id=world.chat_of(how), text="mine")
    sending = asyncio.create_task(world.one.context.messages.send(world.me.user_id, message, arrival(), "192.0.2.1"))
    await eventually(lambda: writer.queued_rows > 0)
    writer._in_flight = room

    async def answer() -> str:
        writer._start_batches()
        try:
            await sending
        except ChatError as error:
            return {"not_a_member": "left"}.get(error.code, error.code)
        return "stored"

    return answer


async def queued_receipts(world: World, how: str) -> Answer:
    receipts = world.one.context.receipts
    # As if a batch were being collected.
    receipts._collecting = True
    marks = {world.chat_of(how): ReceiptMark(read_seq=1)}
    marking = asyncio.create_task(receipts.mark(world.me.user_id, marks))
    await eventually(lambda: bool(receipts._calls))

    async def answer() -> str:
        await receipts._store_all()
        return "stored" if await marking else "nothing"

    return answer


WAITING = {
    begin.__name__.replace("_", " "): begin
    for begin in (
        a_long_poll, a_socket, a_handshake, a_ticket, a_sync_under_way, a_sync_in_the_queue, a_queued_send,
        queued_receipts,
    )
}  # fmt: skip


@pytest.mark.parametrize("where", ["one", "two"])
@pytest.mark.parametrize("how", ENDINGS)
async def test_what_waits_ends_as_documented(
    read_dsn: Callable[[], str], how: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_limit, "DEVICES_OF_A_USER", FEW_DEVICES)
    assert list(ENDINGS[how]) == list(WAITING)
    ended = {}
    async with world(read_dsn) as made:
        for what, begin in WAITING.items():
            await made.meet_ana()
            answer = await begin(made, how)
            await made.end(how, getattr(made, where))
            if what != "a long poll":
                if how == "expired":
                    await made.look_for_expired()
                await made.settle()
            # A poll looks by itself: this row comes to it before it hears from the bus of what happened on server two.
            if how != "drain":
                await made.write(made.group, "later")
            await made.settle()
            ended[what] = await answer()
            made.one.context.health.refusing = False
    assert ended == ENDINGS[how]
