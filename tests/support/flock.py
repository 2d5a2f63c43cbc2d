"""Thousands of devices that each hold a socket and come back when asked, and a stand-in for who sends them on."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import httpx
import msgspec
from picows import WSError, WSListener, WSMsgType, ws_connect

from chatserver.accounts.sign_in import secret_hash
from tests.support.plainhttp import NO_TLS

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from picows import WSFrame, WSTransport

    from chatserver.storage.database import Database
    from tests.support.cluster import Cluster
    from tests.support.server import ServerProcess

CHECK_SECONDS = 0.2
"""Between two looks at `/readyz`."""

CONNECT_SECONDS = 30.0
CONNECTS_AT_ONCE = 100
BACKOFF_MAX_SECONDS = 20.0
DEVICES_A_STATEMENT = 1000
"""They take a fifth of a second; a statement has five, on a busy machine too."""

NO_CODE = 1006


@dataclass(slots=True)
class Place:
    """A server as the proxy knows it.

    Attributes:
        connections: that it was given and that have not ended.
        ready: what its last check said.
    """

    server: ServerProcess
    connections: int = 0
    ready: bool = False

    @property
    def ws_url(self) -> str:
        """Base of the WebSocket's address."""
        return self.server.ws_url


@dataclass(slots=True)
class Door:
    """The one address of an ingress, which sends connections on by itself."""

    ws_url: str
    connections: int = 0

    def choose(self) -> Door:
        """Return it."""
        return self


class LeastConnections:
    """Sends connections where there are fewest, among those whose `/readyz` answers 200."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self._checks: list[asyncio.Task[None]] = []

    async def add(self, server: ServerProcess) -> Place:
        """Send connections to a server, too."""
        place = Place(server)
        self.places.append(place)
        self._checks.append(asyncio.create_task(self._check(place)))
        async with asyncio.timeout(CONNECT_SECONDS):
            while not place.ready:
                await asyncio.sleep(CHECK_SECONDS)
        return place

    def choose(self) -> Place:
        """Return where the next connection goes.

        Raises:
            ConnectionRefusedError: nobody is ready.
        """
        ready = [place for place in self.places if place.ready]
        if not ready:
            raise ConnectionRefusedError("nobody is ready")
        return min(ready, key=lambda place: place.connections)

    async def close(self) -> None:
        """End the checks."""
        for check in self._checks:
            check.cancel()
        await asyncio.gather(*self._checks, return_exceptions=True)

    async def _check(self, place: Place) -> None:
        async with httpx.AsyncClient(
            base_url=place.server.url, verify=NO_TLS, trust_env=False, timeout=CONNECT_SECONDS
        ) as http:
            while True:
                try:
                    answer = await http.get("/readyz", params={"exclude": "database"})
                    place.ready = answer.status_code == httpx.codes.OK
                except httpx.HTTPError:
                    place.ready = False
                await asyncio.sleep(CHECK_SECONDS)


@dataclass(frozen=True, slots=True)
class Stay:
    """A connection that has ended.

    Attributes:
        asked: `after_ms` of each `reconnect` it was sent.
        code: of the close frame; 1006: there was none.
        by_server: the server closed first.
        ended_at: on the monotonic clock.
    """

    device: int
    server: str
    asked: tuple[int, ...]
    code: int
    by_server: bool
    ended_at: float


@dataclass(frozen=True, slots=True)
class Arrival:
    """A welcome, on the monotonic clock."""

    device: int
    server: str
    at: float


class _Wire(WSListener):
    """One connection; leaves when it was asked to, after the time it was given."""

    def __init__(self) -> None:
        self.welcomed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.asked: list[int] = []
        self.code = NO_CODE
        self.by_server = True
        self.server = ""
        self._transport: WSTransport | None = None

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            if self.by_server:
                self.code = int(frame.get_close_code())  # type: ignore[call-overload] # an int at run time
                transport.send_close(self.code)  # type: ignore[arg-type] # its enumeration ends at 1014
            transport.disconnect()
        elif frame.msg_type == WSMsgType.TEXT:
            told = msgspec.json.decode(frame.get_payload_as_bytes())
            if told["type"] == "welcome" and not self.welcomed.done():
                self.server = told["server"]
                self.welcomed.set_result(None)
            elif told["type"] == "reconnect":
                self.asked.append(told["after_ms"])
                asyncio.get_running_loop().call_later(told["after_ms"] / 1000, self.leave)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows's interface
        self._transport = None
        if not self.gone.done():
            self.gone.set_result(None)

    def leave(self) -> None:
        """Close the connection, as a client does."""
        if self._transport is not None and self.by_server:
            self.by_server, self.code = False, 1000
            self._transport.send_close(1000)  # type: ignore[arg-type] # its enumeration ends at 1014


@dataclass(slots=True)
class Flock:
    """Devices that hold a socket each.

    Attributes:
        stays: connections that ended, in that order.
        arrivals: welcomes, in that order.
        tls: how to check the other end; None: it speaks no TLS.
        refused: connects that got no welcome, by what came instead.
    """

    proxy: LeastConnections | Door
    tokens: Sequence[str]
    tls: ssl.SSLContext | None = None
    stays: list[Stay] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTS_AT_ONCE))
    _wires: dict[int, _Wire] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def connected(self) -> int:
        """Devices that were welcomed and have not left."""
        return len(self._wires)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._live(number)) for number in range(len(self.tokens))]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for wire in self._wires.values():
            wire.leave()

    def servers(self) -> list[str]:
        """Return the server of each open connection."""
        return [wire.server for wire in self._wires.values()]

    async def all_connected(self, seconds: float) -> None:
        """Wait until every device has a connection."""
        async with asyncio.timeout(seconds):
            while self.connected < len(self.tokens):
                self._raise_defects()
                await asyncio.sleep(0.1)

    def ends(self) -> Counter[str]:
        """How connections ended: moved by a `reconnect`, closed in order without one, or cut."""
        return Counter("cut" if stay.code == NO_CODE else "moved" if stay.asked else "closed" for stay in self.stays)

    def _raise_defects(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    async def _live(self, number: int) -> None:
        errors = 0
        while True:
            wire = _Wire()
            try:
                async with self._gate:
                    place = self.proxy.choose()
                    place.connections += 1
                    try:
                        await self._connect(wire, place.ws_url, self.tokens[number])
                    except BaseException:
                        place.connections -= 1
                        raise
            except (WSError, OSError, TimeoutError) as error:
                self.refused[type(error).__name__] += 1
                await asyncio.sleep(random.uniform(0, min(BACKOFF_MAX_SECONDS, 0.25 * 2**errors)))  # noqa: S311 - jitter
                errors += 1
                continue
            errors = 0
            self._wires[number] = wire
            self.arrivals.append(Arrival(number, wire.server, time.monotonic()))
            await wire.gone
            del self._wires[number]
            place.connections -= 1
            self.stays.append(Stay(number, wire.server, tuple(wire.asked), wire.code, wire.by_server, time.monotonic()))

    async def _connect(self, wire: _Wire, ws_url: str, token: str) -> None:
        async with asyncio.timeout(CONNECT_SECONDS):
            transport, _ = await ws_connect(
                lambda: wire,
                f"{ws_url}/api/ws",
                ssl_context=self.tls,
                websocket_handshake_timeout=CONNECT_SECONDS,
                read_buffer_init_size=1024,
                extra_headers={"Authorization": f"Bearer {token}", "Sec-WebSocket-Protocol": "chat.v1"},
            )
            try:
                await asyncio.wait((wire.welcomed, wire.gone), return_when=asyncio.FIRST_COMPLETED)
            except asyncio.CancelledError:
                transport.disconnect()
                raise
        if not wire.welcomed.done():
            raise WSError("closed before the welcome")


async def flock_of(cluster: Cluster, count: int) -> Flock:
    """Return that many new people, who come to a cluster's chat through its ingress when the flock is entered."""
    tokens = make_tokens(count)
    await cluster.psql(devices_sql(tokens))
    return Flock(Door(cluster.url.replace("https", "wss", 1)), tokens, tls=cluster.insecure)


async def fill_devices(database: Database, count: int) -> list[str]:
    """Make that many people with a signed-in device each, and return the devices' tokens."""
    tokens = make_tokens(count)
    for first in range(0, count, DEVICES_A_STATEMENT):
        await database.execute(
            "WITH made AS (INSERT INTO users (phone_number) SELECT '+1778' || lpad(($2 + n)::text, 7, '0') "
            "FROM generate_series(1, cardinality($1::bytea[])) AS n RETURNING user_id) "
            "INSERT INTO devices (user_id, token_hash, expires_at) "
            "SELECT user_id, ($1::bytea[])[row_number() OVER (ORDER BY user_id)], now() + interval '1 day' FROM made",
            [secret_hash(token) for token in tokens[first : first + DEVICES_A_STATEMENT]],
            first,
        )
    return tokens


def make_tokens(count: int) -> list[str]:
    """Return that many tokens that nobody has."""
    return [secrets.token_urlsafe(32) for _ in range(count)]


def devices_sql(tokens: Sequence[str]) -> str:
    """Return a statement for psql that makes somebody with a signed-in device for each token."""
    # Any numbers that nobody has yet: the database stays from one run to the next.
    first = secrets.randbelow(9 * 10**8) + 10**8
    hashes = ",".join(f"('\\x{secret_hash(token).hex()}'::bytea)" for token in tokens)
    return (
        f"WITH tokens AS (SELECT hash, row_number() OVER () AS n FROM (VALUES {hashes}) AS given (hash)), "  # noqa: S608
        f"made AS (INSERT INTO users (phone_number) SELECT '+1999' || ({first} + n)::text FROM tokens "
        "RETURNING user_id), "
        "numbered AS (SELECT user_id, row_number() OVER (ORDER BY user_id) AS n FROM made) "
        "INSERT INTO devices (user_id, token_hash, expires_at) "
        "SELECT user_id, hash, now() + interval '1 day' FROM numbered JOIN tokens USING (n);"
    )


def more_devices_sql(user_id: int, tokens: Sequence[str]) -> str:
    """Return a statement for psql that signs a user's further devices in."""
    hashes = ",".join(f"('\\x{secret_hash(token).hex()}'::bytea)" for token in tokens)
    return (
        f"INSERT INTO devices (user_id, token_hash, expires_at) "  # noqa: S608
        f"SELECT {user_id}, hash, now() + interval '1 day' FROM (VALUES {hashes}) AS given (hash);"
    )


def histogram(seconds: Sequence[float], *, bin_seconds: float = 1.0) -> str:
    """Return how many fall into each bin, as lines of text."""
    counts = Counter(int(value // bin_seconds) for value in seconds)
    most = max(counts.values(), default=1)
    return "\n".join(
        f"  {place * bin_seconds:5.1f} s {counts[place]:6d} {'#' * round(50 * counts[place] / most)}"
        for place in range(min(counts, default=0), max(counts, default=-1) + 1)
    )
