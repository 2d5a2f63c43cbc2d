"""The setup of the scenarios: a durable PostgreSQL, and our chatservers with signed-in users."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.builds import HERE
from bench.filling import Filling
from chatoperator.parts.database.tuning import derive
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess, migrate
from tests.support.valkey import bus_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from bench.builds import Build
    from bench.orders import Person, Wire
    from tests.support.valkey import ValkeyProcess

    Start = Callable[..., AbstractContextManager["Chat"]]
    """`chat` of one PostgreSQL and one build; it takes `database`."""

DURABLE = "\n".join(
    f"{name} = {value}"
    for name, value in {
        "fsync": "on",
        "synchronous_commit": "on",
        "max_connections": "200",
        **derive(memory="4Gi", cpu="2", volume="40Gi"),
    }.items()
)
"""Settings of postgresql.conf for everything that is compared: an acknowledged message is on the disk. The others are
those that the operator derives for a PostgreSQL of this size."""

UNREACHED_PER_MINUTE = 10**9
"""A limit that costs as much as any limit, and rejects nothing."""

MAX_CONNECTIONS = 19_000
"""Connections of a server: below the 20,000 files that a process may open on machines like this one."""

START_SECONDS = 120
"""Longest start of a server: many start side by side."""


@dataclass(slots=True)
class Chat:
    """Our chatservers on one database, as a subject.

    Attributes:
        servers: all on the same database.
        database: name of that database in the cluster.
        wire: ``chat``, or ``rest`` to send by REST.
        valkey: their bus; None: PostgreSQL.
    """

    postgres: PostgresCluster
    servers: list[ServerProcess]
    database: str
    filling: Filling
    wire: Wire = "chat"
    name: str = "ChatCluster"
    authority: str = ""
    valkey: ValkeyProcess | None = None

    @property
    def urls(self) -> list[str]:
        """URLs of the servers for the wire."""
        return [server.url if self.wire == "rest" else server.ws_url for server in self.servers]

    def pairs(self, count: int) -> list[list[Person]]:
        """Create pairs with a direct chat each, of whom the first sends to the second."""
        return self.filling.pairs(count)

    def users(self, count: int) -> list[Person]:
        """Create users who only connect."""
        return self.filling.users(count)

    def processes(self) -> dict[str, list[int]]:
        """Return the ids of the processes by kind."""
        bus = {} if self.valkey is None else {"bus": [self.valkey.pid]}
        return {"server": [server.pid for server in self.servers], "database": self.postgres.processes(), **bus}

    def stored(self) -> int:
        """Return the number of messages in the database."""
        return int(self.postgres.sql("SELECT count(*) FROM messages WHERE kind = 'message'", self.database))


@contextlib.contextmanager
def durable_postgres(settings: str = "") -> Iterator[PostgresCluster]:
    """Run the PostgreSQL that everything compared uses, and stop it.

    Args:
        settings: lines of postgresql.conf that outdo the others.
    """
    with PostgresCluster(f"{DURABLE}\n{settings}") as postgres:
        yield postgres


@contextlib.contextmanager
def chat(
    postgres: PostgresCluster,
    servers: int = 1,
    database: str | None = None,
    *,
    build: Build = HERE,
    valkey: ValkeyProcess | None = None,
    pool_size: int = 8,
) -> Iterator[Chat]:
    """Run chatservers, by default on a separate database, and stop them."""
    if database is None:
        database = postgres.create_database()
        migrate(postgres.dsn(database), build.python)
    with contextlib.ExitStack() as stack:
        made = [
            ServerProcess(
                postgres.dsn(database),
                f"bench-{number}",
                # On, as in production, but too high for the generator's users, who write faster than any person.
                CHAT_MESSAGES_PER_USER_PER_MINUTE=UNREACHED_PER_MINUTE,
                CHAT_STORED_BYTES_PER_USER_PER_HOUR=2**50,
                CHAT_REQUESTS_PER_DEVICE_PER_MINUTE=UNREACHED_PER_MINUTE,
                CHAT_MAX_CONNECTIONS=MAX_CONNECTIONS,
                CHAT_DATABASE_POOL_SIZE=pool_size,
                CHAT_LOG_LEVEL="INFO",
                **bus_environment([] if valkey is None else [valkey]),
            )
            for number in range(servers)
        ]
        for server in made:
            server.python, server.start_seconds = build.python, START_SECONDS
            stack.push(server)
        with ThreadPoolExecutor(os.cpu_count()) as starting:
            list(starting.map(ServerProcess.__enter__, made))
        for server in made:
            server.wait_ready()
        yield Chat(postgres, made, database, Filling(postgres, database), valkey=valkey)
