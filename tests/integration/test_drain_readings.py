"""The operator reads all that a draining server counted, before the server is gone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import httpx
import pytest

from chatoperator.controller import DRAIN_READ_SECONDS
from chatoperator.probes import prober as probe
from chatoperator.probes.connection import session
from chatoperator.probes.prober import Prober
from chatoperator.reconcile.drains import Drain, read
from chatoperator.reconcile.state import State
from tests.support.devices import sign_in
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.integration

CLIENTS = ("ana", "ben", "cyd")

PATIENCE_SECONDS = 30


async def _read_until(happened: Callable[[], bool], prober: Prober, state: State) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not happened():
            await read(prober, [state])
            await asyncio.sleep(0.1)


async def _is_listening(server: ServerProcess) -> bool:
    url = httpx.URL(server.url)
    try:
        _, writer = await asyncio.open_connection(url.host, url.port)
    except OSError:
        return False
    writer.close()
    return True


async def test_connections_that_the_end_of_a_drain_closed_are_counted(
    read_dsn: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = State(drains={"one": Drain("127.0.0.1", 0)})
    with ServerProcess(read_dsn(), "one") as one:
        one.wait_ready()
        monkeypatch.setattr(probe, "METRICS_PORT", httpx.URL(one.metrics_url).port)
        async with AsyncExitStack() as stack:
            prober = Prober(await stack.enter_async_context(session()))
            for name in CLIENTS:
                await stack.enter_async_context((await sign_in(one, name)).socket(one))
            one.terminate()
            await _read_until(lambda: '"drain_closes"' in one.log_text(), prober, state)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await _is_listening(one):
                    await asyncio.sleep(0.05)
            # The next turn of the operator.
            await asyncio.sleep(DRAIN_READ_SECONDS)
            await read(prober, [state])
            assert await asyncio.to_thread(one.wait, PATIENCE_SECONDS) == 0
    assert state.series.forced_closes == len(CLIENTS)
