"""The interface of what is measured: our chat and its peers look the same to the scenarios."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bench.orders import Person, Wire


class Subject(Protocol):
    """A running chat system."""

    @property
    def name(self) -> str:
        """The name in reports."""

    @property
    def wire(self) -> Wire:
        """The protocol that a generator uses."""

    @property
    def urls(self) -> list[str]:
        """URLs of its servers, or of the proxies in front of them."""

    @property
    def authority(self) -> str:
        """File with the certificate authority to trust; empty: no TLS."""

    def pairs(self, count: int) -> list[list[Person]]:
        """Create pairs, of whom the first sends to the second."""

    def users(self, count: int) -> list[Person]:
        """Create users who only connect."""

    def processes(self) -> dict[str, list[int]]:
        """Return the ids of its processes by kind: server, database, proxy."""

    def stored(self) -> int:
        """Return the number of messages in the database, each counted once."""
