"""Whoever talks over a WebSocket, as the socket sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from chatserver.closing import End
    from chatserver.transport.websocket import Socket


class Owner(Protocol):
    """Whoever talks over a socket.

    Attributes:
        user_id: of the user; 0 if it is not known.
    """

    @property
    def user_id(self) -> int:
        """As above."""

    def opened(self, socket: Socket) -> None:
        """Hear that the handshake is answered, before all else."""

    def receive(self, data: str | bytes) -> None:
        """Take a message, text or binary."""

    def counts(self) -> bool:
        """Count a frame that brings no message: a ping, a pong, or a part of one. False: they are too many."""

    def flush(self) -> None:
        """Write what waits: the peer reads again."""

    def stuck(self) -> None:
        """Hear that the peer has read nothing for the longest time that it may."""

    def ended(self, end: End, code: int) -> None:
        """Hear that the connection is gone, once, after all else.

        Args:
            end: how.
            code: with which this server closed it; 0 if it was not this server.
        """
