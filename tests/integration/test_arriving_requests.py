"""Strangers who send large bodies and do not finish them fill no server's memory, and cost nobody else a request."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from chatserver.routes import MAX_BODY_BYTES
from chatserver.transport.kept import ARRIVING_BYTES
from tests.support.cluster import until
from tests.support.plainhttp import NO_TLS
from tests.support.processes import Usage

if TYPE_CHECKING:
    from tests.support.server import ServerProcess

pytestmark = pytest.mark.integration

TOO_MANY = 12
GREEDY = ARRIVING_BYTES // MAX_BODY_BYTES + TOO_MANY

MEMORY_MIB = 2 * ARRIVING_BYTES / 2**20


async def begin(process: ServerProcess, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send all but the end of the largest body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(process.url).port)
    writer.write(
        f"POST /api/auth/code HTTP/1.1\r\nHost: chat\r\nX-Forwarded-For: {address}\r\n"
        f"Content-Length: {MAX_BODY_BYTES}\r\n\r\n".encode()
        + b" " * (MAX_BODY_BYTES - 2)
    )
    await writer.drain()
    return reader, writer


async def finish(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
    """Send the end of the body; returns the first line of the answer, empty if the connection has ended."""
    reader, writer = connection
    try:
        writer.write(b"{}")
        return await asyncio.wait_for(reader.readline(), 20)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_bodies_that_are_not_finished_are_given_up_and_nobody_elses(process: ServerProcess) -> None:
    before = Usage.of(process.pid)
    other = await begin(process, "198.51.100.1")
    greedy = [await begin(process, "198.51.100.2") for _ in range(GREEDY)]

    async def are_given_up() -> bool:
        return process.log_text().count("requests_given_up") >= TOO_MANY

    await until(are_given_up, "those that are too many are given up", 30)
    answers = [await finish(connection) for connection in greedy]
    assert Usage.of(process.pid).peak_mib - before.memory_mib < MEMORY_MIB
    assert answers.count(b"") >= TOO_MANY
    # The rest, and what somebody else began, are answered.
    assert set(answers) == {b"", b"HTTP/1.1 422 Unprocessable Entity\r\n"}
    assert await finish(other) == b"HTTP/1.1 422 Unprocessable Entity\r\n"
    async with httpx.AsyncClient(base_url=process.url, verify=NO_TLS, trust_env=False) as http:
        assert (await http.get("/api/users/me")).status_code == 401
