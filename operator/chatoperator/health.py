"""What kubelet probes: whether this operator process lives, whether it leads or stands by."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from chatoperator.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@contextlib.asynccontextmanager
async def serving(port: int, check_alive: Callable[[], str]) -> AsyncIterator[None]:
    """Answer `/healthz` on all addresses.

    Args:
        port: Where to listen.
        check_alive: Returns a sentence about the process; raises OperatorError where it should be restarted.
    """

    async def healthz(_: web.Request) -> web.Response:
        try:
            return web.Response(text=check_alive() + "\n")
        except OperatorError as error:
            return web.Response(text=f"{error}\n", status=web.HTTPServiceUnavailable.status_code)

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()
