"""A volume that fills up under a chat: reading goes on, writes are refused with words, nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING

import httpx
import pytest

from chatcluster_client import Problem
from chatoperator.probes.parsing import parse_answer
from postgresagent.__main__ import Agent
from postgresagent.configuration import Places
from postgresagent.server import Server
from tests.support.background import background
from tests.support.cluster import until
from tests.support.findings import tell
from tests.support.ledger import sign_in
from tests.support.plainhttp import NO_TLS
from tests.support.postgres import PostgresCluster
from tests.support.server import ServerProcess, migrate
from tests.support.volume import FILLING, fill, small_volume

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from chatcluster_client import RestClient

pytestmark = pytest.mark.integration

TOLD_SECONDS = 10
"""Ready is False so soon after the volume is full."""

PATIENCE_SECONDS = 60


@pytest.mark.parametrize("watched", [True, False], ids=["with the agent", "an external database"])
async def test_a_full_volume_is_told_and_survived(*, watched: bool) -> None:
    with small_volume(mebibytes=512) as volume:
        settings = f"include_if_exists '{volume}/full.conf'\n"
        with PostgresCluster(settings, parent=volume) as postgres:
            dsn = postgres.dsn(postgres.create_database())
            migrate(dsn)
            async with _agent(postgres, volume) if watched else contextlib.nullcontext():
                with ServerProcess(dsn, "server-1") as server:
                    server.wait_ready()
                    await _fill_and_make_room(server, volume, watched=watched)
            assert "PANIC" not in (postgres.folder / "postgres.log").read_text()


async def _fill_and_make_room(server: ServerProcess, volume: Path, *, watched: bool) -> None:
    async with await sign_in(server.url) as ana:
        sent = [(await _send(ana, f"before {number}"))["message_id"] for number in range(5)]
        assert await _writes(server) == "ok"
        # The agent acts while there is room left; without it the last pages are gone.
        fill(volume, leave_mebibytes=16 if watched else 0)
        started = time.monotonic()
        await until(lambda: _says(server, "volume_full"), "the server says that the volume is full", PATIENCE_SECONDS)
        took = time.monotonic() - started
        refused = await _send_until_refused(ana, sent)
        assert refused.status == httpx.codes.SERVICE_UNAVAILABLE
        assert refused.retry_after_seconds
        rows, _ = await ana.poll(None)
        assert [row["message_id"] for row in rows] == sent, "reading goes on, and all that was acknowledged is there"
        (volume / FILLING).unlink()
        await until(lambda: _says(server, "ok"), "the server says that there is room", PATIENCE_SECONDS)
        sent.append((await _send(ana, "after"))["message_id"])
        rows, _ = await ana.poll(None)
        assert [row["message_id"] for row in rows] == sent
    tell(f"a full volume was told after {took:.1f} s")
    assert took < TOLD_SECONDS


async def _send_until_refused(rest: RestClient, sent: list[object]) -> Problem:
    """Without an agent there may be room left in pages that exist."""
    while True:
        try:
            sent.append((await _send(rest, "x" * 4000))["message_id"])
        except Problem as problem:
            return problem


async def _send(rest: RestClient, text: str) -> dict[str, object]:
    return dict(await rest.send(text, client_id=str(uuid.uuid4()), to=rest.username))


async def _writes(server: ServerProcess) -> str:
    """What /readyz says of writes, with 200: HAProxy turns nobody away; and what the operator makes of it."""
    async with httpx.AsyncClient(verify=NO_TLS, trust_env=False) as http:
        answer = await http.get(f"{server.url}/readyz")
    assert answer.status_code == httpx.codes.OK
    writes = str(answer.json()["writes"])
    assert parse_answer(answer.content).volume_full == (writes == "volume_full")
    return writes


async def _says(server: ServerProcess, writes: str) -> bool:
    return await _writes(server) == writes


@contextlib.asynccontextmanager
async def _agent(postgres: PostgresCluster, volume: Path) -> AsyncIterator[None]:
    """The image's agent, beside the server."""
    nowhere = volume / "nowhere"
    places = Places(nowhere, nowhere, nowhere, volume / "full.conf", nowhere, postgres.data, nowhere)
    libpq = {"PGHOST": str(postgres.folder), "PGPORT": str(postgres.port), "PGUSER": postgres.superuser}
    agent = Agent(nowhere, places, Server({"PATH": str(postgres.binaries), "PGDATABASE": "postgres", **libpq}))

    async def run() -> None:
        while True:
            await asyncio.to_thread(agent.watch_volume)
            await asyncio.sleep(1)

    async with background(run()):
        yield
