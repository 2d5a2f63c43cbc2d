"""Common parts of the XMPP peers: accounts named by number, one listener, one process."""

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
    """A running XMPP server, as a subject without its name and its count of stored messages."""

    postgres: PostgresCluster
    database: str
    process: PeerProcess
    wire: Wire = field(default="xmpp", init=False)
    authority: str = field(default="", init=False)
    _accounts: int = field(default=0, init=False)

    @property
    def urls(self) -> list[str]:
        """The URL of its only listener."""
        return [f"xmpp://127.0.0.1:{self.process.port}"]

    def pairs(self, count: int) -> list[list[Person]]:
        """Create accounts; senders' names begin with s, recipients' with r."""
        first = self._next_accounts(count)
        return [[Person(f"s{n}", f"r{n}@{DOMAIN}"), Person(f"r{n}")] for n in range(first, first + count)]

    def users(self, count: int) -> list[Person]:
        """Create accounts that only connect."""
        first = self._next_accounts(count)
        return [Person(f"s{n}") for n in range(first, first + count)]

    def processes(self) -> dict[str, list[int]]:
        """Return the ids of the processes by kind."""
        return {"server": [self.process.pid], "database": self.postgres.processes()}

    def _next_accounts(self, count: int) -> int:
        first = self._accounts + 1
        self._accounts += count
        self._make_accounts(first, self._accounts)
        return first

    def _make_accounts(self, first: int, last: int) -> None:
        """Create the accounts of these numbers, unless the server creates them at sign-in."""
