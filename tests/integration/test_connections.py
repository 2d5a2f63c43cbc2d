"""How many connections a server takes, and a pooler in transaction mode between servers and database."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.devices import Device, sign_in
from tests.support.findings import tell
from tests.support.people import running_server
from tests.support.pgbouncer import PgBouncer
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.support.postgres import PostgresCluster

pytestmark = pytest.mark.integration

POOL_SIZE = 3


@asynccontextmanager
async def watched_connections(read_dsn: Callable[[], str]) -> AsyncIterator[list[list[str]]]:
    """Look at what the servers' sessions are called, again and again; adds each look to the list."""
    looks: list[list[str]] = []
    async with running_server(read_dsn, "watcher", pool_size=1) as watcher:

        async def look() -> None:
            while True:
                rows = await watcher.database.fetch(
                    "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() "
                    "AND backend_type = 'client backend' AND application_name <> 'chatserver watcher'"
                )
                looks.append([row[0] for row in rows])
                await asyncio.sleep(0.02)

        task = asyncio.create_task(look())
        try:
            yield looks
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def everything(ana: Device, ben: Device, one: ServerProcess, two: ServerProcess, times: int) -> list[int]:
    """Send, poll, list, mark and fetch at once by both, on both servers; returns the seqs of the sends."""
    async with ana.http(one) as first, ben.http(two) as second:

        async def send(sender: httpx.AsyncClient, to: str, number: int) -> int:
            answer = await sender.post("/api/messages", json={"to": to, "text": f"{to} {number}"})
            assert answer.status_code == httpx.codes.OK, answer.text
            seq: int = answer.json()["seq"]
            return seq

        async def look(reader: httpx.AsyncClient) -> None:
            for path in ("/api/messages", "/api/chats", "/api/users/me", "/api/devices"):
                answer = await reader.get(path)
                assert answer.status_code == httpx.codes.OK, answer.text

        async def mark(reader: httpx.AsyncClient, chat_id: int, number: int) -> None:
            answer = await reader.post("/api/receipts", json={"chats": {str(chat_id): {"read_seq": number}}})
            assert answer.status_code == httpx.codes.NO_CONTENT, answer.text

        opened = await first.post("/api/messages", json={"to": ben.name, "text": "first"})
        chat_id, seqs = opened.json()["chat_id"], [opened.json()["seq"]]
        calls: list[Any] = []
        for number in range(times):
            calls += [send(first, ben.name, number), send(second, ana.name, number), look(first), look(second)]
            calls += [mark(first, chat_id, number), mark(second, chat_id, number)]
        return seqs + [seq for seq in await asyncio.gather(*calls) if seq is not None]


async def test_a_server_takes_its_pool_and_one_connection_to_listen(read_dsn: Callable[[], str]) -> None:
    with ServerProcess(read_dsn(), "s1", CHAT_DATABASE_POOL_SIZE=POOL_SIZE) as process:
        process.wait_ready()
        ana, ben = await sign_in(process, "ana"), await sign_in(process, "ben")
        async with (
            watched_connections(read_dsn) as looks,
            ana.socket(process) as socket,
            ben.socket(process) as other,
        ):
            seqs = await everything(ana, ben, process, process, 15)
            await socket.of_type("message")
            await other.of_type("message")
        assert sorted(seqs) == list(range(1, 32))
    most = max(looks, key=len)
    tell(f"connections of a server with a pool of {POOL_SIZE}, under load: at most {len(most)}")
    assert sorted(most) == ["chatserver s1"] * POOL_SIZE + ["chatserver s1 listen"]


@pytest.fixture
def pooler(postgres: PostgresCluster) -> Iterator[PgBouncer]:
    """Fewer connections than the two servers' pools have, so that transactions of different clients share them."""
    with PgBouncer(postgres, POOL_SIZE) as running:
        yield running


async def test_two_servers_serve_through_a_pooler(pooler: PgBouncer, read_dsn: Callable[[], str]) -> None:
    dsn = read_dsn()
    settings = {"CHAT_DATABASE_POOLER": "transaction", "CHAT_DATABASE_LISTEN_DSN": dsn}
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(ServerProcess(pooler.dsn(dsn.rsplit("/", 1)[1]), name, **settings))
            for name in ("s1", "s2")
        )
        one.wait_ready()
        two.wait_ready()
        ana, ben = await sign_in(one, "ana"), await sign_in(two, "ben")
        async with watched_connections(read_dsn) as looks, ana.socket(one) as first, ben.socket(two) as second:
            seqs = await everything(ana, ben, one, two, 15)
            assert sorted(seqs) == list(range(1, 32))
            # Pushed across the servers, which only LISTEN brings within a second.
            ack = await first.message("last", to="ben")
            row = await second.text("last")
            assert (row["chat_id"], row["seq"]) == (ack["chat_id"], 32)
            await second.send(type="read", chat_id=row["chat_id"], seq=32)
            await first.of_type("receipt", user_id=ben.user_id, read_seq=32)
            await second.send(type="sync", chats={})
            await second.of_type("synced")
            assert sorted(set(second.rows())) == [(row["chat_id"], seq) for seq in range(1, 33)]
        async with ben.http(two) as http:
            polled = await http.get("/api/messages", params={"limit": 1000})
            assert [item["seq"] for item in polled.json()] == list(range(1, 33))
            edited = await http.patch(f"/api/chats/{row['chat_id']}/messages/{seqs[-1]}", json={"text": "edited"})
            assert edited.status_code == httpx.codes.OK, edited.text
            group = await http.post("/api/groups", json={"group_name": "team", "members": ["ana"]})
            assert group.status_code == httpx.codes.CREATED, group.text
            blocked = await http.put(f"/api/blocks/{ana.user_id}")
            assert blocked.status_code < httpx.codes.BAD_REQUEST, blocked.text
        assert not [event for server in (one, two) for event in server.events() if event["level"] == "error"]
    listening = [name for name in max(looks, key=len) if name.endswith(" listen")]
    most = max(len(look) - len([name for name in look if name.endswith(" listen")]) for look in looks)
    tell(f"two servers behind a pooler of {POOL_SIZE}: at most {most} connections, and {len(listening)} to listen")
    assert sorted(listening) == ["chatserver s1 listen", "chatserver s2 listen"]
    assert most <= POOL_SIZE
