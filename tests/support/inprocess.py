"""Chatservers in one event loop: all of their parts on a real database but HTTP, and a bus and sockets to play with."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any, Protocol

from chatserver.closing import End
from chatserver.errors import ChatError, InternalError
from chatserver.fanout.connection import ClientConnection
from chatserver.metrics import Metrics
from chatserver.settings import read_settings
from chatserver.socket.conversation import Conversation
from chatserver.transport.upkeep import Sockets
from chatserver.transport.websocket import Socket
from chatserver.wiring import make_context
from tests.support.playedbus import PlayedBus
from tests.support.server import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from chatserver.hints import Hint
    from chatserver.http.context import Context
    from chatserver.model import Principal
    from tests.support.playedbus import Air

POOL_SIZE = 4
Frame = dict[str, Any]


class ChatServer:
    """One chatserver without its listener, from start to kill.

    Args:
        read_dsn: of the database.
        name: of the server.
        air: where hints are heard.
        by_valkey: its hints go to the servers concerned and carry small messages.

    Attributes:
        failures: what no test may see: errors that are nobody's answer.
        refusals: codes of errors that callers were told.
    """

    def __init__(self, read_dsn: Callable[[], str], name: str, air: Air, *, by_valkey: bool = False) -> None:
        # Nobody listens there: the bus is played.
        bus = {"CHAT_BUS_TYPE": "Valkey", "CHAT_BUS_URLS": "valkey://127.0.0.1:1"} if by_valkey else {}
        variables = environment(read_dsn(), CHAT_SERVER_NAME=name, CHAT_DATABASE_POOL_SIZE=POOL_SIZE, **bus)
        self.context = make_context(read_settings(variables), Metrics())
        self.database = self.context.database
        deliverer = self.context.deliverer
        self.bus = PlayedBus(self.database, air, self.context.hub, deliverer.own_batches._rendered)
        self.context.bus = self.bus
        # Instead of those of the bus that nobody listens to.
        deliverer.arrivals._register = self.bus.register
        deliverer.watches._register = self.bus.register_watched
        if by_valkey:
            self.database.hints.publish_by(self.bus.publish)
        self.failures: list[BaseException] = []
        self.refusals: list[str] = []
        self._air = air
        self._work: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Take part."""
        context = self.context
        await self.database.open()
        context.writer.start()
        self._loops = [
            asyncio.create_task(context.deliverer.run()),
            asyncio.create_task(context.deliverer.recovery.run(self.bus)),
        ]
        self._air.servers.append(self)

    async def kill(self) -> None:
        """End without a word: statements under way may be committed or not, nobody is answered."""
        self._air.servers.remove(self)
        pool = self.database._pool
        assert pool is not None
        pool.terminate()
        writer = self.context.writer
        writer._ready.clear()
        writer._busy.clear()
        assert writer._expiry is not None
        tasks = [*self._work, *self.context.tasks, *self._loops, *writer._running, writer._expiry]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.database.close()

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Let a call of a user run beside others; what it refuses is noted."""
        task = asyncio.create_task(self._answer(work))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _answer(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except InternalError as error:
            self.failures.append(error)
        except ChatError as error:
            self.refusals.append(error.code)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self.failures.append(error)

    async def quiet(self) -> None:
        """Return when all that was begun is answered."""
        while work := self._work | self.context.tasks:
            await asyncio.wait(work)

    def hear(self, hint: Hint) -> None:
        """Get a hint."""
        self.context.deliverer.receive(hint)

    def hear_all(self) -> None:
        """Get all hints that wait, in their order."""
        while self.bus.waiting:
            self.hear(self.bus.waiting.pop(0))

    def lose_bus(self) -> None:
        """Lose the connection of the bus, and what was on the way with it."""
        self.bus.listening = False
        self.bus.waiting.clear()

    def regain_bus(self) -> None:
        """Listen again, on a new connection that tells nothing of what was before, after registering everybody."""
        self.bus.listening = True
        self.bus.waiting.clear()
        self.bus.register_all()
        self.context.deliverer.recovery.hints_were_missed()


class PlayedSocket(Socket):
    """A socket whose peer reads when the test says so.

    Attributes:
        written: frames that were written and not taken.
        close_code: what the server closed it with.
    """

    def __init__(self, owner: Conversation) -> None:
        super().__init__(owner, Sockets())
        self.paused = True
        self.written: list[bytes] = []
        self.close_code: int | None = None

    def write(self, frames: list[bytes]) -> bool:
        """Keep frames."""
        self.written += frames
        return True

    def close(self, code: int, reason: str) -> None:  # noqa: ARG002 - as of Socket
        """Note the code."""
        self.close_code = code


class Parts(Protocol):
    """A server without its listener, or with."""

    @property
    def context(self) -> Context:
        """Its parts."""


class Wire:
    """A device's connection to one server: frames go in, frames come out when they are taken."""

    def __init__(self, server: Parts, principal: Principal) -> None:
        self.server = server
        self._connection = ClientConnection(uuid.uuid4().hex[:16], principal.user_id, principal.device_id)
        self._conversation = Conversation(server.context, self._connection, "epoch", "192.0.2.1")
        self._socket = PlayedSocket(self._conversation)

    async def open(self) -> None:
        """Connect, as socket/route.py does.

        Raises:
            ServiceUnavailable: the database is unavailable.
        """
        context = self.server.context
        await context.deliverer.arrivals.expect(self._connection.user_id)
        await context.deliverer.claims.claim(context.bus, self._connection)
        self._conversation.opened(self._socket)

    def close(self) -> None:
        """Go away in a way that the server notices."""
        code = self.close_code or 0
        self._conversation.ended(End.CLOSED_HERE if code else End.GOODBYE, code)

    @property
    def close_code(self) -> int | None:
        """The code that the server ends the connection with, once all frames before it are taken."""
        return self._socket.close_code

    def take(self) -> list[Frame]:
        """Return the frames that wait."""
        self._socket.paused = False
        self._conversation.flush()
        self._socket.paused = True
        written, self._socket.written = self._socket.written, []
        return [json.loads(frame) for frame in written]

    def submit(self, frame: Frame) -> None:
        """Send a frame to the server, which begins to carry it out."""
        self._conversation.receive(json.dumps(frame))
