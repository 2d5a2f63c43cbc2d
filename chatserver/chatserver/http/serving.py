"""Serving of the app: answers when all is ready, and ends when the requests that run have finished."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from chatserver.http.admission import AdmittingConnection
from chatserver.http.sanic_server import finish_requests, start_server
from chatserver.listener import open_listener

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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
    server, accepting = await start_server(app, AdmittingConnection, listener, BACKLOG)
    app.ctx.health.started = True
    try:
        yield port
    finally:
        accepting.close()
        await finish_requests(server, FINISH_SECONDS)
