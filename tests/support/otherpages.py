"""Pages that are not the server's own, for a browser to open."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def serving_pages(*ports: int) -> AsyncIterator[list[int]]:
    """Serve an empty page at the root of each port of 127.0.0.1; 0 is a free one. Yields the ports."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>Page</title>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        for port in ports:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        yield [address[1] for address in runner.addresses]
    finally:
        await runner.cleanup()
