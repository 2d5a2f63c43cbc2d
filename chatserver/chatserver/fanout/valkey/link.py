"""One connection to a Valkey: commands with their replies, and the messages of one channel."""

from __future__ import annotations

import asyncio
import collections
import ssl
from typing import TYPE_CHECKING, Any, cast

import hiredis
import structlog

from chatserver.errors import ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from chatserver.bus_settings import BusSettings, ValkeyAddress

log = structlog.get_logger()

CONNECT_SECONDS = 3.0
"""Longest time until a connection is open, TLS and authentication included."""

CALL_SECONDS = 2.0
"""Longest time until a command is answered: a Valkey that is slower would make every hint late."""

_WAITING = object()
"""What the parser returns when the rest of a reply has not arrived."""


class Link(asyncio.Protocol):
    """An open connection; ``open_link`` makes it.

    Commands and messages share it (RESP3), so both come in the order in which Valkey wrote them.

    Args:
        on_message: called with the content of each message; must not block.
    """

    def __init__(self, on_message: Callable[[bytes], None]) -> None:
        self._on_message = on_message
        self._reader = hiredis.Reader(notEnoughData=_WAITING)
        self._replies: collections.deque[asyncio.Future[Any]] = collections.deque()
        self._subscribed: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._closed = asyncio.Event()

    # --- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's are no subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Give out replies and messages in their order."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets(False)) is not _WAITING:  # noqa: FBT003 - positional in the library
                self._take(reply)
        except hiredis.ProtocolError:
            log.warning("bus_answer_not_resp")
            self.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Fail what waits for a reply."""
        self._closed.set()
        waiting, self._replies = self._replies, collections.deque()
        for reply in waiting:
            if not reply.done():
                reply.set_exception(ServiceUnavailable)
        if self._subscribed is not None and not self._subscribed.done():
            self._subscribed.set_exception(ServiceUnavailable)

    def _take(self, reply: Any) -> None:
        if isinstance(reply, hiredis.PushNotification):
            if reply[0] == b"message":
                self._on_message(reply[2])
            elif reply[0] == b"subscribe" and self._subscribed is not None and not self._subscribed.done():
                self._subscribed.set_result(None)
            return
        if not self._replies:
            # An error for the whole connection, such as that too many clients are connected.
            self.close()
            return
        waiting = self._replies.popleft()
        if not waiting.done():
            waiting.set_result(reply)

    # --- the server's side

    async def call(self, *command: str | int | bytes) -> Any:
        """Send a command and return its reply.

        Raises:
            ServiceUnavailable: no answer, or an error as the answer; the connection is closed, and whether the command
                was executed is unknown.
        """
        if self._transport is None or self._closed.is_set():
            raise ServiceUnavailable
        waiting: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._replies.append(waiting)
        self._transport.write(_pack(command))
        reply = await self._answer(waiting)
        if isinstance(reply, hiredis.ReplyError):
            # Its first word is the kind of error, such as OOM or WRONGPASS; the rest may quote arguments.
            log.warning("bus_refused", error=str(reply).partition(" ")[0])
            self.close()
            raise ServiceUnavailable
        return reply

    async def subscribe(self, channel: str) -> None:
        """Have the messages of a channel sent on this connection; returns once they are.

        Raises:
            ServiceUnavailable: as of ``call``.
        """
        if self._transport is None or self._closed.is_set():
            raise ServiceUnavailable
        self._subscribed = asyncio.get_running_loop().create_future()
        self._transport.write(_pack(("SUBSCRIBE", channel)))
        await self._answer(self._subscribed)

    async def _answer(self, waiting: asyncio.Future[Any]) -> Any:
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await waiting
        except TimeoutError as e:
            log.warning("bus_call_timed_out")
            self.close()
            raise ServiceUnavailable from e

    async def wait_closed(self) -> None:
        """Return when the connection is closed, for whatever reason."""
        await self._closed.wait()

    def close(self) -> None:
        """Cut the connection."""
        self._closed.set()
        if self._transport is not None:
            self._transport.abort()


def _pack(command: tuple[str | int | bytes, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(command)  # type: ignore[arg-type] # its types name a tuple of one
    return packed


async def open_link(address: ValkeyAddress, settings: BusSettings, on_message: Callable[[bytes], None]) -> Link:
    """Connect and authenticate.

    Args:
        address: of the Valkey.
        settings: password and authorities, whose files are read now.
        on_message: called with the content of each message; must not block.

    Raises:
        ServiceUnavailable: it cannot be reached, its certificate is not valid, or it refuses the password.
    """
    link = Link(on_message)
    try:
        password = settings.read_password()
        context = ssl.create_default_context(cafile=settings.bus_ca_file) if address.tls else None
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.get_running_loop().create_connection(lambda: link, address.host, address.port, ssl=context)
            login = () if password is None else ("AUTH", settings.bus_username, password)
            await link.call("HELLO", 3, *login)
    except (OSError, ValueError) as e:
        # TimeoutError and ssl.SSLError are OSErrors; ValueError: the password file is not UTF-8.
        link.close()
        log.warning("bus_not_reached", address=str(address), error=type(e).__name__)
        raise ServiceUnavailable from e
    except BaseException:
        link.close()
        raise
    return link
