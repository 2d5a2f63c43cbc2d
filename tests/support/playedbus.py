"""Hints between chatservers in one event loop: a bus that a test plays, which sends them as NOTIFY or Valkey does."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

from chatserver.fanout.valkey.addressing import addressed
from chatserver.hints import HINT_CHANNEL, Hint
from chatserver.storage.database import Database
from chatserver.storage.publishing import notify

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from chatserver.fanout.hub import Hub
    from chatserver.fanout.rendered_rows import RenderedRows
    from chatserver.fanout.valkey.addressing import Addressed
    from chatserver.fanout.valkey.scripts import Kind
    from chatserver.storage.listener import Listener
    from tests.support.inprocess import ChatServer

PUBLISHED_SECONDS = 10.0


class Air:
    """Where every NOTIFY of the database is heard, once; what servers get of it, and when, the test decides.

    Attributes:
        databases: of others than servers whose hints are waited for.
    """

    def __init__(self, read_dsn: Callable[[], str]) -> None:
        self._database = Database(read_dsn, server_name="air", pool_size=1)
        self._numbers = itertools.count(1)
        self._marks: dict[str, asyncio.Event] = {}
        self._listener: Listener | None = None
        self.servers: list[ChatServer] = []
        self.databases: list[Database] = []

    async def open(self) -> None:
        """Begin to listen."""
        await self._database.open()
        self._listener = await self._database.listen(self._hear)

    async def close(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            self._listener.close()
        await self._database.close()

    def _hear(self, payload: str) -> None:
        if payload in self._marks:
            self._marks.pop(payload).set()
            return
        for server in self.servers:
            server.bus.get(Hint.decode(payload))

    def send(self, part: Addressed, but: PlayedBus | None = None) -> None:
        """Have those servers get a part of a hint to which Valkey would send it; never `but`."""
        line = part.hint.encode_with_rows()
        for server in self.servers:
            if server.bus is not but and server.bus.is_concerned(part):
                server.bus.get(Hint.decode(line))

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Have servers get hints as by Valkey from a server without connections, which carry no messages."""
        for hint in hints:
            for part in addressed(hint, lambda _: None, lambda _: ()):
                self.send(part)

    async def catch_up(self) -> None:
        """Return when everything that is committed by now has been heard, except what servers hold back."""
        for database in (*self.databases, *(server.database for server in self.servers)):
            await published(database)
        mark = f"mark {next(self._numbers)}"
        heard = self._marks[mark] = asyncio.Event()
        await self._database.execute("SELECT pg_notify($1, $2)", HINT_CHANNEL, mark)
        await heard.wait()


async def published(database: Database) -> None:
    """Return when the hints of all that is committed through a database are published."""
    async with asyncio.timeout(PUBLISHED_SECONDS):
        while database.hints.unpublished_since() is not None:
            await asyncio.sleep(0.0005)


class PlayedBus:
    """One server's end of the bus (`chatserver.fanout.bus.Bus`), with what a Valkey knows of this server.

    Args:
        database: the server's, whose NOTIFY is used.
        air: what passes on.
        hub: the server's connections.
        rendered: messages that hints carry by Valkey; None: hints go to everybody, by NOTIFY.

    Attributes:
        waiting: hints that were sent and have not reached the server.
        listening: False: the connection is lost, and the server knows it.
    """

    def __init__(self, database: Database, air: Air, hub: Hub, rendered: RenderedRows | None) -> None:
        self.waiting: list[Hint] = []
        self.listening = True
        self._database = database
        self._air = air
        self._hub = hub
        self._rendered = rendered
        self._known = True
        self._registry: dict[Kind, set[int]] = {"user": set(), "watched": set()}

    def is_healthy(self) -> bool:
        """As of `Bus`."""
        return self.listening

    async def publish(self, hints: Sequence[Hint]) -> None:
        """As of `Bus`, and in the way of `ValkeyBus`."""
        if self._rendered is None:
            await notify(self._database, hints)
            return
        for hint in hints:
            is_own = hint.is_batch and hint.origin == self._database.server_name
            for part in addressed(hint, self._hub.members.of, self._rendered.take):
                self._air.send(part, but=self if is_own else None)
            if is_own:
                self.get(hint)

    async def register(self, user_ids: Collection[int]) -> None:
        """As of `Bus`."""
        self._registry["user"].update(user_ids)

    async def register_watched(self, user_ids: Collection[int]) -> None:
        """As of `Bus`."""
        self._registry["watched"].update(user_ids)

    async def run(self) -> None:
        """As of `Bus`; nothing is to be done, since hints are handed over by hand."""

    def get(self, hint: Hint) -> None:
        """Let a hint wait for being handed over, unless the connection is lost."""
        if self.listening:
            self.waiting.append(hint)

    def is_concerned(self, part: Addressed) -> bool:
        """Return whether Valkey would send a part of a hint to this server."""
        return self._known if part.to is None else not self._registry[part.of].isdisjoint(part.to)

    def flush(self) -> None:
        """Let Valkey forget this server and its users, which the server has not noticed yet."""
        self._known = False
        for registered in self._registry.values():
            registered.clear()

    def register_all(self) -> None:
        """Register everybody again, as a server does that has noticed a loss."""
        self._known = True
        self._registry = {"user": set(self._hub.following.users()), "watched": set(self._hub.watching.users())}
