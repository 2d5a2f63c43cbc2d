"""What can be measured: our chat and its peers, to the scenarios the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from bench.orders import Person, Wire


class Subject(Protocol):
    """A running chat of some make."""

    @property
    def name(self) -> str:
        """For people."""

    @property
    def wire(self) -> Wire:
        """How a generator talks to it."""

    @property
    def urls(self) -> list[str]:
        """Of its servers, or of the proxies in front."""

    @property
    def authority(self) -> str:
        """File with the certificate authority to trust; empty: no TLS."""

    def pairs(self, count: int) -> list[list[Person]]:
        """Make pairs, of whom the first sends to the second."""

    def people(self, count: int) -> list[Person]:
        """Make people who only connect."""

    def processes(self) -> dict[str, list[int]]:
        """Return the ids of its processes by what they are: server, database, proxy."""

    def stored(self) -> int:
        """Return how many messages are in the database, each counted once."""
