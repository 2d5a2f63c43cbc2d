"""What the scenarios run on: a durable PostgreSQL, chatservers, people who are signed in, and what all that uses."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import subprocess
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from bench.load import Order, Person, Result
from chatserver.client import RestClient
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess, migrate

if TYPE_CHECKING:
    from collections.abc import Iterator

DURABLE = """
fsync = on
synchronous_commit = on
shared_buffers = 1GB
max_wal_size = 8GB
checkpoint_timeout = 30min
max_connections = 200
"""
"""Of postgresql.conf, for everything that is compared: an acknowledged message is on the disk."""

SIGN_INS_AT_ONCE = 16
TLS = ssl.create_default_context()
"""Made once: it takes longer than to sign in."""
CLOCK_TICKS = 100
"""A second, in /proc."""

_runs = itertools.count(1)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of processor by who used them."""

    server: float
    database: float


@dataclass(slots=True)
class Machine:
    """A chat to load.

    Attributes:
        servers: all on the same database.
        database: name of that database in the cluster.
    """

    postgres: PostgresCluster
    servers: list[ServerProcess]
    database: str

    def usage(self) -> Usage:
        """Seconds of processor used so far."""
        return Usage(
            server=sum(_cpu_seconds(server.pid) for server in self.servers),
            database=sum(map(_cpu_seconds, self.postgres.processes())),
        )

    def resident_kib(self) -> int:
        """KiB of memory that the first server holds."""
        status = Path(f"/proc/{self.servers[0].pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def stored(self) -> int:
        """Messages in the database."""
        return int(self.postgres.sql("SELECT count(*) FROM messages WHERE kind = 'message'", self.database))

    def load(self, order: Order) -> Result:
        """Carry out an order in a process of its own.

        Raises:
            RuntimeError: The generator failed; with what it wrote.
        """
        result = self.postgres.folder / f"result-{order.run}.json"
        done = subprocess.run(
            [sys.executable, "-m", "bench.load", str(result)],
            input=msgspec.json.encode(order) + b"\n",
            capture_output=True,
            timeout=order.seconds + 300,
            check=False,
        )
        if done.returncode or not result.exists():
            raise RuntimeError(f"the generator ended with {done.returncode}:\n{done.stderr.decode()}")
        return msgspec.json.decode(result.read_bytes(), type=Result)

    @contextlib.contextmanager
    def connected(self, people: list[Person]) -> Iterator[None]:
        """Hold connections of these people that do nothing."""
        order = Order(self.servers[0].ws_url, people, "idle", next_run())
        with subprocess.Popen(
            [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as generator:
            stdin, stdout = generator.stdin, generator.stdout
            if stdin is None or stdout is None:
                raise RuntimeError("no pipes to the generator")
            stdin.write(msgspec.json.encode(order) + b"\n")
            stdin.flush()
            if stdout.readline().strip() != b"%d" % len(people):
                raise RuntimeError("the generator could not connect everybody")
            yield
            stdin.close()

    async def people(self, count: int) -> list[Person]:
        """Sign devices in."""
        gate = asyncio.Semaphore(SIGN_INS_AT_ONCE)

        async def sign_in() -> Person:
            async with gate, await RestClient.sign_in(self.servers[0].url, _new_number(), tls=TLS) as rest:
                return Person(rest.token)

        return await asyncio.gather(*(sign_in() for _ in range(count)))

    async def pairs(self, count: int) -> list[Person]:
        """Sign pairs in, of whom the first sends to the second."""
        gate = asyncio.Semaphore(SIGN_INS_AT_ONCE)

        async def pair() -> list[Person]:
            url = self.servers[0].url
            names = _new_number(), _new_number()
            async with (
                gate,
                await RestClient.sign_in(url, names[0], tls=TLS) as sender,
                await RestClient.sign_in(url, names[1], tls=TLS) as recipient,
            ):
                first = await sender.send("hello", client_id=str(uuid.uuid4()), to=names[1])
                return [Person(sender.token, first["chat_id"]), Person(recipient.token)]

        made = await asyncio.gather(*(pair() for _ in range(count)))
        return [person for both in made for person in both]


def _new_number() -> str:
    return f"+1555{next(_numbers):07}"


def next_run() -> int:
    """A number for an order."""
    return next(_runs)


@contextlib.contextmanager
def running(servers: int = 1) -> Iterator[Machine]:
    """Run a PostgreSQL and chatservers, and stop them."""
    with PostgresCluster(DURABLE) as postgres, contextlib.ExitStack() as stack:
        database = postgres.create_database()
        migrate(postgres.dsn(database))
        started = [
            stack.enter_context(
                ServerProcess(
                    postgres.dsn(database),
                    f"bench-{number}",
                    # The generator is one user after another at rates no person reaches.
                    CHAT_MESSAGES_PER_USER_PER_MINUTE=0,
                    CHAT_REQUESTS_PER_DEVICE_PER_MINUTE=0,
                    CHAT_MAX_CONNECTIONS=20_000,
                    CHAT_LOG_LEVEL="WARNING" if number else "INFO",
                )
            )
            for number in range(servers)
        ]
        for server in started:
            server.wait_ready()
        yield Machine(postgres, started, database)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    # Its own, and of its children that ended: backends come and go.
    return sum(map(int, fields[11:15])) / CLOCK_TICKS
