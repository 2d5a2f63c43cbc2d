"""A server that dies between commits and publications, again and again under one name, and a world that watches."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Any

from chatserver.accounts.devices import Devices
from chatserver.messaging import changes, groups
from chatserver.model import Principal, ReceiptMark
from chatserver.storage import presence
from chatserver.storage.messages import open_direct_chat
from chatserver.storage.publishing import HintPublisher
from chatserver.users.blocks import set_block
from chatserver.users.users import ProfileChange, update_profile
from tests.support.inprocess import ChatServer, Frame, Wire
from tests.support.people import Server, sign_in

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from chatserver.hints import Hint
    from tests.support.playedbus import Air

USERS = 4
ARRIVES_SECONDS = 30.0
"""Far beyond what a sweep takes whose periods are shortened."""

_VISIBLE = """
SELECT m.chat_id, m.seq FROM messages m JOIN chat_members cm USING (chat_id)
WHERE cm.user_id = $1 AND m.seq > cm.joined_seq AND m.chat_id > $2
"""


class Mortal:
    """A server that publishes some hints, and dies with the others.

    Args:
        server: its storage, which all of its lives share.
        chance: decides which.
        publish: sends hints.

    Attributes:
        deaths: how many lives it had; `unpublished`: how many of them left something.
    """

    def __init__(
        self, server: Server, chance: random.Random, publish: Callable[[Sequence[Hint]], Awaitable[None]]
    ) -> None:
        self.server = server
        self._send = publish
        self.deaths = 0
        self.unpublished = 0
        self._chance = chance
        server.database.hints.publish_by(self._publish)

    async def _publish(self, hints: Sequence[Hint]) -> None:
        if self._chance.random() < 1 / 3:
            await self._send(hints)
        else:
            await asyncio.Event().wait()

    async def die(self) -> None:
        """Forget everything that only a process knows, and begin again under the same name."""
        database = self.server.database
        self.deaths += 1
        self.unpublished += database.hints.unpublished_since() is not None
        if database.hints._running is not None:
            database.hints._running.cancel()
            await asyncio.gather(database.hints._running, return_exceptions=True)
        database.hints = HintPublisher(database.server_name, self._publish)


class World:
    """Users on one server that lives, whose friends are on one that dies.

    Attributes:
        acts: how often the dying server did what.
    """

    def __init__(self, mortal: Mortal, survivor: ChatServer, air: Air, chance: random.Random) -> None:
        self.mortal = mortal
        self.acts: Counter[str] = Counter()
        self._survivor = survivor
        self._air = air
        self._chance = chance
        self._users: list[int] = []
        self._names: list[str] = []
        self._wires: list[Wire] = []
        self._frames: list[list[Frame]] = []
        self._ended: list[Wire] = []
        self._groups: list[int] = []
        self._blocked: set[tuple[int, int]] = set()
        self._stranger = 0
        self._since = 0

    async def begin(self) -> None:
        """Connect everybody; nothing that is stored from here on may be missing anywhere."""
        database = self._survivor.database
        sessions = [await sign_in(database, f"u{secrets.token_hex(8)}") for _ in range(USERS + 1)]
        ids = [session.user.user_id for session in sessions]
        self._names = [session.user.username or "" for session in sessions]
        self._users, self._stranger = ids[:USERS], ids[USERS]
        for user_id in self._users:
            await open_direct_chat(database, user_id, self._stranger)
        group = await groups.create_group(database, ids[0], "all", self._names[1:USERS])
        self._groups.append(group.chat_id)
        self._since = group.chat_id
        await self._air.catch_up()
        for session in sessions[:USERS]:
            wire = Wire(self._survivor, Principal(session.user.user_id, session.device_id))
            await wire.open()
            wire.submit({"type": "subscribe", "user_ids": [self._stranger]})
            self._wires.append(wire)
            self._frames.append([])
        await self._survivor.quiet()

    # --- what the dying server does

    async def act(self) -> None:
        """Let the dying server commit something."""
        acts: dict[str, Callable[[], Awaitable[object]]] = {
            "message": self._send,
            "message in a new chat": self._send_to,
            "edit": self._edit,
            "reaction": self._react,
            "receipt": self._mark,
            "group": self._make_group,
            "member": self._add_member,
            "block": self._block,
            "profile": self._change_profile,
            "sign-out": self._sign_out,
            "presence": self._turn,
        }
        name = self._chance.choice(list(acts))
        self.acts[name] += 1
        await acts[name]()

    def _some(self) -> int:
        return self._chance.choice(self._users)

    async def _send(self) -> None:
        count = self._chance.choice([1, 1, 5])
        sends = (self.mortal.server.send(self._users[0], "text", chat_id=self._groups[0]) for _ in range(count))
        await asyncio.gather(*sends)

    async def _send_to(self) -> None:
        place = self._chance.randrange(USERS)
        await self.mortal.server.send(self._some(), "text", to=self._names[place])

    async def _edit(self) -> None:
        sent = await self.mortal.server.send(self._users[1], "text", chat_id=self._groups[0])
        await changes.edit_message(self.mortal.server.database, self._users[1], sent.chat_id, sent.seq, "better")

    async def _react(self) -> None:
        sent = await self.mortal.server.send(self._users[1], "text", chat_id=self._groups[0])
        await changes.put_reaction(self.mortal.server.database, self._some(), sent.chat_id, sent.seq, "👍")

    async def _mark(self) -> None:
        sent = await self.mortal.server.send(self._users[0], "text", chat_id=self._groups[0])
        await self.mortal.server.receipts.mark(self._some(), {sent.chat_id: ReceiptMark(read_seq=sent.seq)})

    async def _make_group(self) -> None:
        group = await groups.create_group(self.mortal.server.database, self._users[2], "new", self._names[:1])
        self._groups.append(group.chat_id)

    async def _add_member(self) -> None:
        database = self.mortal.server.database
        if len(self._groups) > 1:
            await groups.add_member(database, self._users[2], self._groups.pop(), self._users[3])

    async def _block(self) -> None:
        pair = (self._users[2], self._stranger)
        self._blocked ^= {pair}
        await set_block(self.mortal.server.database, *pair, blocked=pair in self._blocked)

    async def _change_profile(self) -> None:
        change = ProfileChange(profile_picture_url=f"https://example.com/{secrets.token_hex(4)}")
        await update_profile(self.mortal.server.database, self._users[0], change)

    async def _sign_out(self) -> None:
        user_id, database = self._some(), self.mortal.server.database
        record = await database.fetchrow(
            "INSERT INTO devices (user_id, token_hash, expires_at) VALUES ($1, $2, now() + interval '1 day') "
            "RETURNING device_id",
            user_id,
            secrets.token_bytes(32),
        )
        assert record is not None
        wire = Wire(self._survivor, Principal(user_id, record[0]))
        await wire.open()
        self._ended.append(wire)
        await Devices(database).revoke(user_id, record[0])

    async def _turn(self) -> None:
        came = [self._stranger] if self._chance.random() < 1 / 2 else []
        went = [] if came else [self._stranger]
        await presence.turn(self.mortal.server.database, "mortal", came=came, went=went)

    # --- what the others see

    @contextlib.asynccontextmanager
    async def handing_over(self) -> AsyncIterator[None]:
        """Hand hints over as they come, sometimes in another order, and sometimes twice."""
        task = asyncio.create_task(self._hand_over())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _hand_over(self) -> None:
        waiting = self._survivor.bus.waiting
        while True:
            while waiting:
                # Only claims have to come in their order.
                place = 0 if any(hint.claims for hint in waiting) else self._chance.randrange(len(waiting))
                hint = (
                    waiting[place]
                    if self._chance.random() < 1 / 5 and not waiting[place].claims
                    else waiting.pop(place)
                )
                self._survivor.hear(hint)
            self.take()
            await asyncio.sleep(0.001)

    def take(self) -> None:
        """Let everybody read."""
        for wire, frames in zip(self._wires, self._frames, strict=True):
            frames.extend(wire.take())
        for wire in self._ended:
            wire.take()

    async def finish(self) -> None:
        """Return when everything is there.

        Raises:
            AssertionError: something is missing, or came twice.
        """
        deadline = asyncio.get_running_loop().time() + ARRIVES_SECONDS
        while lacking := [what for place in range(USERS) if (what := await self._lacking(place))]:
            assert asyncio.get_running_loop().time() < deadline, lacking
            await asyncio.sleep(0.02)
        for frames in self._frames:
            rows = _rows(frames)
            assert len(rows) == len(set(rows)), "a row came twice on one connection"
        assert not self._survivor.failures, self._survivor.failures
        assert self._survivor.context.metrics.delivery.gaps_healed.value == 0

    async def _lacking(self, place: int) -> str:
        user_id, frames = self._users[place], self._frames[place]
        database = self._survivor.database
        visible = {(row[0], row[1]) for row in await database.fetch(_VISIBLE, user_id, self._since - 1)}
        came = {row for row in _rows(frames) if row[0] >= self._since and row != (self._groups[0], 1)}
        if missing := visible - came - {(self._groups[0], 1)}:
            return f"user {place}: {len(missing)} rows, such as {min(missing)}"
        if place and (told := _last(frames, "profile", "profile_picture_url", user_id=self._users[0])):
            record = await database.fetchrow("SELECT profile_picture_url FROM users WHERE user_id = $1", self._users[0])
            if record is not None and record[0] != told:
                return f"user {place}: the profile's picture"
        records = await database.fetch(
            "SELECT user_id, read_seq FROM chat_members WHERE chat_id = $1 AND read_seq > 0", self._groups[0]
        )
        for reader_id, read_seq in records:
            told = _last(frames, "receipt", "read_seq", user_id=reader_id, chat_id=self._groups[0])
            if told != read_seq:
                return f"user {place}: the receipt of {reader_id} is {told}, not {read_seq}"
        if place == 0:
            state = (await presence.states(database, [self._stranger]))[self._stranger]
            if _last(frames, "presence", "online", user_id=self._stranger) is not state.online:
                return f"user {place}: the stranger is {'on' if state.online else 'off'}line"
            if open_ := sum(wire.close_code is None for wire in self._ended):
                return f"{open_} of {len(self._ended)} signed-out devices are connected"
        return ""


def _rows(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    bodies = [frame["message"] if frame["type"] == "message" else frame for frame in frames]
    return [(body["chat_id"], body["seq"]) for body in bodies if "seq" in body and "chat_id" in body]


def _last(frames: Sequence[Frame], kind: str, field: str, **fields: object) -> Any:
    found = None
    for frame in frames:
        if frame["type"] == kind and all(frame.get(name) == value for name, value in fields.items()):
            found = frame[field]
    return found
