"""The Matrix client-server API: a sender puts events into a room, a listener syncs by long polls.

PUT .../send is answered when the event is in the database. https://spec.matrix.org/v1.11/client-server-api/
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from bench.schedule import KEY, due_us
from bench.wires.http import OK, HttpConnection, encode_request, open_connection, reporter

if TYPE_CHECKING:
    from bench.orders import Person
    from bench.wires import Account, Connection

POLL_MS = 30_000
"""Timeout of a long poll, as Element sets it."""

_API = "/_matrix/client/v3"


def keys(body: bytes) -> list[bytes]:
    """Return the keys of the messages in the answer to a sync; each text begins with one."""
    marker = b'"body":"'
    found = []
    start = body.find(marker)
    while start >= 0:
        start += len(marker)
        key = KEY.match(body, start)
        if key is not None:
            found.append(key[0])
        start = body.find(marker, start)
    return found


class Sender:
    """A device that puts messages into its room."""

    def __init__(self, account: Account, person: Person, url: str, http: HttpConnection) -> None:
        self._account = account
        self._http = http
        self._path = f"{_API}/rooms/{quote(person.target)}/send/m.room.message/"
        self._url, self._token = url, person.token

    def send(self, key: bytes, due_us: int) -> None:
        """Put a message."""
        name = key.decode()
        body = msgspec.json.encode({"msgtype": "m.text", "body": f"{name} {self._account.order.text}"})
        self._http.request(
            encode_request("PUT", self._path + name, self._url, self._token, body),
            reporter(self._account, self, due_us),
        )

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


class Listener:
    """A device that only receives."""

    def __init__(self, account: Account, person: Person, url: str, http: HttpConnection) -> None:
        self._account = account
        self._http = http
        self._url, self._token = url, person.token
        self._seen: set[bytes] = set()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def poll(self, since: str = "") -> None:
        """Sync, and sync again after each answer."""
        wait = f"timeout={POLL_MS}&since={quote(since)}" if since else "timeout=0"
        path = f"{_API}/sync?set_presence=offline&{wait}"
        self._http.request(encode_request("GET", path, self._url, self._token), self._answered)

    def _answered(self, status: int, body: bytes) -> None:
        if status != OK:
            self._account.failed(ConnectionError(f"sync was answered by {status}: {body[:200]!r}"))
            return
        # An event may be sent twice; clients recognise it by its id.
        new = set(keys(body)) - self._seen
        self._seen |= new
        if self.ready.done():
            for key in new:
                self._account.delivered(due_us(key))
        else:
            self.ready.set_result(None)
        answer: dict[str, Any] = msgspec.json.decode(body)
        self.poll(answer["next_batch"])

    def send(self, key: bytes, due_us: int) -> None:
        """Raise an error: it has no room to send to."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


async def connect(account: Account, person: Person, url: str) -> Connection:
    """Open a connection that sends, or one that receives."""
    http = await open_connection(account, url)
    if person.target:
        return Sender(account, person, url, http)
    listener = Listener(account, person, url, http)
    listener.poll()
    await listener.ready
    return listener
