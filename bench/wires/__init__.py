"""The protocols that a generator speaks, one file each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl

    from bench.orders import Order, Person

HANDSHAKE_SECONDS = 120.0
"""Longest wait for a connection: thousands come at once, and the server takes them one after the other."""


class Connection(Protocol):
    """One connection of the generator."""

    def send(self, key: bytes, due_us: int) -> None:
        """Send the message of this key, whose acknowledgement counts from `due_us`.

        Raises:
            ConnectionError: The server has closed the connection.
        """

    def close(self) -> None:
        """Close it."""


class Account(Protocol):
    """Where connections tell what has happened to them."""

    @property
    def order(self) -> Order:
        """What is to be done."""

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Whom to trust, where an order names an authority."""

    def acked(self, connection: Connection, due_us: int) -> None:
        """Note an acknowledgement of the message that was due then."""

    def delivered(self, due_us: int) -> None:
        """Note a message at its recipient."""

    def refused(self, connection: Connection) -> None:
        """Note a send that was answered by an error."""

    def failed(self, error: BaseException) -> None:
        """Give up: a connection cannot go on."""


class Connect(Protocol):
    """Opens a connection and signs a person in."""

    async def __call__(self, account: Account, person: Person, url: str) -> Connection:
        """Return the connection once it can send and receive.

        Raises:
            ConnectionError: The server refuses; it may accept later.
        """
        ...


def source_address(process: int, host: str) -> tuple[str, int] | None:
    """Return where a generator process connects from.

    Each has a loopback address of its own: one address has about 28,000 ports for one server.
    """
    return (f"127.0.1.{process + 1}", 0) if host in {"127.0.0.1", "localhost"} else None
