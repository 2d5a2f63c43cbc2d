"""Sanic's server around the app: begins to answer when all is ready, and ends when what runs has finished."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from sanic.application.state import ApplicationServerInfo
from sanic.http.constants import HTTP

from chatserver.http.admission import AdmittingHttpProtocol
from chatserver.listener import open_listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sanic.server.async_server import AsyncioServer

    from chatserver.http.context import App
    from chatserver.settings import Settings

# Pending connections: after a restart thousands come within seconds.
BACKLOG = 4096
# REST calls that run when the sockets are closed get this long.
FINISH_SECONDS = 3.0


@contextlib.asynccontextmanager
async def listening(app: App, settings: Settings) -> AsyncIterator[int]:
    """Answer requests; on the way out, let those that run finish.

    Yields:
        The API's port.

    Raises:
        OSError: it is taken.
    """
    # Bound here: Sanic takes port 0 for its default port.
    listener = open_listener(settings.http_host, settings.http_port, backlog=BACKLOG)
    port: int = listener.getsockname()[1]
    server = await app.create_server(
        sock=listener,
        protocol=AdmittingHttpProtocol,
        backlog=BACKLOG,
        # The port opens below, when the routes are ready.
        asyncio_server_kwargs={"start_serving": False},
    )
    if server is None:
        raise RuntimeError("Sanic made no server")
    # Sanic's startup compiles its empty `alt-svc` header out of every answer when it knows of one HTTP version.
    app.state.server_info.append(ApplicationServerInfo(settings={"version": HTTP.VERSION_1}))
    await server.startup()  # type: ignore[no-untyped-call]
    await server.before_start()  # type: ignore[no-untyped-call]
    listening: asyncio.Server = server.server  # type: ignore[assignment] # Sanic starts with None there
    await listening.start_serving()
    await server.after_start()  # type: ignore[no-untyped-call]
    app.ctx.health.started = True
    try:
        yield port
    finally:
        listening.close()
        await _finish_requests(server)


async def _finish_requests(server: AsyncioServer) -> None:
    await server.before_stop()  # type: ignore[no-untyped-call]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + FINISH_SECONDS
    while server.connections and loop.time() < deadline:
        for connection in list(server.connections):
            connection.close_if_idle()
        await asyncio.sleep(0.05)
    for connection in list(server.connections):
        connection.abort()
    await server.after_stop()  # type: ignore[no-untyped-call]
