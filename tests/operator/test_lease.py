"""A leader that cannot renew its Lease stops before another process may start."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from kubernetes.aio import client

from chatoperator.kube import lease
from chatoperator.kube.lease import (
    LEASE_REQUEST_SECONDS,
    LEASE_SECONDS,
    RENEW_EVERY_SECONDS,
    RENEW_WITHIN_SECONDS,
    Lease,
)

if TYPE_CHECKING:
    import pytest

PATIENCE_SECONDS = 30


def test_a_leader_has_as_long_to_renew_as_those_of_kubernetes_itself() -> None:
    """On a loaded machine a request takes seconds: a leader that gives up early stops all reconciles for nothing."""
    assert (LEASE_SECONDS, RENEW_WITHIN_SECONDS, RENEW_EVERY_SECONDS) == (15, 10, 2), "client-go's defaults"
    assert RENEW_EVERY_SECONDS + RENEW_WITHIN_SECONDS < LEASE_SECONDS, "it stops before another one may start"
    assert 2 * LEASE_REQUEST_SECONDS <= RENEW_WITHIN_SECONDS, "a request that hangs is tried again"


async def test_a_request_that_hangs_does_not_keep_a_leader_beyond_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asyncio.Event()

    async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.readuntil(b"\r\n\r\n")
            asked.set()
            await reader.read()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with (
            client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{port}")) as api,
            asyncio.timeout(PATIENCE_SECONDS),
        ):
            held = Lease(api, "chat", "chatcluster-operator", "operator-a")
            monkeypatch.setattr(lease, "RENEW_WITHIN_SECONDS", 0.2)
            monkeypatch.setattr(lease, "LEASE_REQUEST_SECONDS", 3600)
            await held.keep()
            assert asked.is_set()
