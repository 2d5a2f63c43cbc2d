"""A sign-out on one server ends what waits on another one, over real sockets and a real bus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from chatserver.storage.database import single_connection
from tests.support.devices import Socket, sign_in
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.devices import Device

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def second(process: ServerProcess) -> Iterator[ServerProcess]:
    """Another server on the same database."""
    with ServerProcess(process.dsn, "two") as running:
        running.wait_ready()
        yield running


async def sign_out(device: Device, by: Device, server: ServerProcess) -> None:
    async with by.http(server) as http:
        assert (await http.delete(f"/api/devices/{device.device_id}")).status_code == httpx.codes.NO_CONTENT


@pytest.mark.parametrize("writes", [False, True])
async def test_a_poll_is_refused_at_once_when_its_device_is_signed_out(
    process: ServerProcess,
    second: ServerProcess,
    writes: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    ana, ben = await sign_in(process), await sign_in(process)
    tablet = await sign_in(process, phone_number=ana.phone_number)
    async with tablet.http(process) as waiting, ana.http(process) as own, ben.http(process) as other:
        since = (await waiting.get("/api/messages")).headers["X-Next-Since"]
        polls = [
            asyncio.create_task(http.get("/api/messages", params={"since": since, "wait": 60}))
            for http in (waiting, own)
        ]
        await sign_out(tablet, ana, second)
        if writes:
            # On the very server where the poll waits, and which may not have heard of the sign-out yet.
            await other.post("/api/messages", json={"to": ana.phone_number, "text": "secret"})
        refused = await polls[0]
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
        await other.post("/api/messages", json={"to": ana.phone_number, "text": "secret"})
        assert [row["text"] for row in (await polls[1]).json()][:1] == ["secret"]


async def test_a_handshake_that_was_under_way_opens_no_socket(process: ServerProcess, second: ServerProcess) -> None:
    ana = await sign_in(process)
    tablet = await sign_in(process, phone_number=ana.phone_number)
    stranger = await sign_in(process)
    async with single_connection(lambda: process.dsn, "lock") as lock:
        locking = lock.transaction()
        await locking.start()
        # A handshake reads it once it is authenticated.
        await lock.execute("LOCK TABLE chat_members IN ACCESS EXCLUSIVE MODE")
        handshake = asyncio.create_task(_open(tablet, process))
        while not await lock.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
        await sign_out(tablet, ana, second)
        async with tablet.http(process) as http:
            # Until the server has heard of it.
            while (await http.get("/api/users/me")).status_code != httpx.codes.UNAUTHORIZED:
                await asyncio.sleep(0.01)
        await locking.rollback()
    socket = await handshake
    assert await socket.close_code() == 4001
    assert socket.frames == []
    async with stranger.socket(process):
        pass


async def _open(device: Device, server: ServerProcess) -> Socket:
    return Socket(
        await connect(
            f"{server.ws_url}/api/ws",
            subprotocols=[Subprotocol("chat.v1")],
            additional_headers=device.headers,
            proxy=None,
            open_timeout=60,
        )
    )
