"""A process that holds thousands of WebSockets over TLS cheaply, and comes back as the Python client does.

`python -m tests.support.holder` reads a Task from the first line of stdin, writes a Status twice a second, and ends
with its stdin. An event loop with a transport and a protocol for each connection costs ten times the memory.
"""

from __future__ import annotations

import heapq
import itertools
import random
import resource
import select
import socket
import ssl
import sys
import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING

import msgspec

from chatcluster_client.backoff import Backoff
from chatcluster_client.connection import PING_SECONDS
from chatcluster_client.model import named_seconds
from tests.support.wsframes import CLOSE, PING, PONG, TEXT, frame, split

if TYPE_CHECKING:
    from collections.abc import Callable

OPEN_SECONDS = PING_SECONDS
"""After which the Python client gives a handshake up."""

SYNC_SECONDS = 60.0
STATUS_SECONDS = 0.5
CHUNK_BYTES = 16_384

SYNC = frame(TEXT, b'{"type":"sync","chats":{}}')
READABLE = select.EPOLLIN | select.EPOLLRDHUP


class Task(msgspec.Struct, frozen=True):
    """What a process does.

    Attributes:
        doors: host and port of each proxy; every try goes to one by chance, as through a Service.
        tokens: of the devices, one connection each.
        at_once: connects under way at the same time; the others wait. This process has a share of a CPU where real
            clients have one each: with more, it would itself be too slow for the other side's deadlines.
        resume: whether a client resumes its TLS session, as browsers and phones do and Python does not.
    """

    doors: list[tuple[str, int]]
    tokens: list[str]
    at_once: int = 50
    resume: bool = False


class Status(msgspec.Struct):
    """What became of its connections until now.

    Attributes:
        held: connections that are open and synced.
        tries: connects that were begun.
        handshakes: those of TLS that were completed.
        resumed: of these, how many resumed a session.
        lost: held connections that ended, by how.
        failed: tries that led to no connection, by what came instead.
        cpu_seconds: of this process.
    """

    held: int = 0
    tries: int = 0
    handshakes: int = 0
    resumed: int = 0
    lost: dict[str, int] = {}
    failed: dict[str, int] = {}
    cpu_seconds: float = 0.0


class Client:
    """One device: at most one connection, and how long it waits before the next."""

    __slots__ = ("backoff", "buffer", "held_at", "on_data", "session", "socket", "token", "tries")

    def __init__(self, token: str) -> None:
        self.token = token
        self.backoff = Backoff()
        self.socket: socket.socket | None = None
        self.session: ssl.SSLSession | None = None
        self.on_data: Callable[[Client, bytes], None] | None = None
        self.buffer = b""
        self.held_at: float | None = None
        self.tries = 0


class Holder:
    """All connections of the process, in one loop."""

    def __init__(self, task: Task) -> None:
        self.status = Status()
        self._task = task
        self._failed: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()
        self._tls = ssl.create_default_context()
        # Certificates are somebody else's test; this one should cost little.
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE
        self._chance = random.Random()  # noqa: S311 - jitter
        self._poll = select.epoll()
        self._clients: dict[int, Client] = {}
        self._timers: list[tuple[float, int, int, Callable[[Client], None], Client]] = []
        self._numbers = itertools.count()
        self._under_way = 0
        self._waiting = deque(Client(token) for token in task.tokens)

    def run(self, ended: threading.Event) -> None:
        """Connect and hold until the event is set."""
        self._fill()
        said = 0.0
        while not ended.is_set():
            wait = min(STATUS_SECONDS, self._timers[0][0] - time.monotonic()) if self._timers else STATUS_SECONDS
            for number, _ in self._poll.poll(max(0.0, wait), 512):
                client = self._clients.get(number)
                if client is not None:
                    self._advance(client)
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                _, _, tries, act, client = heapq.heappop(self._timers)
                if client.tries == tries:
                    act(client)
            if now - said >= STATUS_SECONDS:
                said = now
                self._say()

    def _say(self) -> None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.status.cpu_seconds = used.ru_utime + used.ru_stime
        self.status.failed, self.status.lost = dict(self._failed), dict(self._lost)
        sys.stdout.buffer.write(msgspec.json.encode(self.status) + b"\n")
        sys.stdout.buffer.flush()

    def _after(self, seconds: float, act: Callable[[Client], None], client: Client) -> None:
        entry = (time.monotonic() + seconds, next(self._numbers), client.tries, act, client)
        heapq.heappush(self._timers, entry)

    def _due(self, client: Client) -> None:
        self._waiting.append(client)
        self._fill()

    def _fill(self) -> None:
        while self._waiting and self._under_way < self._task.at_once:
            self._under_way += 1
            self._connect(self._waiting.popleft())

    def _connect(self, client: Client) -> None:
        client.tries += 1
        self.status.tries += 1
        made = socket.socket()
        made.settimeout(0)
        client.socket = made
        self._clients[made.fileno()] = client
        self._poll.register(made.fileno(), select.EPOLLOUT)
        made.connect_ex(self._chance.choice(self._task.doors))
        self._after(OPEN_SECONDS, self._give_up, client)

    def _give_up(self, client: Client) -> None:
        if client.on_data is None or client.on_data == self._answered:
            self._end(client, "no answer")

    def _advance(self, client: Client) -> None:
        try:
            if client.on_data is None:
                self._shake_hands(client)
            else:
                self._read(client)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError) as wants:
            if client.socket is not None and client.on_data is None:
                writable = isinstance(wants, ssl.SSLWantWriteError)
                self._poll.modify(client.socket.fileno(), select.EPOLLOUT if writable else READABLE)
        except OSError as error:
            self._end(client, type(error).__name__)

    def _shake_hands(self, client: Client) -> None:
        made = client.socket
        if made is None:
            return
        if not isinstance(made, ssl.SSLSocket):
            error = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, "connect")
            made = client.socket = self._tls.wrap_socket(
                made, server_hostname="localhost", do_handshake_on_connect=False, session=client.session
            )
        made.do_handshake()
        self.status.handshakes += 1
        self.status.resumed += bool(made.session_reused)
        made.send(
            b"GET /api/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            b"Sec-WebSocket-Protocol: chat.v1\r\nAuthorization: Bearer " + client.token.encode() + b"\r\n\r\n"
        )
        client.on_data = self._answered
        self._poll.modify(made.fileno(), READABLE)

    def _read(self, client: Client) -> None:
        while client.socket is not None and client.on_data is not None:
            data = client.socket.recv(CHUNK_BYTES)
            if not data:
                self._end(client, "closed")
                return
            client.on_data(client, data)

    def _answered(self, client: Client, data: bytes) -> None:
        head, blank, rest = (client.buffer + data).partition(b"\r\n\r\n")
        client.buffer = head
        if not blank:
            return
        client.buffer = b""
        status = head.split(b" ", 2)[1].decode()
        if status != "101":
            lines = dict(line.lower().partition(b": ")[::2] for line in head.split(b"\r\n")[1:])
            named = named_seconds(lines.get(b"retry-after", b"").decode())
            self._end(client, status if named is not None else f"{status} without Retry-After", named or 0.0)
            return
        client.on_data = self._frames
        self._after(SYNC_SECONDS, self._give_up_sync, client)
        if client.socket is not None:
            client.socket.send(SYNC)
        if rest:
            self._frames(client, rest)

    def _give_up_sync(self, client: Client) -> None:
        if client.held_at is None:
            self._end(client, "no sync")

    def _frames(self, client: Client, data: bytes) -> None:
        frames, client.buffer = split(client.buffer + data)
        for kind, payload in frames:
            if client.socket is None:
                return
            if kind == PING:
                client.socket.send(frame(PONG, payload))
            elif kind == CLOSE:
                self._end(client, f"close {int.from_bytes(payload[:2])}")
            elif kind == TEXT and client.held_at is None and payload.startswith(b'{"type":"synced"'):
                self._hold(client)
            elif kind == TEXT and payload.startswith(b'{"type":"reconnect"'):
                after_ms = msgspec.json.decode(payload)["after_ms"]
                self._after(after_ms / 1000, lambda moved: self._end(moved, "moved"), client)

    def _hold(self, client: Client) -> None:
        client.held_at = time.monotonic()
        self.status.held += 1
        self._under_way -= 1
        self._fill()

    def _end(self, client: Client, why: str, named: float = 0.0) -> None:
        made, lasted = client.socket, 0.0
        if made is None:
            return
        if client.held_at is not None:
            lasted = time.monotonic() - client.held_at
            self.status.held -= 1
            self._lost[why] += 1
        else:
            self._failed[why] += 1
            self._under_way -= 1
        if self._task.resume and isinstance(made, ssl.SSLSocket) and client.held_at is not None:
            client.session = made.session
        self._poll.unregister(made.fileno())
        del self._clients[made.fileno()]
        made.close()
        client.socket = client.on_data = client.held_at = None
        client.buffer = b""
        # Timers of this connection mean nothing any more.
        client.tries += 1
        wait = client.backoff.seconds(lasted, self._chance.random(), named_seconds=named)
        self._after(wait, self._due, client)
        self._fill()


def main() -> None:
    """Carry out the task on stdin."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    holder = Holder(msgspec.json.decode(sys.stdin.readline(), type=Task))
    ended = threading.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    holder.run(ended)


if __name__ == "__main__":
    main()
