"""What the XMPP peers have in common: accounts named by number, one listener, one process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.orders import Person, Wire
from bench.wires.xmpp import DOMAIN

if TYPE_CHECKING:
    from bench.peers.process import PeerProcess
    from tests.support.postgres import PostgresCluster


@dataclass(slots=True)
class XmppServer:
    """A running XMPP server, as a subject but for its name and what it has stored."""

    postgres: PostgresCluster
    database: str
    process: PeerProcess
    wire: Wire = field(default="xmpp", init=False)
    authority: str = field(default="", init=False)
    _accounts: int = field(default=0, init=False)

    @property
    def urls(self) -> list[str]:
        """Of its only listener."""
        return [f"xmpp://127.0.0.1:{self.process.port}"]

    def pairs(self, count: int) -> list[list[Person]]:
        """Make accounts; senders' begin with s, recipients' with r."""
        first = self._next_accounts(count)
        return [[Person(f"s{n}", f"r{n}@{DOMAIN}"), Person(f"r{n}")] for n in range(first, first + count)]

    def people(self, count: int) -> list[Person]:
        """Make accounts that only connect."""
        first = self._next_accounts(count)
        return [Person(f"s{n}") for n in range(first, first + count)]

    def processes(self) -> dict[str, list[int]]:
        """Return the ids of the processes by what they are."""
        return {"server": [self.process.pid], "database": self.postgres.processes()}

    def _next_accounts(self, count: int) -> int:
        first = self._accounts + 1
        self._accounts += count
        self._make_accounts(first, self._accounts)
        return first

    def _make_accounts(self, first: int, last: int) -> None:
        """Make the accounts of these numbers; nothing is to be done where signing in makes them."""
