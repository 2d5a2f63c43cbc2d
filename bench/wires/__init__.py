"""The protocols that a generator speaks, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

    from bench.orders import Order, Person

HANDSHAKE_SECONDS = 120.0
"""Longest wait for a connection: thousands arrive at once, and the server accepts them one by one."""


class Connection(Protocol):
    """One connection of the generator."""

    def send(self, key: bytes, due_us: int) -> None:
        """Send the message with this key, whose latency counts from `due_us`.

        Raises:
            ConnectionError: The server has closed the connection.
        """

    def close(self) -> None:
        """Close it."""


class Account(Protocol):
    """Receives the events of connections."""

    @property
    def order(self) -> Order:
        """The order that is executed."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The TLS context, if the order names an authority."""

    def acked(self, connection: Connection, due_us: int) -> None:
        """Count an acknowledgement of the message that was due then."""

    def delivered(self, due_us: int) -> None:
        """Count a message at its recipient."""

    def refused(self, connection: Connection) -> None:
        """Count a send that was answered by an error."""

    def failed(self, error: BaseException) -> None:
        """Give up: a connection failed."""


class Connect(Protocol):
    """Opens a connection and signs a user in."""

    async def __call__(self, account: Account, person: Person, url: str) -> Connection:
        """Return the connection once it can send and receive.

        Raises:
            ConnectionError: The server rejects the connection; it may accept later.
        """
        ...


def source_address(process: int, host: str) -> tuple[str, int] | None:
    """Return the source address of a generator process.

    Each has its own loopback address: one address has about 28,000 ports for one server.
    """
    return (f"127.0.1.{process + 1}", 0) if host in {"127.0.0.1", "localhost"} else None
